"""Does a student that copies its teacher's reasons resist a short cut that the teacher never took?

e2KD (arXiv 2402.03119): every training image carries a bright square at its edge, whose place gives the class away.
The teacher learned from images on which that place is drawn at random; the student is distilled on those that give it
away, with and without the explanations, and with those of other images. Prints, for every seed, the accuracy on test
images whose square is drawn at random, the agreement with the teacher there, and how alike the explanations are.

    python examples/e2kd.py
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.methods.interpretable.e2kd import E2KD
from understudy.models.taps import Tapped
from understudy.objectives.base import MAP
from understudy.objectives.explanations import grad_cam, unlike
from understudy.training.embedding import map_of


def marked(data: us.DataSet, classes: Tensor) -> us.DataSet:
    """The set with a bright square at the edge, at the place of the class named for each image."""
    images = data.inputs(slice(None))
    side = images.shape[-1]
    size = max(1, side // 9)
    rows, columns = (side - size) * (classes // 5), 1 + (side - size - 1) // 5 * (classes % 5)
    for down in range(size):
        for right in range(size):
            images[torch.arange(len(images)), :, rows + down, columns + right] = 1.0
    return replace(data, name=f"marked {data.name}", stored=images, scale=None)


@dataclass(frozen=True, kw_only=True)
class Shuffled(E2KD):
    """e2KD with every image held to the explanation of another."""

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        terms = dict(super().terms(student, teacher, batch))
        first = teacher.logits.argmax(1)
        taught = grad_cam(teacher.logits, teacher.features[MAP], first).roll(1, 0)
        own = grad_cam(student.logits, student.features[MAP], first, keep_graph=True)
        terms["explanation"] = self.weight * unlike(own, taught)
        return terms


def explained(model: nn.Module, inputs: Tensor, classes: Tensor) -> Tensor:
    """The model's map for the classes named: (B, h, w)."""
    with Tapped(model, {MAP: map_of(model)}) as look:
        logits, features = look(inputs.requires_grad_())
        return grad_cam(logits, features[MAP], classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--examples", type=int, default=3000)
    args = parser.parse_args()
    data, held_out = (load_data(args.data, split).take(args.examples) for split in ("train", "test"))
    assert data.labels is not None
    assert held_out.labels is not None
    for seed in range(args.seeds):
        draw = torch.Generator().manual_seed(seed)
        fair, test = (marked(one, torch.randint(10, (len(one),), generator=draw)) for one in (data, held_out))
        telling = marked(data, data.labels)
        settings = {"seed": seed, "epochs": args.epochs, "lr": 2e-3, "batch_size": 64}
        teacher = us.train(fair, "cnn[8,16,64]", **settings).student
        x = test.inputs(slice(None))
        with torch.no_grad():
            taught = teacher(x)
        print(f"seed {seed}: teacher right {(taught.argmax(1) == held_out.labels).double().mean():.3f}")
        methods = {
            "answers alone": E2KD(weight=0.0),
            "explanations too": E2KD(weight=args.weight),
            "other images' explanations": Shuffled(weight=args.weight),
        }
        for name, method in methods.items():
            student = us.distill(teacher, "cnn[6,12,32]", telling, method=method, **settings).student
            with torch.no_grad():
                said = student(x)
            first = taught.argmax(1)
            alike = 1 - unlike(explained(student, x, first), explained(teacher, x, first)).mean()
            right, same = ((said.argmax(1) == truth).double().mean() for truth in (held_out.labels, first))
            print(f"    {name}: right {right:.3f}, agreement {same:.3f}, cosine of the maps {alike:.3f}")


if __name__ == "__main__":
    main()
