"""Does the surer of two networks that learn together decide which divergence should count?

BD-KD (arXiv 2212.12965) on digits: a teacher of 128 hidden units and a student of 8, both from scratch, with the
paper's rule, the rule turned round, the forward divergence alone and the reverse one alone. Prints, for every seed,
the mean difference of their entropies on the training data, the student's accuracy and calibration error on the test
data, and how often the rule found the student the surer one at the end.

    python examples/bd_kd.py
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.fidelity.calibration import ece
from understudy.methods.online.bd_kd import BDKD, surer_student
from understudy.objectives.divergences import entropy, kl, reverse_kl


@dataclass(frozen=True, kw_only=True)
class Other(BDKD):
    """BD-KD with another rule in the place of the paper's."""

    rule: str = "flipped"

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        terms = dict(super().terms(student, teacher, batch))
        s, t = student.logits, teacher.logits.detach()
        forward, backward = kl(t, s), reverse_kl(t, s)
        if self.rule == "flipped":
            surer = surer_student(t, s.detach())
            terms["balanced"] = torch.where(surer, 1.0, self.delta) * forward
            terms["balanced"] = terms["balanced"] + torch.where(surer, self.delta, 1.0) * backward
        else:
            terms["balanced"] = self.delta * (forward if self.rule == "forward" else backward)
        return terms


@torch.no_grad()
def said(model: nn.Module, inputs: Tensor) -> Tensor:
    return model(inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--delta", type=float, default=10.0)
    args = parser.parse_args()
    x = load_data("digits", "train").inputs(slice(None))
    held_out = load_data("digits", "test")
    assert held_out.labels is not None
    test = held_out.inputs(slice(None))
    for seed in range(args.seeds):
        settings = {"seed": seed, "epochs": args.epochs, "lr": 3e-3, "schedule": "constant"}
        start = us.train(
            "digits", "mlp[128]", seed=seed, epochs=1
        ).student  # only its shape is used: fresh=True
        rules = {
            "rule": BDKD(delta=args.delta, fresh=True),
            **{
                name: Other(delta=args.delta, fresh=True, rule=name)
                for name in ("flipped", "forward", "reverse")
            },
        }
        for name, method in rules.items():
            with tempfile.TemporaryDirectory() as folder:
                student = us.distill(
                    start, "mlp[8]", "digits", method=method, out=folder + "/run", **settings
                ).student
                teacher = us.load(f"mlp[128]@{folder}/run/players/teacher.safetensors", data="digits").module
            t, s = said(teacher, x), said(student, x)
            gap = (entropy(t) - entropy(s)).abs().mean().item()
            z = said(student, test)
            right = (z.argmax(1) == held_out.labels).double().mean().item()
            other = (said(teacher, test).argmax(1) == held_out.labels).double().mean().item()
            error = ece(z, held_out.labels)
            surer = surer_student(t, s).double().mean().item()
            print(
                f"seed {seed} {name:8}: entropies apart {gap:.3f}, student right {right:.3f}, calibration error "
                f"{error:.3f}, teacher right {other:.3f}, student surer {surer:.2f}"
            )


if __name__ == "__main__":
    main()
