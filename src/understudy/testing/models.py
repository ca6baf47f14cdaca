"""Tiny models: small enough that a whole training takes a second, odd enough to be treated wrongly."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import nn

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


def _sharper(net: nn.Sequential) -> nn.Sequential:
    """The last layer three times as large: confidences that differ between inputs."""
    head = net.get_submodule("head")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(3.0)
    return net
