from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import mpmath
import pytest
import torch
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds.graph import Graph
from understudy.bounds.ops import Linear
from understudy.bounds.precise import logits_and_error
from understudy.bounds.trace import trace
from understudy.bounds.witness import difference_at, evaluate_lower, pull_inside

Row = list[mpmath.mpf]


def made(build: Callable[[], nn.Module], seed: int, scale: float = 1.0) -> nn.Module:
    torch.manual_seed(seed)
    module = build().double().eval().requires_grad_(False)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(scale)
    return module


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4))


def exact_mlp(module: nn.Module, x: Tensor) -> Row:
    """The logits at one input with 60 digits."""
    row = [mpmath.mpf(float(v)) for v in x]
    for layer in module.children():
        if isinstance(layer, nn.ReLU):
            row = [max(v, mpmath.mpf(0)) for v in row]
            continue
        assert isinstance(layer, nn.Linear)
        row = [
            mpmath.fsum(mpmath.mpf(float(w)) * v for w, v in zip(weights, row, strict=True))
            + mpmath.mpf(float(bias))
            for weights, bias in zip(layer.weight, layer.bias, strict=True)
        ]
    return row


def exact_gap(teacher: nn.Module, student: nn.Module, x: Tensor) -> mpmath.mpf:
    said = []
    for module in (teacher, student):
        logits = exact_mlp(module, x)
        powers = [mpmath.exp(v) for v in logits]
        said.append([v / mpmath.fsum(powers) for v in powers])
    return max(abs(t - s) for t, s in zip(*said, strict=True))


def graph(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    return trace(module, shape, torch.float64, None)


@cache
def traced_mlp() -> Graph:
    return graph(made(mlp, 0), (5,))


def mlp_graph(module: nn.Module) -> Graph:
    """The graph of an `mlp`, traced once: its weights are put into a copy."""
    layers = iter([layer for layer in module.children() if isinstance(layer, nn.Linear)])
    nodes = []
    for node in traced_mlp().nodes:
        if isinstance(node.op, Linear):
            layer = next(layers)
            node = replace(node, op=replace(node.op, weight=layer.weight.data, bias=layer.bias.data))
        nodes.append(node)
    return replace(traced_mlp(), nodes=tuple(nodes))


@pytest.mark.parametrize("scale", [1.0, 6.0, 40.0])
def test_the_difference_lies_between_both_ends(scale: float) -> None:
    teacher, student = made(mlp, 0, scale), made(mlp, 1, scale)
    torch.manual_seed(2)
    points = torch.rand(12, 5, dtype=torch.float64)
    graphs = mlp_graph(teacher), mlp_graph(student)
    torch.testing.assert_close(graphs[1](points), student(points))
    low, high = difference_at(*graphs, points)
    with mpmath.workdps(60):
        for row, point in enumerate(points):
            gap = exact_gap(teacher, student, point)
            assert mpmath.mpf(float(low[row])) <= gap <= mpmath.mpf(float(high[row]))
    assert (high - low).max() < 1e-12
    assert torch.equal(evaluate_lower(*graphs, points), low)


@pytest.mark.parametrize("precise", [False, True])
def test_logits_lie_within_their_error(precise: bool) -> None:
    module = made(mlp, 3, 5.0)
    points = 1e3 * torch.randn(6, 5, dtype=torch.float64)
    logits, error = logits_and_error(mlp_graph(module), points, precise=precise)
    with mpmath.workdps(60):
        for row, point in enumerate(points):
            for value, wrong, truth in zip(logits[row], error[row], exact_mlp(module, point), strict=True):
                assert abs(mpmath.mpf(float(value)) - truth) <= mpmath.mpf(float(wrong))
    assert (error > 0).all()


def deep() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(14):
        layers += [nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def test_deep_networks_need_more_digits_and_get_them() -> None:
    teacher, student = made(deep, 0), made(deep, 1)
    for module in (teacher, student):
        with torch.no_grad():
            for _ in range(30):
                module.train()(torch.rand(64, 4, 6, 6, dtype=torch.float64))
        module.eval()
    points = torch.rand(3, 4, 6, 6, dtype=torch.float64)
    graphs = [graph(module, (4, 6, 6)) for module in (teacher, student)]
    plain = max(float(logits_and_error(g, points)[1].max()) for g in graphs)
    precise = max(float(logits_and_error(g, points, precise=True)[1].max()) for g in graphs)
    assert plain > 1e-9
    assert precise < 1e-11
    low, high = difference_at(*graphs, points)
    with torch.no_grad():
        gap = (teacher(points).softmax(1) - student(points).softmax(1)).abs().amax(1)
    assert (low <= gap + 1e-12).all()
    assert (high >= gap - 1e-12).all()
    assert (high - low).max() < 1e-11


def test_a_graph_against_itself_differs_by_nothing_and_overflow_proves_nothing() -> None:
    one, other = mlp_graph(made(mlp, 0)), mlp_graph(made(mlp, 1))
    points = torch.rand(2, 5, dtype=torch.float64)
    assert [float(end.max()) for end in difference_at(one, one, points)] == [0.0, 0.0]
    low, high = difference_at(one, other, 1e308 * points)
    assert low.tolist() == [0.0, 0.0]
    assert high.tolist() == [1.0, 1.0]
    assert evaluate_lower(one, other, points[:0]).shape == (0,)


@pytest.mark.parametrize("eps", [0.1, 0.03, 1 / 255])
def test_what_is_pulled_inside_lies_in_the_ball_in_real_arithmetic(eps: float) -> None:
    torch.manual_seed(0)
    center = torch.rand(40, 7)
    center[:5] = 0.0
    corners = center.double() + eps * torch.randn(40, 7, dtype=torch.float64).sign()
    with mpmath.workdps(60):
        for norm in ("linf", "l2"):
            ball = Ball(eps, norm, 0.0, 1.0)  # type: ignore[arg-type]
            inside = pull_inside(corners, center, ball)
            assert inside.min() >= 0
            assert inside.max() <= 1
            for point, middle in zip(inside, center, strict=True):
                moved = [
                    mpmath.mpf(float(a)) - mpmath.mpf(float(b)) for a, b in zip(point, middle, strict=True)
                ]
                far = max(map(abs, moved)) if norm == "linf" else mpmath.norm(moved)
                assert far <= mpmath.mpf(eps)
            if norm == "linf":
                assert (inside - corners.clamp(0, 1)).abs().max() <= 4e-16
    still = pull_inside(corners, center, Ball(0.0, "linf", -math.inf, math.inf))
    assert torch.equal(still, center.double())


def test_a_scalar_scale_is_computed_with_more_digits() -> None:
    """One factor for all inputs, a tensor without axes in the graph."""

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0.3

    points = torch.rand(4, 3, dtype=torch.float64)
    factor = mpmath.mpf(1.0 / torch.tensor(0.3, dtype=torch.float64).item())
    for precise in (False, True):
        logits, error = logits_and_error(graph(Scaled(), (3,)), points, precise=precise)
        with mpmath.workdps(60):
            for value, wrong, x in zip(logits.flatten(), error.flatten(), points.flatten(), strict=True):
                assert abs(mpmath.mpf(float(value)) - factor * mpmath.mpf(float(x))) <= mpmath.mpf(
                    float(wrong)
                )
