"""A teacher who is wrong about half of the classes: do learned weights turn away from it there, and only there?

TGeo-KD (arXiv 2312.15112) on digits. The teacher's logits of the classes 0-4 change places; of 5-9 it is right. Prints,
over the last tenth of the training, the mean weight of the teacher's term for examples of either half, and the
student's accuracy on test data: mean over seeds. `resting` is a controller that never learns, as in the released code;
`labels` and `teacher` have no weights at all. Then the same with a teacher that is right throughout and with two labels
in five drawn anew.

    python examples/tgeo_kd.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.dataset import DataSet
from understudy.data.resolve import load_data
from understudy.methods import make_method
from understudy.methods.weights.tgeo_kd import TGeoKD
from understudy.objectives.base import Objective

halves: dict[bool, list[Tensor]] = {True: [], False: []}  # alphas by whether the class is below 5


class Shuffled(nn.Module):
    """A classifier whose logits of the classes 0-4 have changed places."""

    def __init__(self, right: nn.Module) -> None:
        super().__init__()
        self.right = right

    def forward(self, inputs: Tensor) -> Tensor:
        said = self.right(inputs)
        return torch.cat([said[:, :5].roll(3, 1), said[:, 5:]], 1)


@dataclass(frozen=True, kw_only=True)
class Noted(TGeoKD):
    """The method, its weights noted in the last tenth of the run."""

    def settle(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        settled = super().settle(student, teacher, batch)
        if batch.progress > 0.9 and batch.labels is not None:
            for below, seen in halves.items():
                seen.append(settled["alpha"][(batch.labels < 5) == below])
        return settled


WAYS: dict[str, Objective] = {
    "learnt": Noted(),
    "resting": Noted(controller_lr=1e-12),
    "labels": make_method("ce"),
    "teacher": make_method("kd", {"temperature": "1.5"}),
}


@torch.no_grad()
def accuracy(model: nn.Module, data: DataSet) -> float:
    assert data.labels is not None
    return (model(data.inputs(slice(None))).argmax(1) == data.labels).double().mean().item()


def noisy(data: DataSet, share: float, seed: int) -> DataSet:
    """The set with `share` of its labels drawn anew."""
    assert data.labels is not None
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(10, (len(data),), generator=generator)
    return replace(
        data, labels=torch.where(torch.rand(len(data), generator=generator) < share, drawn, data.labels)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=50)
    args = parser.parse_args()
    data, test = load_data("digits", "train").take(1000), load_data("digits", "test")
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for seed in args.seeds:
        settings = {"seed": seed, "epochs": args.epochs, "device": "cpu"}
        right = us.train(data, "mlp[64]", lr=3e-3, **settings).student
        problems = {
            "half of the teacher wrong": (Shuffled(right), data),
            "labels wrong": (right, noisy(data, 0.4, seed)),
        }
        for problem, (teacher, shown) in problems.items():
            for way, method in WAYS.items():
                for seen in halves.values():
                    seen.clear()
                student = us.distill(
                    teacher, "mlp[16]", shown, method=method, optimizer="sgd", lr=0.05, schedule="constant",
                    **settings,
                ).student  # fmt: skip
                alphas = [torch.cat(seen).mean().item() if seen else float("nan") for seen in halves.values()]
                found.setdefault((problem, way), []).append((*alphas, accuracy(student, test)))
    print(f"{'':38}{'0-4':>8}{'5-9':>8}{'accuracy':>10}")
    for (problem, way), rows in found.items():
        below, above, correct = (statistics.mean(column) for column in zip(*rows, strict=True))
        print(f"{problem:28}{way:10}{below:8.3f}{above:8.3f}{correct:10.3f}")


if __name__ == "__main__":
    main()
