"""Augmentations that cut out and mix, as pure functions: images in, images out, randomness given.

`mixup` and `cutmix` mix each image with another one of its batch, with one proportion a batch, as their authors' code
does, so what they give depends on how a batch is split. `cutout` looks at each image alone. No label is mixed.
Zhang et al., arXiv 1710.09412; Yun et al., arXiv 1905.04899; DeVries and Taylor, arXiv 1708.04552.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.data.randomness import Randomness
from understudy.errors import InputError


def derangement(images: Float[Tensor, "b ..."], rng: Randomness) -> Int[Tensor, " b"]:
    """Another example for each, its partner: (B,), any permutation without a fixed point, all equally likely.

    An example that is alone in its batch is its own partner.
    """
    alone = torch.arange(len(images), device=images.device)
    while True:  # at least a third of all draws have no fixed point
        order = rng.uniform(images.flatten(1)[:, 0].float()).argsort()
        if len(images) < 2 or not (order == alone).any():
            return order


def mixup(images: Float[Tensor, "b c h w"], rng: Randomness) -> Float[Tensor, "b c h w"]:
    """lambda x + (1 - lambda) x[partner], one lambda a batch, uniform on [0, 1): (B, C, H, W)."""
    order = derangement(images, rng)
    share = _one(images, rng)
    return share * images + (1 - share) * images[order]


def cutmix(images: Float[Tensor, "b c h w"], rng: Randomness) -> Float[Tensor, "b c h w"]:
    """A rectangle of each image replaced by the same one of its partner: (B, C, H, W).

    Its sides are those of the image times sqrt(1 - lambda), rounded down, lambda uniform on [0, 1); its centre is
    any pixel, and what lies outside the image is cut off. One rectangle a batch.
    """
    order = derangement(images, rng)
    ratio = math.sqrt(1 - _one(images, rng))
    (top, bottom), (left, right) = (_side(size, ratio, images, rng) for size in images.shape[-2:])
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return mixed


def cutout(
    images: Float[Tensor, "b c h w"], rng: Randomness, hole: float = 0.5, fill: float = 0.0
) -> Float[Tensor, "b c h w"]:
    """A square of each image painted over, its centre any pixel, cut off at the border: (B, C, H, W).

    Args:
        hole: the square's side in shares of the image's shorter one, rounded down; the usual 16 of 32 pixels.
        fill: what it is painted with, in the data's units.

    Raises:
        InputError: `hole` is not between 0 and 1.
    """
    if not 0 <= hole <= 1:
        raise InputError(f"the hole must be between 0 and 1 of the image's side, found {hole}")
    height, width = images.shape[-2:]
    side = int(hole * min(height, width))
    inside = []
    for size in (height, width):
        first = rng.integers(images, 0, size) - side // 2  # (B,)
        place = torch.arange(size, device=images.device)
        inside.append((place >= first[:, None]) & (place < first[:, None] + side))  # (B, size)
    covered = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(covered, fill)


def _one(images: Tensor, rng: Randomness) -> float:
    """One number of the batch, uniform on [0, 1)."""
    return float(rng.uniform(images.flatten(1)[:, 0].float(), 0.0, 1.0)[0])


def _side(size: int, ratio: float, images: Tensor, rng: Randomness) -> tuple[int, int]:
    """From where to where the rectangle goes along an axis."""
    length = int(size * ratio)
    first = int(rng.integers(images, 0, size)[0]) - length // 2
    return max(first, 0), min(first + length, size)


MIXING: dict[str, Callable[[Tensor, Randomness], Tensor]] = {"mixup": mixup, "cutmix": cutmix}
