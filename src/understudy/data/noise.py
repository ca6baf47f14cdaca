"""Points and times in one tensor, and data sets that hold nothing but noise: what a diffusion model is asked about.

The time is one more channel: (B, C, ...) points and (B,) times go together as (B, C + 1, ...), where the last channel
is the time everywhere. A vector's last number is its time.
"""

from __future__ import annotations

import math
import re

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.data.dataset import DataSet
from understudy.errors import InputError

EXAMPLES = 4096
_SPLITS = ("train", "test")


def pack(point: Float[Tensor, "b c *d"], time: Float[Tensor, " b"]) -> Float[Tensor, "b c1 *d"]:
    """Points (B, C, ...) with their times (B,) as a last channel: (B, C + 1, ...)."""
    plane = time.to(point).reshape(-1, *[1] * (point.dim() - 1)).expand(-1, 1, *point.shape[2:])
    return torch.cat([point, plane], 1)


def unpack(packed: Float[Tensor, "b c1 *d"]) -> tuple[Float[Tensor, "b c *d"], Float[Tensor, " b"]]:
    """The inverse of `pack`: (points (B, C, ...), times (B,)).

    Raises:
        InputError: there is no channel beside the time's.
    """
    if packed.shape[1] < 2:
        raise InputError(
            f"points with a time have the shape (B, C + 1, ...), the time last; found {tuple(packed.shape)}"
        )
    return packed[:, :-1], packed[:, -1].flatten(1)[:, 0] if packed.dim() > 2 else packed[:, -1]


def noise_data(shape: tuple[int, ...], split: str = "train", examples: int = EXAMPLES) -> DataSet:
    """Standard normal points of `shape` (C, ...), each with the time 1: (N, C + 1, ...), unbounded, without labels.

    The same split always holds the same noise. A data-free method draws its own; what the set is good for is to say
    how many examples make an epoch and of which shape they are, and to measure a student on noise.

    Raises:
        InputError: an empty shape or a side below 1; a split that is not "train" or "test".
    """
    if not shape or min(shape) < 1 or examples < 1:
        raise InputError(f"noise needs one or more positive sides and examples, found {shape} and {examples}")
    if split not in _SPLITS:
        raise InputError(f"noise has the splits {' and '.join(_SPLITS)}, found {split!r}")
    generator = torch.Generator().manual_seed(_SPLITS.index(split))
    points = torch.randn(examples, *shape, generator=generator)
    name = f"noise[{','.join(map(str, shape))}]"
    return DataSet(name, split, pack(points, torch.ones(examples)), low=-math.inf, high=math.inf)


def noise_shape(name: str) -> tuple[int, ...] | None:
    """The shape in a name like "noise[2]" or "noise[1,8,8]"; None for any other name."""
    found = re.fullmatch(r"noise\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]", name)
    return None if found is None else tuple(int(side) for side in found[1].split(","))
