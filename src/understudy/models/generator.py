"""`Generator`: examples out of noise; `Replay`: one with a memory of what it made before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky units


class Generator(nn.Module):
    """Noise (B, latent) -> examples (B, *shape) in (0, 1): convolutions for images, linear layers for anything else.

    Batch norm, where there is some, always normalises by the batch at hand: it keeps no running statistics.

    Args:
        shape: of one example.
        latent: numbers of noise an example.
        width: channels of the last hidden layer; a quarter as many hundred units for what is no image.
    """

    def __init__(self, shape: tuple[int, ...], latent: int = 64, width: int = 32) -> None:
        super().__init__()
        self.shape, self.latent = shape, latent
        if len(shape) == 3:
            self.start = (2 * width, *(max(2, math.ceil(side / 4)) for side in shape[1:]))
            self.first = nn.Linear(latent, math.prod(self.start))
            self.norm = _norm(2 * width)
            self.second = nn.Sequential(
                nn.Conv2d(2 * width, 2 * width, 3, padding=1), _norm(2 * width), nn.LeakyReLU(SLOPE)
            )
            self.third = nn.Sequential(
                nn.Conv2d(2 * width, width, 3, padding=1), _norm(width), nn.LeakyReLU(SLOPE)
            )
            self.last = nn.Conv2d(width, shape[0], 3, padding=1)
            return
        hidden = 4 * width
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, math.prod(shape)),
        )  # fmt: skip

    def forward(self, noise: Float[Tensor, "b z"]) -> Float[Tensor, "b ..."]:
        """The examples."""
        if len(self.shape) != 3:
            return self.layers(noise).sigmoid().view(-1, *self.shape)
        height, width = self.shape[1:]
        x = self.norm(self.first(noise).view(-1, *self.start))
        x = self.second(F.interpolate(x, size=(math.ceil(height / 2), math.ceil(width / 2))))
        return self.last(self.third(F.interpolate(x, size=(height, width)))).sigmoid()


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)


class Replay(nn.Module):
    """A generator and the last `capacity` examples that it was told to keep, oldest out first.

    Args:
        generator: noise (B, z) -> examples (B, *shape).
        capacity: how many examples are kept.
        shape: of one example.
    """

    kept: Tensor
    stored: Tensor
    turns: Tensor

    def __init__(self, generator: Generator, capacity: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("kept", torch.zeros(capacity, *shape))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64))
        self.register_buffer("turns", torch.zeros((), dtype=torch.int64))

    def forward(self, noise: Float[Tensor, "b z"]) -> Float[Tensor, "b ..."]:
        """New examples in (0, 1)."""
        return self.generator(noise)

    @torch.no_grad()
    def keep(self, examples: Float[Tensor, "b ..."]) -> None:
        """Store the examples in the place of the oldest."""
        rows = (int(self.stored) + torch.arange(len(examples), device=self.kept.device)) % len(self.kept)
        self.kept[rows[-len(self.kept) :]] = examples[-len(self.kept) :].detach().to(self.kept)
        self.stored.add_(len(examples))

    def recall(self, share: Float[Tensor, " b"]) -> Float[Tensor, "b ..."] | None:
        """One kept example for each number in [0, 1), uniformly; None while nothing is kept."""
        count = min(int(self.stored), len(self.kept))
        return None if count == 0 else self.kept[(share * count).long().clamp(max=count - 1)]


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[list[Tensor]]:
    """Inside the block, calling the module adds to the list how far each batch norm's input is from what it knows.

    A layer's number is |mean - running mean|^2 + |variance - running variance|^2 over its channels.
    """
    found: list[Tensor] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
        if layer.running_mean is None or layer.running_var is None:
            return
        x = inputs[0].float() if inputs[0].dtype in (torch.float16, torch.bfloat16) else inputs[0]
        rest = [axis for axis in range(x.dim()) if axis != 1]
        mean = (x.mean(rest) - layer.running_mean).square().sum()
        found.append(mean + (x.var(rest, unbiased=False) - layer.running_var).square().sum())

    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    hooks = [part.register_forward_pre_hook(look) for part in module.modules() if isinstance(part, kinds)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
