"""Which labels are worth asking for, while a teacher speaks of all examples?

PCoreSet in ActiveKD (arXiv 2506.00910) on digits. The teacher, which stands in for a zero-shot model, has learnt from
40 examples that are not in the pool and is right about three times in four. The student starts from one label a
class, with none of the classes 8 and 9, and asks for ten more a round. Prints for every way of asking, with two heads
as in the paper, with one, and without the teacher, how many classes the labels cover after the first round, and the
accuracy on the test data after the last: mean over seeds, and the half-width of its 95 % interval.

    python examples/pcoreset_activekd.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import understudy as us
from understudy.data.dataset import DataSet
from understudy.data.loader import permutation
from understudy.data.resolve import load_data

WAYS = (
    ("two heads", {}, ("pcoreset", "random", "entropy", "margin", "features", "votes")),
    ("one head", {"heads": "one"}, ("pcoreset",)),
    ("labels alone", {"heads": "one", "weight": "0"}, ("pcoreset", "random", "entropy")),
)
POOL = 500
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided quantiles of Student's t, by number of seeds


@torch.no_grad()
def accuracy(model: nn.Module, data: DataSet) -> float:
    assert data.labels is not None
    return (model(data.inputs(slice(None))).argmax(1) == data.labels).double().mean().item()


def told(values: Sequence[float], digits: int) -> str:
    """Mean and half-width of its 95 % interval."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    half = T95[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.{digits}f} +- {half:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, choices=range(1, 6))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--taught", type=int, default=40, help="examples that the teacher has learnt from")
    args = parser.parse_args()
    everything, test = load_data("digits", "train"), load_data("digits", "test")
    covered: dict[tuple[str, str], list[int]] = {}
    right: dict[tuple[str, str], list[float]] = {}
    teachers = []
    for seed in range(args.seeds):
        order = permutation(len(everything), seed, 0)
        few, pool = everything.rows(order[: args.taught]), everything.rows(order[args.taught :][:POOL])
        settings = {"seed": seed, "epochs": args.epochs, "lr": 1e-2, "batch_size": 250, "device": "cpu"}
        teacher = us.train(few, "mlp[64]", **settings | {"epochs": 40, "batch_size": 8}).student
        teachers.append(accuracy(teacher, test))
        for part, how, strategies in WAYS:
            for strategy in strategies:
                options = {"rounds": str(args.rounds), "query": "10", "absent": "2", "strategy": strategy}
                with tempfile.TemporaryDirectory() as folder:
                    run = us.distill(
                        teacher, "mlp[64]", pool, method="pcoreset_activekd", options=options | how,
                        out=folder + "/run", **settings,
                    ).student  # fmt: skip
                    choice = json.loads(Path(folder, "run/choices/round-1.json").read_text())
                assert pool.labels is not None
                covered.setdefault((part, strategy), []).append(len(pool.labels[choice["labelled"]].unique()))
                right.setdefault((part, strategy), []).append(accuracy(run, test))
    print(f"teacher: accuracy {told(teachers, 3)}")
    for (part, strategy), values in right.items():
        classes = told(covered[part, strategy], 1)
        print(f"{part}, {strategy}: classes after one round {classes}; accuracy {told(values, 3)}")


if __name__ == "__main__":
    main()
