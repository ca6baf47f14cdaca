"""Three teachers of digits who each know some of the classes only: does a policy learn whom to ask about what?

RMTS-KD (arXiv 2012.06048). The teachers have seen the classes 0-2, 3-5 and 6-9. Prints for every way of choosing, over
the last tenth of the training, how often a teacher was chosen for an example of a class that it knows and of one that
it does not, and the student's accuracy on test data: mean over seeds. In `shuffled` the rewards of a batch go to the
wrong examples, in `reversed` they have the wrong sign; `uniform` asks every teacher always; in `nobody` an example for
which nobody is chosen has its label alone; with `no warm-up` the policy learns from the first step on.

    python examples/reinforced_multi_teacher.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.dataset import DataSet
from understudy.data.randomness import Randomness
from understudy.data.resolve import load_data
from understudy.methods.teams.reinforced_multi_teacher import Choosing, Policy, ReinforcedMultiTeacher
from understudy.models.ensemble import Team
from understudy.objectives.partner import Partner, Turn
from understudy.sources import Cast, Source

GROUPS = ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9))
KNOWS = torch.tensor([[label in group for group in GROUPS] for label in range(10)])
chosen: dict[bool, list[Tensor]] = {True: [], False: []}  # by whether the teacher knows the class


@dataclass(frozen=True)
class Counting(Choosing):
    """Counts the choices of the last tenth of the run."""

    def show(self, batch: us.Batch, cast: Cast, random: Randomness) -> us.Batch:
        batch = super().show(batch, cast, random)
        if batch.progress > 0.9 and batch.labels is not None:
            knows = KNOWS[batch.labels]
            for known in chosen:
                chosen[known].append(batch.notes["chosen"][knows == known])
        return batch


@dataclass(frozen=True, kw_only=True)
class Odd(Policy):
    """A policy whose rewards are not what they should be."""

    def rewards(self, turn: Turn, heads: Tensor) -> Tensor:
        rewards = super().rewards(turn, heads)
        if self.method.reading == "reversed":
            return -rewards
        return rewards[turn.random.uniform(rewards, 0.0, 1.0).argsort()]


@dataclass(frozen=True, kw_only=True)
class Counted(ReinforcedMultiTeacher):
    """The method, its choices counted and, if asked, its rewards spoilt."""

    reading: str = "right"

    @property
    def partners(self) -> Mapping[str, Partner]:
        if self.reading == "right":
            return super().partners
        return {"policy": Odd(lr=self.policy_lr, after=True, method=self)}

    def source(self, low: float, high: float) -> Source:
        return Counting(self.warmup)


WAYS = {
    "learnt": Counted(),
    "shuffled": Counted(reading="shuffled"),
    "reversed": Counted(reading="reversed"),
    "uniform": Counted(warmup=1.0),
    "nobody": Counted(empty="labels"),
    "no warm-up": Counted(warmup=0.0),
}


@torch.no_grad()
def accuracy(model: nn.Module, data: DataSet) -> float:
    assert data.labels is not None
    return (model(data.inputs(slice(None))).argmax(1) == data.labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--student", default="mlp[32]")
    args = parser.parse_args()
    data, test = load_data("digits", "train"), load_data("digits", "test")
    assert data.labels is not None
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for seed in args.seeds:
        settings = {"seed": seed, "epochs": args.epochs, "lr": 3e-3, "batch_size": 64, "device": "cpu"}
        members = []
        for group in GROUPS:
            own = data.rows(torch.isin(data.labels, torch.tensor(group)).nonzero().flatten())
            members.append(us.train(own, "mlp[64]", **settings).student)
        for way, method in WAYS.items():
            for counts in chosen.values():
                counts.clear()
            student = us.distill(Team(members), args.student, data, method=method, **settings).student
            share = [torch.cat(chosen[known]).mean().item() for known in (True, False)]
            found[way].append((share[0], share[1], accuracy(student, test)))
    print(f"{'':12}{'knows':>8}{'does not':>10}{'accuracy':>10}")
    for way, rows in found.items():
        knows, not_known, right = (statistics.mean(column) for column in zip(*rows, strict=True))
        print(f"{way:12}{knows:8.3f}{not_known:10.3f}{right:10.3f}")


if __name__ == "__main__":
    main()
