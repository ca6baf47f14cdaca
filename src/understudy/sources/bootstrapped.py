"""Noise instead of data, and the student's own answer to it, noised again for the teacher to judge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.data.noise import pack, unpack
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.models.diffusion import noised
from understudy.models.look import in_mode, logits_of
from understudy.sources.base import Cast, Source

EARLIER = "earlier"
NOISED = "noised"


@dataclass(frozen=True)
class Bootstrapped(Source):
    """Replaces the data by fresh noise, of the same shape (B, C + 1, ...), and asks the student about it.

    With y what the student, in eval mode, says of the noise at t = min(s + delta, t_max), s uniform in [0, t_max]:
    three views, packed as `data.noise.pack` does, "clean" (noise, t_max) for the boundary, "earlier" (noise, s), and
    "noised" (a_t y + s_t noise, t), which the teacher is asked about; three notes, "signal" y (B, D), "time" t and
    "earlier" s (B,).

    Attributes:
        delta: longest step of time.
        t_max: time at which the path begins, below 1.
        curriculum: share of the training during which s is drawn from a range that grows from t_max down to 0.
        stop_gradient: whether the student's own answer is a constant.
    """

    delta: float
    t_max: float
    curriculum: float = 0.0
    stop_gradient: bool = True

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with its views and notes; nothing of the data enters but their shape."""
        shape, _ = unpack(batch.clean)
        noise = random.normal(shape)
        share = random.uniform(shape.flatten(1)[:, 0], 0.0, 1.0)
        reach = min(1.0, batch.progress / self.curriculum) if self.curriculum > 0 else 1.0
        earlier = self.t_max * (1 - reach * share)
        time = (earlier + self.delta).clamp(max=self.t_max)
        with in_mode(cast.student, False), torch.set_grad_enabled(not self.stop_gradient):
            signal = _like(noise, logits_of(cast.student(pack(noise, time))))
            again = noised(signal, noise, time)
        views = {
            **batch.views,
            CLEAN: pack(noise, torch.full_like(time, self.t_max)),
            EARLIER: pack(noise, earlier),
            NOISED: pack(again, time),
        }
        notes = {"signal": signal.flatten(1), "time": time, "earlier": earlier}
        return replace(batch, views=views, notes={**batch.notes, **notes})


def _like(noise: Tensor, said: Tensor) -> Tensor:
    """The student's answer (B, D) in the shape of its points."""
    if said.numel() != noise.numel():
        raise InputError(
            f"the student must say as many numbers as a point has: it says {said.shape[1]}, points are "
            f"{tuple(noise.shape[1:])} and one channel more for the time"
        )
    return said.to(noise).view_as(noise)
