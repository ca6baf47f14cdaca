"""No bound is ever below what an attack, or exhaustive gridding, finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from understudy.attacks.ball import Ball
from understudy.bounds import PairBounds
from understudy.bounds.graph import Graph, Input, Node, Relu
from understudy.bounds.ops import Linear
from understudy.bounds.rounding import CLOSED_FORM

SLACK = 1e-9
NAMES = ("linear", "plain", "convolutional", "residual")


CASES = {
    "names": st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)),
    "seed": st.integers(0, 10**6),
    "size": st.sampled_from([0.3, 1.0, 3.0, 30.0]),
    "eps": st.sampled_from([1e-9, 1e-3, 0.01, 0.1, 0.5, 1.0]),
    "norm": st.sampled_from(["linf", "l2"]),
    "edge": st.booleans(),
}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(**CASES)
def test_random_networks(graphs, tools, names, seed, size, eps, norm, edge) -> None:
    check_pair(graphs, tools, names, seed, size, eps, norm, edge)


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(**CASES)
def test_many_random_networks(graphs, tools, names, seed, size, eps, norm, edge) -> None:
    check_pair(graphs, tools, names, seed, size, eps, norm, edge)


def check_pair(graphs, tools, names, seed, size, eps, norm, edge) -> None:
    """No attack on a random pair rises above its bounds, and no proof of agreement fails at a sample."""
    generator = torch.Generator().manual_seed(seed)
    nets = [tools.with_weights(graphs[name], generator, size) for name in names]
    x = torch.rand(2, *tools.shape, generator=generator, dtype=torch.float64)
    if edge:
        x[0] = x[0].round()  # the range cuts the ball on one side of every pixel
    ball = Ball(eps, norm=norm)
    found = {mode: PairBounds(*nets, tools.shape, mode=mode).bound(x, ball) for mode in ("ibp", "crown")}
    for i in range(2):
        reached = tools.attack(*nets, x[i], ball, generator, count=64)
        for mode, bounds in found.items():
            assert reached <= bounds[i].upper + SLACK, (mode, bounds[i].used)
            if bounds[i].same_class:
                points = tools.corners(x[i], ball, 400, generator)
                classes = torch.cat([net(points).argmax(1) for net in nets])
                assert (classes == classes[0]).all(), mode


def tiny(seed: int, size: float, hidden: int = 5, classes: int = 3) -> Graph:
    """One hidden layer on two inputs."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, classes)).double()
    weights = [
        torch.randn(p.shape, generator=generator, dtype=torch.float64) * size for p in net.parameters()
    ]
    template = Node(Linear(weights[0], weights[1]), (0,), (hidden,), "0")
    nodes = (
        Node(Input(), (), (2,), "input"),
        template,
        Node(Relu(), (1,), (hidden,), "1"),
        Node(Linear(weights[2], weights[3]), (2,), (classes,), "2"),
    )
    return Graph(nodes, torch.float64, torch.device("cpu"))


def grid(x: torch.Tensor, ball: Ball, count: int = 201) -> torch.Tensor:
    low, high = ball.box(x)
    axes = [torch.linspace(float(low[i]), float(high[i]), count, dtype=torch.float64) for i in range(2)]
    points = torch.cartesian_prod(*axes)
    return points if ball.norm == "linf" else ball.project(points, x[None].expand_as(points))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("size", [0.5, 2.0])
def test_against_dense_grids(norm: str, size: float, tools) -> None:
    """Two inputs, one hidden layer: the truth is known, the bound above it, and close on small balls."""
    generator = torch.Generator().manual_seed(0)
    excess = {0.01: [], 0.1: [], 0.5: []}
    for seed in range(8):
        nets = tiny(2 * seed, size), tiny(2 * seed + 1, size, hidden=3)
        pair = PairBounds(*nets, (2,))
        x = torch.rand(1, 2, generator=generator, dtype=torch.float64)
        for eps, seen in excess.items():
            ball = Ball(eps, norm=norm)
            truth = float(tools.gaps(*nets, grid(x[0], ball)).max())
            (found,) = pair.bound(x, ball)
            assert truth <= found.upper + SLACK
            seen.append(found.upper - truth)
    means = {eps: sum(seen) / len(seen) for eps, seen in excess.items()}
    assert means[0.01] < (1e-3 if size < 1 else 2e-2)


def test_linear_networks_have_exact_differences(tools) -> None:
    """For linear nets every e_jk is exact: with two classes the log-odds' difference is attained."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        weights = torch.randn(2, 2, 4, generator=generator, dtype=torch.float64)
        nets = []
        for weight in weights:
            layer = nn.Linear(4, 2, bias=False).double()
            with torch.no_grad():
                layer.weight.copy_(weight)
            nets.append(layer)
        x = torch.rand(1, 4, generator=generator, dtype=torch.float64)
        ball = Ball(0.2)
        corner = torch.cartesian_prod(*torch.stack([*(side[0] for side in ball.box(x))], 1).unbind(0))
        odds = [(net(corner) @ torch.tensor([1.0, -1.0]).double()).detach() for net in nets]
        shift = (odds[1] - odds[0]).abs().max()
        pair = PairBounds(*nets, (4,))
        (found,) = pair.bound(x, ball)
        assert found.upper <= float(torch.tanh(shift / 4)) + SLACK
        assert found.upper >= tools.attack(pair.teacher, pair.student, x[0], ball, generator) - SLACK


@pytest.mark.parametrize("bias", [-100.0, 100.0, 0.0])
def test_dead_and_always_on_neurons(bias: float, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(2)
    nets = [tools.with_weights(graphs["plain"], generator, 1.0) for _ in range(2)]
    for net in nets:
        first = next(node.op for node in net.nodes if isinstance(node.op, Linear))
        first.bias.fill_(bias)
        first.weight[0] = 0.0  # and one that is constant
    x = torch.rand(2, *tools.shape, generator=generator, dtype=torch.float64)
    for eps in (0.05, 0.5):
        for i, one in enumerate(PairBounds(*nets, tools.shape).bound(x, Ball(eps))):
            assert tools.attack(*nets, x[i], Ball(eps), generator) <= one.upper + SLACK
    if bias < 0:  # nothing passes: two constants
        constant = tools.gaps(*nets, x).max()
        assert one.upper == pytest.approx(float(constant), abs=1e-9)


@pytest.mark.parametrize("width", [20.0, 60.0, 500.0])
def test_wide_logit_boxes_end_to_end(width: float) -> None:
    """Logits (t, 0, -3), t from -5 to beyond 30, from a network: the small confidences keep their maxima."""
    teacher, student = nn.Linear(1, 3).double(), nn.Linear(1, 3).double()
    with torch.no_grad():
        teacher.weight.copy_(torch.tensor([[width], [0.0], [0.0]]))
        teacher.bias.copy_(torch.tensor([-5.0, 0.0, -3.0]))
        student.weight.zero_()
        student.bias.copy_(torch.tensor([60.0, 0.0, 0.0]))  # saturated: confidence 1 in class 0
    for mode in ("ibp", "crown"):
        (found,) = PairBounds(teacher, student, (1,), mode=mode).bound(torch.tensor([[0.5]]), Ball(0.5))
        clean = torch.tensor([-5.0, 0.0, -3.0]).double().softmax(0)
        assert found.upper >= float(1 - clean[0]) - SLACK
        assert found.upper >= 0.9465


def test_saturated_pairs() -> None:
    """Both networks at confidence 1 in one class on the whole ball: nothing but the closed forms' rounding is left."""
    nets = [nn.Linear(2, 3).double() for _ in range(2)]
    with torch.no_grad():
        for i, net in enumerate(nets):
            net.bias.copy_(torch.tensor([50.0 + 20 * i, 0.0, -400.0]))
    (found,) = PairBounds(*nets, (2,)).bound(torch.tensor([[0.5, 0.5]]), Ball(0.5))
    assert 0 <= found.upper < CLOSED_FORM + 1e-12
    assert found.same_class
