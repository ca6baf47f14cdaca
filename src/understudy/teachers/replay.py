"""Replayed augmentation: a view that depends on the seed, the view's number and the example, and on nothing else.

A stored answer belongs to one crop of one image. Training draws from (seed, step, place in the batch); a teacher asked
in file order has no such place. Here the draws belong to the example, so that both see the same crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.sources.base import Cast, Source
from understudy.teachers.counter import stream_key, uniforms


class ExampleRandomness(Randomness):
    """Draws of the same kinds as `Randomness`, one row an example, that belong to (seed, view, example)."""

    def __init__(self, seed: int, view: int, index: Int[Tensor, " b"]) -> None:
        super().__init__(seed)
        self.view, self.index, self._draws = view, index.cpu().numpy(), 0

    def begin(self, step: int, rows: slice = slice(None), total: int | None = None) -> None:
        """Start over: neither the step nor the place in its batch matters here."""
        self._draws = 0

    def _next(self, like: Tensor, columns: int) -> Tensor:
        if len(like) != len(self.index):
            raise InputError(f"draws are for {len(self.index)} examples, asked for {len(like)}")
        key = stream_key("view", self.seed, self.view, self._draws)
        self._draws += 1
        return torch.from_numpy(uniforms(key, self.index.astype(np.int64), columns))

    def _like(self, like: Tensor) -> Tensor:
        return self._next(like, math.prod(like.shape[1:])).reshape(like.shape)

    def uniform(self, like: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
        """Uniform on [low, high), of the shape, type and device of `like` (B, ...)."""
        drawn = (self._like(like) * 2**24).floor().float() * 2.0**-24  # rounding to float32 could give 1
        return (low + (high - low) * drawn).to(like)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape, type and device of `like` (B, ...)."""
        return torch.special.ndtri(self._like(like) + 2.0**-54).to(like)

    def integers(self, like: Tensor, low: int, high: int) -> Tensor:
        """One integer in [low, high) an example of `like` (B, ...): (B,) int64."""
        drawn = low + (self._next(like, 1)[:, 0] * (high - low)).floor().long()
        return drawn.to(like.device)


@dataclass(frozen=True)
class Replay(Source):
    """A source whose randomness belongs to the example, in `views` different draws, one an epoch, over and over.

    Attributes:
        inner: what is replayed; it must not look at the student, who is not there when the teacher answers.
        seed: of the views.
        views: how many draws there are; epoch e shows number e modulo `views`.
    """

    inner: Source
    seed: int = 0
    views: int = 1

    def __post_init__(self) -> None:
        if self.views < 1:
            raise InputError(f"views must be 1 or more, found {self.views}")

    @property
    def view(self) -> str:
        """The augmentation in words, with its settings: what a store's identity says."""
        return repr(self.inner)

    def number(self, batch: Batch) -> int:
        """Which view a training batch is shown: 0..views-1."""
        return batch.epoch % self.views

    def at(self, batch: Batch, view: int, cast: Cast) -> Batch:
        """The batch as view number `view` shows it, whatever its size and order."""
        return self.inner.show(batch, cast, ExampleRandomness(self.seed, view, batch.index))

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch in its epoch's view; the run's own randomness is left alone."""
        return self.at(batch, self.number(batch), cast)
