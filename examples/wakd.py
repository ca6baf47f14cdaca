"""Are averaged weights a better student where the data have moved?

WAKD (arXiv 2309.11446) on digits turned by 0, 15 and 30 degrees, tested on digits turned by 45: the mean of the
weights over the training after the first steps, against the weights along the way. The learning rate is constant, so
that a shorter training is the beginning of a longer one. Prints, for every seed, the student's NLL and accuracy on the
turned digits: of the average, of the last weights, the mean over five places on the way, and of an average that starts
with the new weights.

    python examples/wakd.py
"""

from __future__ import annotations

import argparse
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.fidelity.calibration import nll
from understudy.methods.robust.kd import SD
from understudy.methods.weights.wakd import WAKD


def turned(images: Tensor, degrees: float) -> Tensor:
    """Images (B, 1, H, W) turned about their middle, by bilinear interpolation."""
    angle = math.radians(degrees)
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.no_grad()
def judged(model: nn.Module, test: Tensor, labels: Tensor) -> tuple[float, float]:
    """(NLL in nats, accuracy) on the domain that nobody trained on."""
    said = model(test)
    return nll(said, labels), (said.argmax(1) == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--examples", type=int, default=300)
    args = parser.parse_args()
    source, target = load_data("digits", "train").take(args.examples), load_data("digits", "test")
    assert source.labels is not None
    assert target.labels is not None
    images = source.inputs(slice(None)).clamp(0, 1)
    three = torch.cat([turned(images, angle) for angle in (0, 15, 30)]).clamp(0, 1)
    data = us.DataSet("turned digits", "train", three, source.labels.repeat(3), classes=10)
    where = (turned(target.inputs(slice(None)), 45).clamp(0, 1), target.labels)
    settings = {"epochs": args.epochs, "batch_size": 32, "lr": 1e-2, "schedule": "constant"}
    for seed in range(args.seeds):
        teacher = us.train(data, "mlp[256]", seed=seed, **{**settings, "lr": 1e-3}).student

        def student(
            method: us.Method, epochs: int, teacher: nn.Module = teacher, seed: int = seed
        ) -> tuple[float, float]:
            run = us.distill(
                teacher, "mlp[24]", data, method=method, seed=seed, **{**settings, "epochs": epochs}
            )
            return judged(run.student, *where)

        plain = SD(temperature=5.0)
        places = [max(1, round(args.epochs * share)) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
        path = [student(plain, epochs) for epochs in places]
        rows = {
            "average": student(WAKD(start=0.17), args.epochs),
            "last": path[-1],
            "on the way": tuple(sum(values) / len(path) for values in zip(*path, strict=True)),
            "average from the start": student(WAKD(start=0.0), args.epochs),
        }
        print(f"seed {seed}: " + ", ".join(f"{n}: NLL {a:.3f}, right {b:.3f}" for n, (a, b) in rows.items()))


if __name__ == "__main__":
    main()
