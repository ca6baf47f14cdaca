"""Images turned, scaled and moved: by given amounts (`affine`), and each by its own draw (`warp`)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.numbers import check_number


def affine(
    inputs: Float[Tensor, "b c h w"],
    angle: Float[Tensor, " b"],
    scale: Float[Tensor, " b"],
    down: Float[Tensor, " b"],
    right: Float[Tensor, " b"],
    fill: float = 0.0,
) -> Float[Tensor, "b c h w"]:
    """Each image turned about its middle, enlarged, then moved; read off by bilinear interpolation.

    What is between pixels is a mean of them and of the `fill`, so that no value leaves their range.

    Args:
        inputs: (B, C, H, W) images.
        angle: (B,) radians, anticlockwise as the image is seen.
        scale: (B,) what lengths are multiplied by, above 0.
        down, right: (B,) pixels.
        fill: value of what comes in at the border, in the data's range.

    Raises:
        InputError: a scale of 0 or less.
    """
    if not bool((scale > 0).all()):
        raise InputError(f"images are scaled by numbers above 0, found {float(scale.min()):g}")
    height, width = inputs.shape[-2:]
    # where each place of the new image is read in the old one, in pixels from its middle
    cos, sin = angle.cos() / scale, angle.sin() / scale
    x = torch.stack([cos, -sin, -right * cos + down * sin], 1)
    y = torch.stack([sin, cos, -right * sin - down * cos], 1)
    sides = torch.tensor([width / 2, height / 2, 1.0]).to(inputs)  # affine_grid's unit is half a side
    grid = torch.stack([x * sides / sides[0], y * sides / sides[1]], 1)
    place = F.affine_grid(grid.to(inputs), list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs - fill, place, align_corners=False) + fill


def warp(
    inputs: Float[Tensor, "b c h w"],
    rng: Randomness,
    degrees: float = 0.0,
    scale: float = 0.0,
    pixels: float = 0.0,
    fill: float = 0.0,
) -> Float[Tensor, "b c h w"]:
    """Each image by its own `affine`, its amounts uniform.

    Args:
        inputs: (B, C, H, W) images.
        degrees: largest turn either way, in [0, 180].
        scale: lengths are multiplied by 1 - scale to 1 + scale, in [0, 1).
        pixels: largest displacement in each direction, 0 or more.
        fill: as for `affine`.

    Raises:
        InputError: an amount out of its range.
    """
    check_number("degrees", degrees, 0.0, 180.0)
    check_number("pixels", pixels, 0.0)
    if not 0 <= scale < 1:
        raise InputError(f"scale must be in [0, 1), found {scale}")
    one = inputs.flatten(1)[:, 0]
    angle, factor, down, right = (rng.uniform(one) for _ in range(4))
    return affine(
        inputs, math.radians(degrees) * angle, 1 + scale * factor, pixels * down, pixels * right, fill
    )
