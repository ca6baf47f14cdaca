"""Branches: small networks from a student's inner feature to logits, dropped after training (OFA-KD)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.vit import Block

GRID = 7  # tokens are merged until their grid has this side at most


def make_branch(
    feature: Shaped[Tensor, "b ..."],
    classes: int,
    later: int,
    width: int | None = None,
    class_tokens: int | None = None,
) -> nn.Module:
    """A new branch, feature -> (B, classes), that suits the feature's layout.

    Maps (B, C, H, W) go through `later` separable convolutions that halve the sides and double C, to `width` channels
    at last, or one 1x1 convolution where `later` is 0, then mean and a linear layer. Tokens (B, L, D) are merged 2x2
    down to a grid of 7x7, where they form a square one with even sides, and go through `later` transformer blocks, 1
    at least; the first class token, or the mean, goes to the linear layer. Vectors (B, D) go through `later` hidden
    layers of `width`, and the linear one.

    Args:
        later: how many stages come after the feature's.
        width: of the last layer but one, of maps and vectors; None keeps what the feature has.
        class_tokens: how many of the tokens, the first ones, lie outside the grid; None takes 1 where L - 1 is a
            square and L is not, otherwise 0.

    Raises:
        InputError: another layout, or as many class tokens as there are tokens.
    """
    shape = tuple(feature.shape[1:])
    if len(shape) == 3:
        made: nn.Module = _of_maps(shape[0], classes, later, width or shape[0])
    elif len(shape) == 2:
        made = _Tokens(shape[0], shape[1], classes, max(later, 1), class_tokens)
    elif len(shape) == 1:
        made = _of_vectors(shape[0], classes, later, width or shape[0])
    else:
        raise InputError(f"a branch starts at maps (C, H, W), tokens (L, D) or vectors (D,); found {shape}")
    for part in made.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return made


def _of_maps(channels: int, classes: int, later: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(later):
        out = width if i == later - 1 else 2 * channels
        layers += _separable(channels, out)
        channels = out
    if not later:
        layers.append(nn.Conv2d(channels, width, 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def _separable(channels: int, out: int) -> list[nn.Module]:
    """Twice a 3x3 convolution of each channel by itself and a 1x1 over channels: (B, c, h, w) -> (B, out, h/2, w/2)."""
    layers: list[nn.Module] = []
    for stride, given in ((2, channels), (1, out)):
        layers += [
            nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, given, 1, bias=False),
            nn.BatchNorm2d(given),
            nn.ReLU(),
        ]
    return layers


def _of_vectors(size: int, classes: int, later: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(later):
        layers += [nn.Linear(size, width), nn.LayerNorm(width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, classes))


class _Merge(nn.Module):
    """Four neighbours become one: (B, side^2, D) -> (B, (side / 2)^2, D)."""

    def __init__(self, side: int, dim: int, last: bool) -> None:
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(4 * dim)
        self.reduce = nn.Linear(4 * dim, dim, bias=False)
        self.act: nn.Module = nn.Identity() if last else nn.GELU()

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b m d"]:
        half = self.side // 2
        grid = x.unflatten(1, (half, 2, half, 2)).permute(0, 1, 3, 2, 4, 5)  # (B, half, half, 2, 2, D)
        merged: Tensor = self.act(self.reduce(self.norm(grid.flatten(3).flatten(1, 2))))
        return merged


class _Tokens(nn.Module):
    """(B, L, D) -> (B, classes) by merging, transformer blocks, and the first class token or the mean."""

    def __init__(self, count: int, dim: int, classes: int, blocks: int, class_tokens: int | None) -> None:
        super().__init__()
        if class_tokens is None:
            class_tokens = int(not _is_square(count) and _is_square(count - 1))
        if not 0 <= class_tokens < count:
            raise InputError(
                f"class_tokens must be below the {count} tokens of the feature, found {class_tokens}"
            )
        self.apart = class_tokens
        grid = count - class_tokens
        side = math.isqrt(grid) if _is_square(grid) else 0
        merges: list[nn.Module] = []
        while side > GRID and side % 2 == 0:
            merges.append(_Merge(side, dim, last=side // 2 <= GRID or side // 2 % 2 == 1))
            side //= 2
        self.merge = nn.Sequential(*merges)
        heads = next(h for h in (4, 2, 1) if dim % h == 0)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(blocks)))
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b c"]:
        first, grid = x[:, : self.apart], self.merge(x[:, self.apart :])
        tokens = self.blocks(torch.cat((first, grid), 1))
        logits: Tensor = self.head(tokens[:, 0] if self.apart else tokens.mean(1))
        return logits


def _is_square(count: int) -> bool:
    return count >= 1 and math.isqrt(count) ** 2 == count
