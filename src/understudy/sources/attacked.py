"""The attacked view: the worst point of a ball around each example, found against the student as it is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from understudy.attacks import Ascent, Ball, ascend
from understudy.data.batch import ATTACKED, Batch
from understudy.data.randomness import Randomness
from understudy.models.look import in_mode
from understudy.models.memo import Memo
from understudy.sources.base import Cast, Net, Source

Inner = Callable[[Net | None, Net, Tensor, Batch], Tensor]


@dataclass(frozen=True)
class Attacked(Source):
    """Adds the view "attacked": argmax over the ball of `inner(teacher, student, x', batch)` (B,).

    Attributes:
        inner: the scalar that is driven up, one value an example.
        ball: radius, norm and valid range.
        ascent: steps, step size, restarts, start.
        train_mode: whether the student is in train mode while attacked (batch norm then sees the attack).
    """

    inner: Inner
    ball: Ball
    ascent: Ascent = field(default_factory=Ascent)
    train_mode: bool = False

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with its attacked view; the student's weights and gradients are untouched."""

        student = Memo(cast.student)

        def score(point: Tensor) -> Tensor:
            return self.inner(cast.teacher, student, point, batch)

        with in_mode(cast.student, self.train_mode), torch.enable_grad():
            found = ascend(score, batch.clean, self.ball, self.ascent, random)
        return batch.with_view(ATTACKED, found)
