"""Ranges of a smooth activation's derivative."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.smooth import SLOPES, Kind, bend

WIDEN = 64  # units in the last place: twice what the derivatives' own rounding can be, and then some


def slope_range(
    kind: Kind, low: Float[Tensor, "*shape"], high: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Least and largest derivative on [low, high].

    Sigmoid, tanh and erf have an even derivative that falls away from 0; softplus a rising one; those of GELU
    and SiLU rise from -c to c and fall outside (c = `bend`).
    """
    places = [low, high]
    if kind in ("sigmoid", "tanh", "erf"):
        places.append(torch.minimum(torch.maximum(torch.zeros_like(low), low), high))
    elif kind != "softplus":
        turn = torch.full_like(low, bend(kind))
        places += [torch.minimum(torch.maximum(end, low), high) for end in (-turn, turn)]
    slopes = torch.stack([SLOPES[kind](place) for place in places])
    margin = WIDEN * torch.finfo(low.dtype).eps
    return slopes.amin(0) - margin, slopes.amax(0) + margin
