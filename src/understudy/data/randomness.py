"""`Randomness`: draws that depend on the seed and the step alone, not on how a batch is split."""

from __future__ import annotations

import torch
from torch import Tensor


def _mix(seed: int, step: int) -> int:
    """A 32-bit seed from two numbers, by the finaliser of splitmix64: near pairs give unrelated streams."""
    word = (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03) & (2**64 - 1)
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return word >> 32


class Randomness:
    """A seeded stream of random tensors, one row an example of the *global* batch.

    Every process draws for the whole global batch and keeps its own rows, so that two processes (or two
    micro-batches) see exactly the numbers that one would have seen. Each step starts its own stream, so there
    is nothing to save: the seed and the step say it all. Draws are made on the CPU.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self._total: int | None = None
        self._rows: slice = slice(None)

    def begin(self, step: int, rows: slice = slice(None), total: int | None = None) -> None:
        """Start the stream of `step`; draw for `total` examples and hand out those of `rows`."""
        self.generator.manual_seed(_mix(self.seed, step))
        self._rows, self._total = rows, total

    def _shape(self, like: Tensor) -> tuple[int, ...]:
        return (self._total if self._total is not None else len(like), *like.shape[1:])

    def uniform(self, like: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
        """Uniform on [low, high), of the shape, type and device of `like` (B, ...)."""
        drawn = torch.rand(self._shape(like), generator=self.generator, dtype=torch.float32)
        return (low + (high - low) * drawn)[self._rows].to(like)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, of the shape, type and device of `like` (B, ...)."""
        drawn = torch.randn(self._shape(like), generator=self.generator, dtype=torch.float32)
        return drawn[self._rows].to(like)

    def integers(self, like: Tensor, low: int, high: int) -> Tensor:
        """One integer in [low, high) an example of `like` (B, ...): (B,) int64."""
        total = self._shape(like)[0]
        drawn = torch.randint(low, high, (total,), generator=self.generator)
        return drawn[self._rows].to(like.device)
