"""Residual networks with and without their shortcuts: the CIFAR network, and one of perceptrons of the same depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar, get_args, no_type_check

import torch
from torch import Tensor, nn

from understudy.errors import InputError, unknown
from understudy.models.resnet import Block, ResNet
from understudy.report.layout import panels, section
from understudy.report.marks import band, dot, end_labels, line, slot
from understudy.report.markup import Markup
from understudy.report.plot import Frame, axes, chart, nice_ticks, panel
from understudy.report.words import count, percent

Family = Literal["perceptron", "resnet"]
N = TypeVar("N", bound=nn.Module)
Place = tuple[int, float, float | None, float | None]  # depth, mean over seeds, its interval


class NoShortcut(nn.Module):
    """Adds nothing: (B, ...) -> a zero."""

    @no_type_check
    def forward(self, x: Tensor) -> Tensor:
        """The zero that the block's own output is added to."""
        return x.new_zeros(())


class DenseBlock(nn.Module):
    """Two linear layers with batch norm and a shortcut: (B, width) -> (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1, self.bn1 = nn.Linear(width, width, bias=False), nn.BatchNorm1d(width)
        self.linear2, self.bn2 = nn.Linear(width, width, bias=False), nn.BatchNorm1d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()

    @no_type_check
    def forward(self, x: Tensor) -> Tensor:
        """As a block of the CIFAR network, with linear layers for convolutions."""
        y = self.bn2(self.linear2(self.relu1(self.bn1(self.linear1(x)))))
        return self.relu2(y + self.shortcut(x))


def make_net(
    family: str,
    shape: tuple[int, ...],
    classes: int,
    depth: int,
    width: int,
    seed: int,
    *,
    shortcuts: bool,
) -> nn.Module:
    """A network of 6n + 2 layers, (B, *shape) -> (B, classes); its weights are the same with and without shortcuts.

    Args:
        family: one of `Family`.
        width: channels of the first of three stages ("resnet"), or units of every layer ("perceptron").
        seed: the weights are drawn from it, as He et al. draw them.

    Raises:
        InputError: another family, a depth that is not 8, 14, 20, ..., or a residual network for what is no image.
    """
    if family not in get_args(Family):
        raise unknown("family", family, get_args(Family))
    if depth < 8 or (depth - 2) % 6:
        raise InputError(f"a depth is 6n + 2 (8, 14, 20, ...), found {depth}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "resnet":
            if len(shape) != 3:
                raise InputError(f"a CIFAR network takes images, (channels, height, width), found {shape}")
            net: nn.Module = ResNet((shape[0], shape[1], shape[2]), classes, depth, width)
        else:
            net = _perceptron(math.prod(shape), classes, (depth - 2) // 2, width)
    return net if shortcuts else without_shortcuts(net)


def _perceptron(inputs: int, classes: int, blocks: int, width: int) -> nn.Sequential:
    net = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
        *(DenseBlock(width) for _ in range(blocks)),
        nn.Linear(width, classes),
    )
    for part in net.modules():
        if isinstance(part, nn.Linear) and part.bias is None:
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return net


def without_shortcuts(net: N) -> N:
    """The network whose blocks give relu of their own output alone, made in place; all other tensors stay."""
    for part in net.modules():
        if isinstance(part, Block | DenseBlock):
            part.shortcut = NoShortcut()
    return net


def depth_chart(curves: Mapping[str, Sequence[Place]]) -> Markup:
    """Accuracy over depth, a line a name, with intervals as bands."""
    depths = [depth for depth, *_ in next(iter(curves.values()))]
    seen = [
        value for places in curves.values() for _, *three in places for value in three if value is not None
    ]
    low = max(0.0, math.floor(20 * min(seen)) / 20)
    frame = Frame((depths[0], depths[-1]), (low, 1.0), right=92)
    shares = [(value, f"{100 * value:.10g}%") for value, _ in nice_ticks(low, 1.0, 5)]
    marks: list[str | None] = [axes(frame, [(depth, str(depth)) for depth in depths], shares, "layers", "")]
    labels, said = [], []
    for place, (name, points) in enumerate(curves.items()):
        inside = [
            (d, None if a is None else max(a, low), None if b is None else min(b, 1.0))
            for d, _, a, b in points
        ]
        marks.append(band(frame, inside, slot(place)))
        marks.append(line(frame, [(depth, mean) for depth, mean, _, _ in points], slot(place)))
        for depth, mean, _, _ in points:
            read = f"{name}, {count(depth, 'layer')}: {percent(mean)}"
            marks.append(dot(frame.x(depth), frame.y(mean), slot(place), read, place))
        labels.append((points[-1][1], name, slot(place)))
        said.append(f"{name} {percent(points[0][1])} to {percent(points[-1][1])}")
    marks += end_labels(frame, labels)
    title = "Accuracy on test inputs, by depth"
    drawn = panel(
        title,
        chart(frame, title, "; ".join(said), *marks),
        f"From the fewest layers to the most: {'; '.join(said)}.",
    )
    return section("What depth costs", panels(drawn), lead="Means over seeds; bands are their 95% intervals.")
