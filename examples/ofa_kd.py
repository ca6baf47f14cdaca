"""Does a perceptron learn more from a convolutional teacher when its middle layers, too, must name the classes?

OFA-KD (arXiv 2310.19444): each stage of the student has a branch that says classes and learns from the teacher's last
answer. Against labels alone, the last answer alone (with eps = 1 that is plain distillation), branches that learn from
the labels, and FitNets, which asks the student's middle for the teacher's. Prints, for every seed, accuracy and
agreement with the teacher on test images, both of the branches too, and how alike the two models' stages are (CKA).

    python examples/ofa_kd.py
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

import understudy as us
from understudy.data.resolve import load_data
from understudy.methods.features.fitnets import FitNets
from understudy.methods.logits.ofa_kd import OFAKD, exit_logits
from understudy.models.outputs import View
from understudy.models.stages import find_stages
from understudy.models.taps import Tapped

WIDTHS = "[64,64,64,64]"


@dataclass(frozen=True, kw_only=True)
class OwnLabels(OFAKD):
    """OFA-KD whose branches learn from the labels, as from a teacher that is certain of them."""

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        assert batch.labels is not None
        sure = 100.0 * one_hot(batch.labels, teacher.logits.shape[1]).to(teacher.logits)
        of_labels = super().terms(student, us.Outputs({"clean": View(sure)}), batch)["branches"]
        return {**super().terms(student, teacher, batch), "branches": of_labels}


METHODS: dict[str, us.Objective] = {
    "labels": us.CrossEntropy(),
    "last answer, eps 1": OFAKD(stages=0),
    "branches, eps 1": OFAKD(),
    "branches of labels": OwnLabels(),
    "last answer, eps 1.5": OFAKD(stages=0, eps=1.5),
    "branches, eps 1.5": OFAKD(eps=1.5),
    "FitNets": FitNets(hint_share=0.5),
}


def stage_features(model: nn.Module, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits, and what the model's stages give."""
    with torch.no_grad(), Tapped(model, find_stages(model, inputs[:2], 4)) as look:
        logits, features = look(inputs)
    return logits, features


def linear_cka(one: Tensor, other: Tensor) -> float:
    """How alike two features of the same N inputs are up to rotation and scale, in [0, 1]: (N, ...) each."""
    a, b = (x.flatten(1).double() for x in (one, other))
    a, b = a - a.mean(0), b - b.mean(0)
    return float((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm()))


def branches_of(folder: Path, method: OFAKD, logits: Tensor, features: dict[str, Tensor]) -> nn.ModuleDict:
    """The branches as the training left them beside the student."""
    said = us.Outputs({"clean": View(logits[:2], {name: x[:2] for name, x in features.items()})})
    built = method.build(said, said).eval()
    built.load_state_dict(safetensors.torch.load_file(folder / "players" / "auxiliary.safetensors"))
    assert isinstance(built, nn.ModuleDict)
    return built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--examples", type=int, default=3000)
    args = parser.parse_args()
    data, test = (load_data(args.data, split).take(args.examples) for split in ("train", "test"))
    assert test.labels is not None
    x, truth = test.inputs(slice(None)), test.labels
    for seed in args.seeds:
        settings = {"seed": seed, "epochs": args.epochs, "lr": 2e-3, "batch_size": 64}
        teacher = us.train(data, "cnn[8,16,64]", **settings).student
        taught, layers = stage_features(teacher, x)
        first = taught.argmax(1)
        print(f"seed {seed}: teacher right {(first == truth).double().mean():.3f}")
        for name in args.methods:
            method = METHODS[name]
            with tempfile.TemporaryDirectory() as place:
                out = Path(place) / "run"
                taps = {"hint": ("*6", "*4")} if isinstance(method, FitNets) else None
                student = us.distill(
                    teacher, f"mlp{WIDTHS}", data, method=method, taps=taps, out=out, **settings
                ).student
                logits, features = stage_features(student, x)
                own = (
                    branches_of(out, method, logits, features)
                    if isinstance(method, OFAKD) and method.stages
                    else None
                )
            said = logits.argmax(1)
            right, same = ((said == wanted).double().mean() for wanted in (truth, first))
            print(f"    {name:21s} right {right:.3f}, agreement {same:.3f}")
            if isinstance(own, nn.ModuleDict):
                with torch.no_grad():
                    exits = [z.argmax(1) for z in exit_logits(features, own).values()]
                for what, wanted in (("right", truth), ("agreement", first)):
                    print(f"        exits {what}:", *(f"{(z == wanted).double().mean():.3f}" for z in exits))
            for layer, other in layers.items():
                alike = [linear_cka(feature, other) for feature in features.values()]
                print(
                    f"        CKA to the teacher's {layer} of {len(layers)}:",
                    *(f"{value:.2f}" for value in alike),
                )


if __name__ == "__main__":
    main()
