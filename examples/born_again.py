"""Generations of one network, each taught by the one before it alone, and the mean of their confidences.

BAN (arXiv 1805.04770) on digits. Prints, for every seed, the negative log likelihood (nats) of the labels on the test
data: of the teacher, of each generation, and of their ensemble (BANE).

    python examples/born_again.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn

import understudy as us
from understudy.data.resolve import load_data
from understudy.models.ensemble import MeanConfidence


@torch.no_grad()
def loss(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean negative log likelihood in nats."""
    return nn.functional.cross_entropy(model(inputs), labels).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--generations", type=int, default=3)
    args = parser.parse_args()
    held_out = load_data("digits", "test")
    assert held_out.labels is not None
    test = held_out.inputs(slice(None)), held_out.labels
    for seed in range(args.seeds):
        settings = {"seed": seed, "epochs": args.epochs, "lr": 1e-2, "examples": 900, "schedule": "constant"}
        # the generations draw their first weights from seed, seed + 1, ...: the teacher from another
        teacher = us.train("digits", "mlp[32]", **(settings | {"seed": 100 + seed})).student
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "run")
            options = {"generations": str(args.generations)}
            us.distill(
                teacher, "mlp[32]", "digits", method="born_again", options=options, out=run, **settings
            )
            places = [run / "stages" / f"generation-{k + 1}" for k in range(args.generations)]
            generations = [us.load(place).module for place in places]
        said = ", ".join(f"BAN-{k}: {loss(model, *test):.3f}" for k, model in enumerate(generations, start=1))
        mean = loss(MeanConfidence(generations), *test)
        print(f"seed {seed}: teacher {loss(teacher, *test):.3f}, {said}, BANE {mean:.3f}")


if __name__ == "__main__":
    main()
