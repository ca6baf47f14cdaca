"""Normalisation kept inside the model, so that an attack's radius is always in the data's own units."""

from __future__ import annotations

from typing import no_type_check

import torch
from torch import Tensor, nn

from understudy.models.config import check_statistics


class Normalize(nn.Module):
    """(x - mean) / std, a channel (first axis after the batch) or one value for all: (B, c, ...) -> the same.

    The statistics are buffers that are not part of the state dict: they belong to the configuration.

    Args:
        mean, std: 1 value, or one a channel; std above 0.
        rank: number of axes of one input, 3 for images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], rank: int = 3) -> None:
        super().__init__()
        check_statistics(mean, std)
        sides = (-1, *[1] * (rank - 1))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(sides), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(sides), persistent=False)

    @no_type_check  # torch.fx traces with proxies, which run-time type checks would refuse
    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Normalized(nn.Module):
    """A model that takes inputs in the data's range: normalises them, then asks `body`."""

    def __init__(
        self, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], rank: int = 3
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std, rank)
        self.body = body

    @no_type_check
    def forward(self, x: Tensor) -> object:
        return self.body(self.normalize(x))


def body_of(module: nn.Module) -> nn.Module:
    """The network inside a `Normalized`, or the module itself: what is saved and loaded."""
    return module.body if isinstance(module, Normalized) else module
