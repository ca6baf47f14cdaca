"""Is a student that is tuned to an ensemble better than it was, and does its discriminator know it in the end?

MEAL V2 (arXiv 2009.08453) on Fashion-MNIST: three convolutional teachers, a student trained with labels first, then
tuned to their mean confidence without any label, against going on with labels, and against starting anew with the same
few epochs. Prints the test NLL of each, and how often the discriminator is right about held-out logits in both forms.

    python examples/meal_v2.py
"""

from __future__ import annotations

import argparse
import copy
import tempfile

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.fidelity.calibration import nll
from understudy.methods.teams.meal_v2 import MEALV2, Discriminator
from understudy.models.ensemble import Team
from understudy.models.saved import load_state


@torch.no_grad()
def said(model: nn.Module, inputs: Tensor) -> Tensor:
    return model(inputs)


@torch.no_grad()
def caught(discriminator: nn.Module, student: Tensor, mean: Tensor) -> float:
    """Share of held-out logits that the discriminator takes for what they are; a tie counts half."""
    margins = [discriminator(student), -discriminator(mean)]
    lead = torch.cat([m[:, 0] - m[:, 1] for m in margins])
    return ((lead > 0).double() + 0.5 * (lead == 0).double()).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    held_out = load_data(args.data, "test").take(args.examples)
    assert held_out.labels is not None
    test, labels = held_out.inputs(slice(None)), held_out.labels
    few = {"examples": args.examples, "epochs": args.epochs, "lr": 2e-3}
    for seed in range(args.seeds):
        teachers = [us.train(args.data, "mlp[200]", seed=100 * seed + i, **few).student for i in range(3)]
        team, settings = Team(teachers).eval(), {**few, "seed": seed}
        start = us.train(args.data, "mlp[32]", **settings).student
        found = {"at the start": start}
        tuned = dict.fromkeys(("soft labels", "labels again"), start)
        for name, method in {"soft labels": MEALV2(weight=0.0), "labels again": us.CrossEntropy()}.items():
            found[name] = us.distill(
                team, copy.deepcopy(tuned[name]), args.data, method=method, **settings
            ).student
        found["soft labels anew"] = us.distill(
            team, "mlp[32]", args.data, method=MEALV2(weight=0.0), **settings
        ).student
        told = {}
        mean = torch.stack([said(teacher, test) for teacher in teachers]).mean(0)
        for form in ("reversal", "code"):
            with tempfile.TemporaryDirectory() as folder:
                name = f"with a discriminator, {form}"
                found[name] = us.distill(
                    team,
                    copy.deepcopy(start),
                    args.data,
                    method=MEALV2(form=form),
                    out=folder + "/run",
                    **settings,
                ).student
                judge = Discriminator(10)
                load_state(judge, folder + "/run/players/auxiliary.safetensors")
            told[form] = caught(judge, said(found[name], test), mean)
        print(
            f"seed {seed}: test NLL "
            + ", ".join(f"{n} {nll(said(m, test), labels):.3f}" for n, m in found.items())
        )
        print(
            f"seed {seed}: the discriminator is right of "
            + ", ".join(f"{n} {v:.3f}" for n, v in told.items())
        )


if __name__ == "__main__":
    main()
