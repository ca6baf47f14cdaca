"""The corpus: pairs of small networks, points and balls, by name.

All have one to three inputs, so that the oracle encloses the truth; layers on images come after an embedding.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soundness.networks import Concat, Normalise, Residual, Same, draw, rounded
from understudy.attacks.ball import Ball

IMAGE = (1, 4, 4)


@dataclass(frozen=True, eq=False)
class Case:
    """A pair, points (b, *shape) and a ball; `enclosed`: the oracle reaches about 1e-3 on it."""

    teacher: nn.Module
    student: nn.Module
    points: Tensor
    ball: Ball
    enclosed: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.points.shape[1:])


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers[:-1])


def embedded(*layers: nn.Module, classes: int = 3) -> nn.Sequential:
    """Two inputs, an image of 4 x 4, the layers, logits."""
    head = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, IMAGE), *layers, nn.Flatten())
    width = head.eval()(torch.zeros(1, 2)).shape[1]
    return nn.Sequential(head, nn.Linear(width, classes))


OPERATORS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(2, 3),
    "relu": lambda: mlp(2, 6, 5, 3),
    "deep": lambda: mlp(2, 4, 4, 4, 4, 4, 3),
    "conv": lambda: embedded(nn.Conv2d(1, 2, 3), nn.ReLU()),
    "conv-stride-padding": lambda: embedded(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU()),
    "conv-uneven": lambda: embedded(nn.Conv2d(1, 2, (2, 3), stride=(3, 2), padding=(0, 1)), nn.ReLU()),
    "conv-groups-dilation": lambda: embedded(
        nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 2, dilation=2, groups=2, bias=False), nn.ReLU()
    ),
    "batchnorm-2d": lambda: embedded(nn.Conv2d(1, 2, 2, stride=2), nn.BatchNorm2d(2), nn.ReLU()),
    "batchnorm-1d": lambda: nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)),
    "residual": lambda: nn.Sequential(
        nn.Linear(2, 4), nn.ReLU(), Residual(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), nn.ReLU(),
        nn.Linear(4, 3),
    ),
    "residual-conv": lambda: embedded(Residual(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()), nn.AvgPool2d(2)),
    "average-pool": lambda: embedded(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2)),
    "max-pool": lambda: embedded(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2)),
    "max-pool-padded": lambda: embedded(nn.MaxPool2d(3, stride=2, padding=1), nn.Conv2d(1, 2, 2), nn.ReLU()),
    "concat": lambda: nn.Sequential(
        nn.Linear(2, 4), Concat(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), Same()), nn.Linear(7, 3)
    ),
    "concat-channels": lambda: embedded(Concat(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()), Same())),
    "normalise": lambda: nn.Sequential(Normalise(0.5, 0.25), mlp(2, 5, 3)),
    "leaky-relu": lambda: mlp(2, 6, 5, 3, act=lambda: nn.LeakyReLU(0.125)),
    "sigmoid": lambda: mlp(2, 5, 4, 3, act=nn.Sigmoid),
    "tanh": lambda: mlp(2, 5, 4, 3, act=nn.Tanh),
    "gelu": lambda: mlp(2, 5, 4, 3, act=nn.GELU),
    "mixed-activations": lambda: nn.Sequential(
        nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3)
    ),
}  # fmt: skip


def points(seed: int, count: int = 2, size: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, size, generator=generator, dtype=torch.float64)


def operator(name: str, seed: int) -> Case:
    """A network with the operator against another one, on a ball where some neurons switch."""
    build = OPERATORS[name]
    teacher, student = draw(build(), seed, 1.5), draw(build() if seed % 2 else mlp(2, 5, 3), seed + 100, 1.5)
    return Case(teacher, student, points(seed), Ball(0.15 if seed % 2 else 0.05))


def fixed(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    """A linear layer with the numbers given."""
    layer = draw(nn.Linear(len(weight[0]), len(weight)), 0)
    layer.weight.copy_(torch.tensor(weight))
    layer.bias.copy_(torch.tensor(bias))
    return layer


def saturated(top: float, student: str) -> Case:
    """Logits (t, 0, -3) with t in [-5, top]: where one framework's interval arithmetic is wrong."""
    teacher = fixed([[top + 5], [0.0], [0.0]], [-5.0, 0.0, -3.0])
    other = {
        "certain": fixed([[0.0], [0.0], [0.0]], [60.0, 0.0, 0.0]),
        "uniform": fixed([[0.0], [0.0], [0.0]], [0.0, 0.0, 0.0]),
        "opposite": fixed([[0.0], [-top - 5], [1.0]], [0.0, 5.0, -3.0]),
    }[student]
    return Case(teacher, other, torch.tensor([[0.5]], dtype=torch.float64), Ball(0.5))


def saturated_sides() -> Case:
    """Both at confidence 1 in one class over the whole ball: the truth is tiny and not 0."""
    one, other = (draw(mlp(2, 4, 3), seed, 1.0) for seed in (1, 2))
    for net, top in ((one, 50.0), (other, 45.0)):
        net[-1].bias.copy_(torch.tensor([top, 0.0, -400.0]))
    return Case(one, other, points(3), Ball(0.2))


def same(kind: str) -> Case:
    teacher = draw(mlp(2, 6, 6, 3), 11, 2.0)
    student = {
        "object": lambda: teacher,
        "copy": lambda: copy.deepcopy(teacher),
        "rounded": lambda: rounded(teacher, 64),
        "pruned": lambda: _pruned(teacher),
        "shifted": lambda: _shifted(teacher),
    }[kind]()
    return Case(teacher, student, points(12), Ball(0.2))


def _pruned(net: nn.Sequential) -> nn.Sequential:
    twin = copy.deepcopy(net)
    for part in twin:
        if isinstance(part, nn.Linear):
            part.weight[part.weight.abs() < 0.3] = 0.0
    return twin


def _shifted(net: nn.Sequential) -> nn.Sequential:
    """The same confidences from other logits: a constant added to all (0.5 is exact at this size)."""
    twin = copy.deepcopy(net)
    twin[-1].bias.copy_((net[-1].bias * 64).round() / 64 + 0.5)
    net[-1].bias.copy_((net[-1].bias * 64).round() / 64)
    return twin


def neurons(kind: str) -> Case:
    """First layers all dead, all on, one constant at 0, and kinks exactly at the point or at the ball's edge."""
    nets = [draw(mlp(2, 5, 4, 3), seed, 2.0) for seed in (21, 22)]
    x = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    for net in nets:
        first = net[0]
        if kind in ("dead", "on"):
            first.bias.fill_(-100.0 if kind == "dead" else 100.0)
        elif kind == "constant":
            first.weight[:2], first.bias[:2] = 0.0, 0.0
        else:
            first.weight.copy_((first.weight * 8).round() / 8)
            edge = 0.125 if kind == "kink-at-edge" else 0.0
            first.bias.copy_(-(first.weight @ x[0]) - edge * first.weight.abs().sum(1))
    return Case(*nets, x, Ball(0.125))


def classes(count: int) -> Case:
    hidden = 6 if count == 2 else 12
    teacher, student = draw(mlp(2, hidden, count), 31, 2.0), draw(mlp(2, 5, count), 32, 2.0)
    return Case(teacher, student, points(33), Ball(0.1), enclosed=count < 10)


def scaled(size: float, eps: float) -> Case:
    """Weights times `size` in every layer."""
    nets = [draw(mlp(2, 5, 4, 3), seed, size) for seed in (41, 42)]
    return Case(*nets, points(43), Ball(eps), enclosed=size * size * eps < 30)


def radius(eps: float) -> Case:
    nets = [draw(mlp(2, 6, 5, 3), seed, 1.5) for seed in (51, 52)]
    return Case(*nets, points(53), Ball(eps))


def one_pixel() -> Case:
    """An image of one pixel."""
    nets = [
        draw(
            nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3)), seed, 4.0
        )
        for seed in (61, 62)
    ]
    return Case(*nets, points(63, 3, 1).view(3, 1, 1, 1), Ball(0.3))


def cut(kind: str) -> Case:
    """Balls that the valid range cuts: at its corners, or as wide as the range, or with a range of its own."""
    nets = [draw(mlp(2, 6, 5, 3), seed, 1.5) for seed in (71, 72)]
    if kind == "corners":
        x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.96875, 1.0]], dtype=torch.float64)
        return Case(*nets, x, Ball(0.1))
    if kind == "whole":
        return Case(*nets, points(73), Ball(1.0))
    if kind == "negative":
        return Case(*nets, 4 * points(74) - 2, Ball(0.3, low=-2.0, high=2.0))
    return Case(*nets, 0.25 + 0.5 * points(75), Ball(0.3, low=0.25, high=0.75))


def three_inputs() -> Case:
    nets = [draw(mlp(3, 5, 4, 3), seed, 1.5) for seed in (81, 82)]
    return Case(*nets, points(83, 2, 3), Ball(0.1))


CASES: dict[str, Callable[[], Case]] = {
    **{f"{name}-{seed}": lambda n=name, s=seed: operator(n, s) for name in OPERATORS for seed in (1, 2)},
    **{
        f"saturated-{top:g}-{student}": lambda t=top, s=student: saturated(t, s)
        for top in (5.0, 30.0, 60.0, 500.0)
        for student in ("certain", "uniform", "opposite")
    },
    "saturated-both": saturated_sides,
    **{f"same-{kind}": lambda k=kind: same(k) for kind in ("object", "copy", "rounded", "pruned", "shifted")},
    **{
        f"neurons-{kind}": lambda k=kind: neurons(k)
        for kind in ("dead", "on", "constant", "kink-at-point", "kink-at-edge")
    },
    **{f"classes-{count}": lambda c=count: classes(c) for count in (2, 10, 200)},
    **{
        f"weights-{size:g}-{eps:g}": lambda s=size, e=eps: scaled(s, e)
        for size, eps in ((0.01, 0.3), (30.0, 0.01), (1e3, 0.01), (1e3, 1e-7), (1e8, 0.1), (1e-8, 0.5))
    },
    **{f"radius-{eps:g}": lambda e=eps: radius(e) for eps in (0.0, 1e-300, 1e-15, 1e-9, 1e-5, 0.3)},
    "one-pixel": one_pixel,
    **{f"cut-{kind}": lambda k=kind: cut(k) for kind in ("corners", "whole", "negative", "range")},
    "three-inputs": three_inputs,
}
