"""Augmentations as pure functions: images in, images out, randomness given.

Each example's draw belongs to the example's place in the global batch (see `Randomness`), so a batch that is
split over processes is augmented exactly as the whole one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.data.randomness import Randomness
from understudy.errors import InputError


def shift(
    inputs: Float[Tensor, "b c h w"], pixels: int, rng: Randomness, fill: float = 0.0
) -> Float[Tensor, "b c h w"]:
    """Move each image by -pixels..pixels down and right, all equally likely: the usual padded random crop.

    Args:
        inputs: (B, C, H, W) images.
        pixels: largest displacement a direction, in pixels, below both sides.
        fill: value of what comes in at the border, in the data's range.

    Raises:
        InputError: `pixels` is negative or as large as the image.
    """
    height, width = inputs.shape[-2:]
    if not 0 <= pixels < min(height, width):
        raise InputError(
            f"shift must be 0..{min(height, width) - 1} pixels on {height}x{width}, found {pixels}"
        )
    if pixels == 0:
        return inputs
    padded = F.pad(inputs, (pixels,) * 4, value=fill)
    down = rng.integers(inputs, 0, 2 * pixels + 1)
    right = rng.integers(inputs, 0, 2 * pixels + 1)
    rows = down[:, None] + torch.arange(height, device=inputs.device)
    columns = right[:, None] + torch.arange(width, device=inputs.device)
    # (B, 1, H*W) place of every wanted pixel in its flattened padded image, the same for all channels
    place = (rows[:, :, None] * padded.shape[-1] + columns[:, None, :]).flatten(1)[:, None]
    return padded.flatten(2).gather(2, place.expand(-1, inputs.shape[1], -1)).view_as(inputs)


def flip(inputs: Float[Tensor, "b c h w"], rng: Randomness) -> Float[Tensor, "b c h w"]:
    """Mirror each image left to right with probability 1/2: (B, C, H, W)."""
    mirrored = rng.integers(inputs, 0, 2).bool()
    return torch.where(mirrored[:, None, None, None], inputs.flip(-1), inputs)
