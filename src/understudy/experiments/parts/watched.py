"""A distillation of language models that is looked at on its way: the student is handed over at chosen steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.methods.language.gkd import GKD
from understudy.sources.base import Cast, Source

Look = Callable[[int, nn.Module], None]


@dataclass(frozen=True, kw_only=True)
class WatchedGKD(GKD):
    """GKD that calls `look(step, student)` before each step of `at`, of `steps` in all; nothing else is changed."""

    look: Look
    at: frozenset[int]
    steps: int

    def source(self, low: float, high: float) -> Source:
        """The rollouts, behind the look."""
        return _Watched(super().source(low, high), self.look, self.at, self.steps)


@dataclass(frozen=True)
class _Watched(Source):
    inner: Source
    look: Look
    at: frozenset[int]
    steps: int

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        step = round(batch.progress * self.steps)
        if step in self.at:
            self.look(step, cast.student)
        return self.inner.show(batch, cast, random)


def spaced(steps: int, count: int) -> tuple[int, ...]:
    """0, about `count` steps at equal ratios, and the last, ascending."""
    ratios = (round(steps ** (i / max(1, count - 1))) for i in range(count))
    return tuple(sorted({0, *ratios, steps}))
