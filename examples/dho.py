"""Do two heads help where few labels and a confused teacher disagree?

DHO (arXiv 2505.07675) on digits: ten labels a class, a teacher that takes half of the fours for nines and half of the
nines for fours, and a student with one head for both, with two, or with labels alone. Prints, for every seed, the test
accuracy of each, of either head of the two, and of the mixture that a hundred labels kept apart choose; and the mean
cosine between the gradients that labels and teacher send into the backbone during the training's last steps.

    python examples/dho.py
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.methods.labels.dho import best_mixture
from understudy.models.two_heads import LABELS, TEACHER, mixture
from understudy.objectives.divergences import cross_entropy, kl
from understudy.objectives.partly_labelled import PartlyLabelled


class Confused(nn.Module):
    """A teacher that swaps what it says of two classes for every other image (told by its pixels)."""

    def __init__(self, teacher: nn.Module, one: int = 4, other: int = 9) -> None:
        super().__init__()
        self.teacher, self.one, self.other = teacher, one, other

    def forward(self, inputs: Tensor) -> Tensor:
        said = self.teacher(inputs)
        swapped = said.clone()
        swapped[:, [self.one, self.other]] = said[:, [self.other, self.one]]
        odd = (inputs.flatten(1).sum(1) * 16).round().long() % 2 == 1
        return torch.where(odd[:, None], swapped, said)


def heads_of(student: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Each head's logits; a student with one says the same with both."""
    student.train()
    with torch.no_grad():
        said = student(inputs)
    student.eval()
    return dict(said.heads) if hasattr(said, "heads") else {LABELS: said, TEACHER: said}


def conflict(student: nn.Module, teacher: nn.Module, data: us.DataSet, temperature: float = 2.0) -> float:
    """Mean cosine, over batches of 128, of the backbone's gradients from the labels and from the teacher."""
    assert data.labels is not None
    own = getattr(student, "body", student)
    backbone = [p for name, p in own.named_parameters() if p.dim() > 1][:1]
    student.train()
    found = []
    for start in range(0, len(data) - 127, 128):
        rows = slice(start, start + 128)
        x, y = data.inputs(rows), data.labels[rows]
        said = student(x)
        heads = said.heads if hasattr(said, "heads") else {LABELS: said, TEACHER: said}
        there = y >= 0
        if not there.any():
            continue
        hard = cross_entropy(heads[LABELS][there], y[there]).mean()
        soft = temperature**2 * kl(teacher(x).detach(), heads[TEACHER], temperature).mean()
        one, other = (
            torch.autograd.grad(loss, backbone, retain_graph=True)[0].flatten() for loss in (hard, soft)
        )
        found.append(torch.cosine_similarity(one, other, dim=0).item())
    student.eval()
    return sum(found) / len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    data, held_out = load_data("digits", "train"), load_data("digits", "test")
    assert held_out.labels is not None
    test, truth = held_out.inputs(slice(None)), held_out.labels

    def right(said: Tensor) -> float:
        return (said.argmax(1) == truth).double().mean().item()

    for seed in range(args.seeds):
        sound = us.train("digits", "mlp[128]", seed=seed, epochs=20).student
        rest, apart = data.split_off(100 / len(data), seed)
        assert apart is not None
        few = rest.hide_labels(100, seed)
        for kind, teacher in (("confused", Confused(sound).eval()), ("sound", sound)):
            settings = {"seed": seed, "epochs": args.epochs, "lr": 3e-3}
            two = us.distill(teacher, "mlp[24]", few, method="dho", **settings).student
            one = us.distill(teacher, "mlp[24]", few, method=PartlyLabelled(), **settings).student
            labels = us.distill(
                teacher, "mlp[24]", few, method="dho", options={"teacher_weight": "0"}, **settings
            )
            heads, known = heads_of(two, test), heads_of(two, apart.inputs(slice(None)))
            assert apart.labels is not None
            alpha, beta, _ = best_mixture(known[LABELS], known[TEACHER], apart.labels)
            searched = right(mixture(heads[LABELS], heads[TEACHER], alpha, beta))
            with torch.no_grad():
                print(
                    f"seed {seed}, {kind} teacher ({right(teacher(test)):.3f}): two heads {right(two(test)):.3f} "
                    f"(labels' {right(heads[LABELS]):.3f}, teacher's {right(heads[TEACHER]):.3f}, searched "
                    f"a = {alpha:g}, b = {beta:g} {searched:.3f}), one head {right(one(test)):.3f}, labels alone "
                    f"{right(heads_of(labels.student, test)[LABELS]):.3f}"
                )
            print(
                f"    cosine of the gradients: two heads {conflict(two, teacher, few):+.3f}, "
                f"one head {conflict(one, teacher, few):+.3f}"
            )


if __name__ == "__main__":
    main()
