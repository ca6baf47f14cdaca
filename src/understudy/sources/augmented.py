"""Augmentation as a source: random shifts (a crop of the padded image) and horizontal flips."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.data.augment import flip, shift
from understudy.data.batch import CLEAN, Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.sources.base import Cast, Source


@dataclass(frozen=True)
class Augmented(Source):
    """Replaces the clean view by an augmented one, the same for teacher and student.

    Attributes:
        pixels: largest shift in each direction, 0 for none; what moves in is `fill`.
        mirror: whether half of the images are flipped left to right.
        fill: value of the pixels that move in, in the data's units.
    """

    pixels: int = 0
    mirror: bool = False
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise InputError(f"pixels must be 0 or more, found {self.pixels}")

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch whose clean view is the augmented one; images (B, C, H, W)."""
        if batch.clean.dim() != 4:
            raise InputError(
                f"augmentation needs images (channels, height, width), found {tuple(batch.clean.shape[1:])}"
            )
        images = batch.clean
        if self.pixels:
            images = shift(images, self.pixels, random, self.fill)
        if self.mirror:
            images = flip(images, random)
        return batch.with_view(CLEAN, images)
