"""Small networks for the bounds' tests, traced once; their weights are drawn anew for every example."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds.graph import Graph, Node
from understudy.bounds.ops import Conv2d, Linear, Scale
from understudy.bounds.trace import trace

SHAPE = (1, 4, 4)
CLASSES = 3


class Residual(nn.Module):
    """Normalisation inside, batch norm, a residual block, concatenation, both poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.block = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(12, CLASSES)
        self.register_buffer("mean", torch.tensor([0.4]).view(1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.stem((x - self.mean) / 0.3)))
        y = F.relu(y + self.block(y))
        pooled = F.avg_pool2d(y, 3, stride=2, padding=1, count_include_pad=False)
        joined = torch.cat([pooled[:, :2].flatten(1), y.mean(dim=(2, 3))], 1)
        return self.head(joined)


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, CLASSES)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 2, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 2, dilation=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(4, CLASSES),
    )  # fmt: skip


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)),
    "plain": plain,
    "convolutional": convolutional,
    "residual": Residual,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors of a few numbers are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def graphs() -> dict[str, Graph]:
    """Every architecture, traced."""
    return {name: trace(build(), SHAPE) for name, build in ARCHITECTURES.items()}


def with_weights(graph: Graph, generator: torch.Generator, size: float) -> Graph:
    """The same operations with new normal weights times `size` (over the square root of the fan-in)."""
    nodes: list[Node] = []
    for node in graph.nodes:
        op = copy.copy(node.op)
        if isinstance(op, Linear | Conv2d):
            fan = op.weight[0].numel()
            weight = torch.randn(op.weight.shape, generator=generator, dtype=graph.dtype) * size / fan**0.5
            object.__setattr__(op, "weight", weight)
            if op.bias is not None:
                bias = torch.randn(op.bias.shape, generator=generator, dtype=graph.dtype) * 0.3
                object.__setattr__(op, "bias", bias)
        elif isinstance(op, Scale) and op.scale.numel() > 1:
            scale = torch.randn(op.scale.shape, generator=generator, dtype=graph.dtype)
            object.__setattr__(op, "scale", scale)
        nodes.append(Node(op, node.parents, node.shape, node.where))
    return Graph(tuple(nodes), graph.dtype, graph.device)


def corners(x: Tensor, ball: Ball, count: int, generator: torch.Generator) -> Tensor:
    """Points of the ball around x (n,): random ones, random corners of its box, x itself; (count, n)."""
    low, high = ball.box(x)
    uniform = torch.rand(count, *x.shape, generator=generator, dtype=x.dtype)
    picked = torch.where(torch.arange(count).view(-1, *[1] * x.dim()) % 2 == 0, uniform, uniform.round())
    points = low + picked * (high - low)
    points[0] = x
    return points if ball.norm == "linf" else ball.project(points, x[None].expand_as(points))


def gaps(teacher: Graph, student: Graph, points: Tensor) -> Tensor:
    """|p_t - p_s|, class by class."""
    return (teacher(points).softmax(1) - student(points).softmax(1)).abs()


def attack(
    teacher: Graph, student: Graph, x: Tensor, ball: Ball, generator: torch.Generator, count: int = 256
) -> float:
    """The largest gap found in the ball around one point: random points and corners, then signed gradients."""
    points = corners(x, ball, count, generator)
    best = float(gaps(teacher, student, points).max())
    for step in (0.5, 0.3, 0.1, 0.05):
        points = points.detach().requires_grad_()
        found = gaps(teacher, student, points).amax(1)
        (gradient,) = torch.autograd.grad(found.sum(), points)
        center = x[None].expand_as(points)
        points = ball.project(ball.step(points.detach(), gradient, step * ball.eps), center)
        best = max(best, float(gaps(teacher, student, points).max()))
    return best


class Tools:
    """The helpers above, for tests (which cannot import this file)."""

    shape, classes, architectures = SHAPE, CLASSES, ARCHITECTURES
    with_weights = staticmethod(with_weights)
    corners = staticmethod(corners)
    gaps = staticmethod(gaps)
    attack = staticmethod(attack)


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    return Tools
