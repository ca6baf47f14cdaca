"""A small vision transformer: Dosovitskiy et al., ICLR 2021 (arXiv 2010.11929), pooled by the mean.

Mean pooling instead of a class token follows Beyer, Zhai and Kolesnikov, "Better plain ViT baselines"
(arXiv 2205.01580). Positions are learnt. There is no dropout, so training mode and eval mode agree.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import InputError


class Attention(nn.Module):
    """Multi-head self-attention: (B, tokens, dim) -> (B, tokens, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    @no_type_check  # torch.fx traces with proxies, which run-time type checks would refuse
    def forward(self, x: Tensor) -> Tensor:
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, tokens, 3, heads, dim / heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, tokens, dim / heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a perceptron with 4 dim hidden units; each after a norm and added to its input."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    @no_type_check
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """(B, c, h, w) -> (B, classes), with tokens = (h / patch) * (w / patch).

    Raises:
        InputError: `patch` does not divide both sides, or `heads` does not divide `dim`.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, patch: int, dim: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if height % patch or width % patch:
            raise InputError(f"a ViT's patch must divide the image: {patch} does not divide {height}x{width}")
        if dim % heads:
            raise InputError(f"a ViT's heads must divide its dim: {heads} does not divide {dim}")
        tokens = (height // patch) * (width // patch)
        self.patches = nn.Conv2d(channels, dim, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    @no_type_check
    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)  # (B, tokens, dim)
        tokens = self.blocks(tokens + self.positions)
        return self.head(self.norm(tokens).mean(1))
