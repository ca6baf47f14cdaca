"""One view more: the clean images, changed or mixed once again, for a student that is shown both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from understudy.data.augment import flip, shift
from understudy.data.batch import Batch
from understudy.data.mixing import MIXING, cutout
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.numbers import check_number
from understudy.sources.base import Cast, Source

AUGMENTED = "augmented"
Kind = Literal["identity", "flip", "shift", "cutout", "mixup", "cutmix"]


@dataclass(frozen=True)
class WithAugmented(Source):
    """Adds the view "augmented" (B, C, H, W), made of the clean one, which stays as it is.

    Attributes:
        kind: "identity", "flip", "shift", "cutout", "mixup" or "cutmix". An image that the last two make is no
            longer the example of its row, and has no label.
        pixels: largest displacement of "shift".
        hole: side of the square of "cutout", in shares of the image's.
        fill: what "shift" and "cutout" fill with, in the data's units.
    """

    kind: Kind = "cutmix"
    pixels: int = 2
    hole: float = 0.5
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown("augmentation", self.kind, get_args(Kind))
        if self.pixels < 0:
            raise InputError(f"pixels must be 0 or more, found {self.pixels}")
        check_number("hole", self.hole, 0.0, 1.0)

    @property
    def whole_batch(self) -> bool:
        """Whether images are mixed with one another."""
        return self.kind in MIXING

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with its augmented view."""
        if batch.clean.dim() != 4:
            raise InputError(
                f"augmentation needs images (channels, height, width), found {tuple(batch.clean.shape[1:])}"
            )
        return batch.with_view(AUGMENTED, self.change(batch.clean, random))

    def change(self, images: Float[Tensor, "b c h w"], random: Randomness) -> Float[Tensor, "b c h w"]:
        """The images changed, by the next draws of `random`."""
        match self.kind:
            case "identity":
                return images
            case "flip":
                return flip(images, random)
            case "shift":
                return shift(images, self.pixels, random, self.fill)
            case "cutout":
                return cutout(images, random, self.hole, self.fill)
        return MIXING[self.kind](images, random)
