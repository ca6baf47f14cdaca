"""The modules that the corpus's networks are made of, beyond torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Concat(nn.Module):
    """Two branches, one after the other along the first axis of an example."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x)], 1)


class Normalise(nn.Module):
    """(x - mean) / std, with powers of two for std, so that folding it into the graph is exact."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Same(nn.Module):
    """The shortcut of a concatenation."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def draw(module: nn.Module, seed: int, size: float = 1.0, bias: float = 0.3) -> nn.Module:
    """Normal weights times size / sqrt(fan in), normal biases, in float64; batch norms exact to fold."""
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    module = module.double().eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            _dyadic(part, normal)
        elif isinstance(part, nn.Linear | nn.Conv2d):
            part.weight.copy_(normal(part.weight) * size / part.weight[0].numel() ** 0.5)
            if part.bias is not None:
                part.bias.copy_(normal(part.bias) * bias)
    return module


def _dyadic(norm: nn.BatchNorm1d | nn.BatchNorm2d, normal) -> None:
    """Statistics and parameters with few digits, and variances whose root is a power of two."""
    norm.eps = 2.0**-10
    norm.running_var.fill_(4.0 - norm.eps)
    for values, step in ((norm.running_mean, 64), (norm.weight, 64), (norm.bias, 64)):
        values.copy_((normal(values) * step).round() / step)


def rounded(module: nn.Module, step: float) -> nn.Module:
    """A copy whose parameters are multiples of 1 / step."""
    import copy

    twin = copy.deepcopy(module)
    for parameter in twin.parameters():
        parameter.copy_((parameter * step).round() / step)
    return twin
