"""Tiny models: small enough that a whole training takes a second, odd enough to be treated wrongly."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

TINY_SHAPE = (1, 6, 6)


def tiny_mlp(classes: int = 5, *, seed: int = 0, shape: tuple[int, ...] = TINY_SHAPE) -> nn.Sequential:
    """Eight hidden units, without batch norm: (B, *shape) -> (B, classes). The layer "mid" gives (B, 8)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = [
            ("flat", nn.Flatten()),
            ("first", nn.Linear(math.prod(shape), 8)),
            ("mid", nn.ReLU()),
            ("head", nn.Linear(8, classes)),
        ]
        return _sharper(nn.Sequential(OrderedDict(layers)))


def tiny_timed(size: int = 5, *, seed: int = 0) -> nn.Sequential:
    """A denoiser with batch norm: points of `size` numbers with a time, (B, size + 1) -> (B, size)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = [
            ("first", nn.Linear(size + 1, 8)),
            ("norm", nn.BatchNorm1d(8)),
            ("mid", nn.ReLU()),
            ("head", nn.Linear(8, size)),
        ]
        return _sharper(nn.Sequential(OrderedDict(layers)))


def tiny_conv(classes: int = 5, *, seed: int = 0) -> nn.Sequential:
    """A strided convolution with batch norm: (B, 1, 6, 6) -> (B, classes). The layer "mid" gives (B, 4, 3, 3)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = [
            ("conv", nn.Conv2d(1, 4, 3, stride=2, padding=1)),
            ("norm", nn.BatchNorm2d(4)),
            ("mid", nn.ReLU()),
            ("flat", nn.Flatten()),
            ("head", nn.Linear(36, classes)),
        ]
        net = nn.Sequential(OrderedDict(layers))
        norm = net.get_submodule("norm")
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        nn.init.normal_(norm.running_mean, std=0.1)  # statistics as after some training, not 0
        return _sharper(net)


def tiny_labels(classes: int = 5, *, seed: int = 0) -> nn.Sequential:
    """As `tiny_conv`, with an embedding a label: (B, 1, 6, 6) -> (B, classes). "mid" gives (B, classes, 4)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = [
            ("conv", nn.Conv2d(1, 4, 3, stride=2, padding=1)),
            ("norm", nn.BatchNorm2d(4)),
            ("flat", nn.Flatten()),
            ("spread", nn.Linear(36, 4 * classes)),
            ("apart", nn.Unflatten(1, (classes, 4))),
            ("mid", nn.ReLU()),
            ("head", nn.Linear(4, 1)),
            ("together", nn.Flatten()),
        ]
        return _sharper(nn.Sequential(OrderedDict(layers)))


class _Past(nn.Module):
    """Each place and the mean of all up to it, side by side: (B, L, D) -> (B, L, 2 D). Nothing is seen ahead."""

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)[:, None]
        return torch.cat((x, x.cumsum(1) / count), 2)


def tiny_lm(classes: int = 5, *, seed: int = 0) -> nn.Sequential:
    """A causal language model of eight hidden units: tokens (B, L) -> (B, L, classes). "mid" gives (B, L, 8)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = [
            ("embed", nn.Embedding(classes, 4)),
            ("past", _Past()),
            ("first", nn.Linear(8, 8)),
            ("mid", nn.ReLU()),
            ("head", nn.Linear(8, classes)),
        ]
        return _sharper(nn.Sequential(OrderedDict(layers)))


def _sharper(net: nn.Sequential) -> nn.Sequential:
    """The last layer three times as large: confidences that differ between inputs."""
    head = net.get_submodule("head")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(3.0)
    return net
