"""A student who is shown no data: does a memory keep it from forgetting, and does the step ahead help the memory?

Retain while acquiring (arXiv 2302.14290) on digits: a generator makes everything that the student learns from. For no
memory, a memory learned side by side with the new (replay), and one met a step ahead, to first order and in full,
prints over the last third of the epochs the mean and the standard deviation of the share of digits on which student and
teacher agree; the share of the generator's own earlier examples, of ten moments of the run, on which they differ at its
end; and the mean cosine between the gradients of the new and of the remembered. Means over seeds.

    python examples/retain_while_acquiring.py
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

import understudy as us
from understudy.data.randomness import Randomness
from understudy.data.resolve import load_data
from understudy.methods.data_free.retain_while_acquiring import (
    MEMORY,
    Dreamt,
    RetainWhileAcquiring,
    logit_distance,
)
from understudy.models.functional import learning, said_at
from understudy.sources import Cast, Source


@dataclass
class Probe:
    """What is looked at on the way."""

    bank: list[Tensor] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    steps: int = 0


probe = Probe()


@dataclass(frozen=True)
class Probed(Dreamt):
    """Keeps some of what is made, and measures how far old and new pull the same way; the student is left alone."""

    every: int = 100

    def show(self, batch: us.Batch, cast: Cast, random: Randomness) -> us.Batch:
        shown = super().show(batch, cast, random)
        if probe.steps % self.every == self.every // 2:
            probe.bank.append(shown.clean)
            if bool(shown.notes["kept"].all()):
                probe.cosines.append(cosine(shown, cast))
        probe.steps += 1
        return shown


def cosine(shown: us.Batch, cast: Cast) -> float:
    """Between the gradients of the distance at the new and at the remembered examples."""
    assert cast.teacher is not None
    at, found = learning(cast.student), []
    for view in (shown.clean, shown.views[MEMORY]):
        value = logit_distance(cast.teacher(view), said_at(cast.student, at, view)).mean()
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(at.values()))]))
    return F.cosine_similarity(*found, dim=0).item()


@dataclass(frozen=True, kw_only=True)
class Watched(RetainWhileAcquiring):
    """The method, probed."""

    probes: int = 10
    steps: int = 1000

    def source(self, low: float, high: float) -> Source:
        return Probed(low, high, max(1, self.steps // self.probes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40, help="of 22 steps each")
    parser.add_argument("--inner", type=float, default=0.05, help="rate of the step ahead")
    args = parser.parse_args()
    data = load_data("digits", "train")
    steps = {"steps": args.epochs * -(-len(data) // 64), "width": 8}
    ways = {
        "no memory": Watched(retain=0.0, **steps),
        "replay": Watched(inner_lr=0.0, **steps),
        "first order": Watched(inner_lr=args.inner, first_order=True, **steps),
        "retain": Watched(inner_lr=args.inner, **steps),
    }
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    for seed in args.seeds:
        teacher = us.train(data, "mlp[64,64]", seed=seed, epochs=30, lr=3e-3, device="cpu").student
        for way, method in ways.items():
            probe.bank.clear()
            probe.cosines.clear()
            probe.steps = 0
            run = us.distill(
                teacher, "mlp[32,32]", data, method=method, seed=seed, epochs=args.epochs, batch_size=64,
                optimizer="sgd", lr=0.05, schedule="constant", device="cpu",
            )  # fmt: skip
            last = [row["agreement"] for row in run.curves[-max(2, args.epochs // 3) :]]
            with torch.no_grad():
                old = torch.cat(probe.bank[:-1] or probe.bank)
                forgotten = (run.student(old).argmax(1) != teacher(old).argmax(1)).double().mean().item()
            together = statistics.mean(probe.cosines) if probe.cosines else float("nan")
            spread = statistics.stdev(last) if len(last) > 1 else float("nan")
            found[way].append([statistics.mean(last), spread, forgotten, together])
    print(f"{'':12}{'agreement':>10}{'spread':>8}{'forgotten':>11}{'cosine':>8}")
    for way, rows in found.items():
        mean, spread, forgotten, together = (statistics.mean(column) for column in zip(*rows, strict=True))
        print(f"{way:12}{mean:10.3f}{spread:8.4f}{forgotten:11.3f}{together:8.3f}")


if __name__ == "__main__":
    main()
