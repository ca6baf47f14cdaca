"""Starts on the line between a random network and its teacher, and the ways in which inputs are shown.

Stanton et al., arXiv 2106.05945: theta = lambda theta_random + (1 - lambda) theta_teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from understudy.data.batch import CLEAN, Batch
from understudy.data.mixing import mixup
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.methods.robust.kd import SD
from understudy.numbers import check_number
from understudy.sources import Augmented, Source
from understudy.sources.base import AsIs, Cast

Shown = Literal["none", "shift", "mixup"]


@torch.no_grad()
def start_towards(student: nn.Module, teacher: nn.Module, share: float) -> None:
    """Move the student's weights to share * its own + (1 - share) * the teacher's, in place.

    Args:
        share: lambda in [0, 1]; 1 leaves the student as it is, 0 makes it the teacher, both exactly.

    Raises:
        InputError: share outside [0, 1], another architecture, or batch norm, whose running statistics belong to
            the weights they were measured with and would have to be measured again.
    """
    check_number("the share of the random weights", share, 0.0, 1.0)
    own, other = student.state_dict(), teacher.state_dict()
    shapes, wanted = ({name: tuple(v.shape) for name, v in one.items()} for one in (own, other))
    if shapes != wanted:
        name = next(n for n in (*shapes, *wanted) if shapes.get(n) != wanted.get(n))
        raise InputError(
            f"a start between two networks needs one architecture: {name} is {shapes.get(name)} in the student, "
            f"{wanted.get(name)} in the teacher"
        )
    if any(name.endswith("running_mean") for name in own):
        raise InputError(
            "a start between two networks takes networks without batch norm, found running statistics"
        )
    for name, value in own.items():
        if value.is_floating_point():
            value.copy_(torch.lerp(other[name].to(value), value, share))


@dataclass(frozen=True)
class MixedUp(Source):
    """Replaces the clean view by lambda x + (1 - lambda) x[partner], lambda uniform, one a batch."""

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch whose clean view is mixed; the teacher answers the mixed image, so no label is mixed."""
        return batch.with_view(CLEAN, mixup(batch.clean, random))

    @property
    def whole_batch(self) -> bool:
        """Partners come from the batch."""
        return True


@dataclass(frozen=True, kw_only=True)
class ShownSD(SD):
    """Soft distillation without labels on inputs shown as they are ("none"), shifted by up to a pixel, or mixed."""

    shown: Shown = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shown not in get_args(Shown):
            raise unknown("way to show the inputs", self.shown, get_args(Shown))

    def source(self, low: float, high: float) -> Source:
        """What the student and its teacher are shown."""
        return {"none": AsIs(), "shift": Augmented(1, fill=low), "mixup": MixedUp()}[self.shown]
