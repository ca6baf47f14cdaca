"""Intervals and linear bounds of every node hold at random points, corners and the bounds' own maximisers."""

from __future__ import annotations

import pytest
import torch

from understudy.attacks.ball import Ball
from understudy.bounds import crown
from understudy.bounds.crown import backward, crown_pass, difference_rows
from understudy.bounds.graph import Graph, evaluate
from understudy.bounds.interval import interval_bounds, interval_margins
from understudy.bounds.ops import identity_rows, size
from understudy.bounds.region import region
from understudy.bounds.unit import unit_rows

BALLS = [Ball(0.02), Ball(0.2), Ball(1.0), Ball(0.3, norm="l2"), Ball(0.5, low=-torch.inf, high=torch.inf)]


def every_value(graph: Graph, x: torch.Tensor) -> list[torch.Tensor]:
    values = [x]
    for node in graph.nodes[1:]:
        values.append(evaluate(node.op, [values[i] for i in node.parents]))
    return values


@pytest.mark.parametrize("name", ["linear", "plain", "convolutional", "residual"])
@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_intervals_hold_everywhere(name: str, ball: Ball, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(5)
    for trial in range(4):
        graph = tools.with_weights(graphs[name], generator, 2.0)
        x = torch.rand(3, *tools.shape, generator=generator, dtype=torch.float64)
        if trial == 0:
            x = x.round()  # the ball is cut on one side of every coordinate
        here = region(x, ball)
        loose, tight = interval_bounds(graph, here), crown_pass(graph, here)
        samples = torch.stack([tools.corners(one, ball, 400, generator) for one in x], 1)
        values = every_value(graph, samples.flatten(0, 1))
        for position, value in enumerate(values):
            seen = value.unflatten(0, samples.shape[:2])
            for low, high in (loose[position], tight.bounds[position]):
                # rounding is counted in the bounds: no tolerance
                assert (seen >= low).all(), (name, position)
                assert (seen <= high).all(), (name, position)
            # CROWN is met with interval arithmetic, so it is never looser
            assert (tight.bounds[position][1] <= loose[position][1] + 1e-10).all()
        margins = interval_margins(graph, loose)
        logits = values[-1].unflatten(0, samples.shape[:2])
        assert (logits[..., :, None] - logits[..., None, :] <= margins).all()


@pytest.mark.parametrize("name", ["plain", "convolutional", "residual"])
def test_lines_hold_everywhere(name: str, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(6)
    ball = Ball(0.3)
    for _ in range(4):
        graph = tools.with_weights(graphs[name], generator, 2.0)
        x = torch.rand(2, *tools.shape, generator=generator, dtype=torch.float64)
        here = region(x, ball)
        done = crown_pass(graph, here)
        objectives = torch.randn(2, 5, tools.classes, generator=generator, dtype=torch.float64)
        lines, constant = backward(graph, done.relaxations, len(graph.nodes) - 1, objectives, done.sizes)
        top = here.maximum(lines, constant)
        samples = torch.stack([tools.corners(one, ball, 300, generator) for one in x], 1)
        # the bound's own maximiser is the corner where a wrong line would show first
        best = here.middle[:, None] + here.radius[:, None] * lines.flatten(2).sign()
        extra = best.transpose(0, 1).unflatten(2, tools.shape)
        for points in (samples, extra):
            logits = graph(points.flatten(0, 1)).unflatten(0, points.shape[:2])
            truth = torch.einsum("nbc,brc->nbr", logits, objectives)
            bound = torch.einsum("nbi,bri->nbr", points.flatten(2), lines.flatten(2)) + constant
            assert (truth <= bound + 1e-10).all()
            assert (truth <= top).all()


def test_linear_networks_are_exact(graphs, tools) -> None:
    generator = torch.Generator().manual_seed(7)
    graph = tools.with_weights(graphs["linear"], generator, 1.0)
    x = torch.rand(3, *tools.shape, generator=generator, dtype=torch.float64)
    ball = Ball(0.1)
    here = region(x, ball)
    rows = difference_rows(torch.tensor([0, 1]), torch.tensor([2, 0]), 3, torch.float64)
    done = crown_pass(graph, here)
    lines, constant = backward(graph, {}, len(graph.nodes) - 1, rows, done.sizes)
    top = here.maximum(lines, constant)
    low, high = ball.box(x)
    for row, (j, k) in enumerate([(0, 2), (1, 0)]):
        weight = graph.nodes[-1].op.weight
        corner = torch.where((weight[j] - weight[k]).view(tools.shape) > 0, high, low)
        logits = graph(corner)
        truth = logits[:, j] - logits[:, k]
        assert (truth <= top[:, row]).all()  # rounding is counted: never below
        torch.testing.assert_close(top[:, row], truth, rtol=0, atol=1e-12)


def test_stable_neurons_are_exact(graphs, tools) -> None:
    """On a ball so small that no ReLU switches, lines meet the network itself."""
    generator = torch.Generator().manual_seed(8)
    for name in ("plain", "convolutional", "residual"):
        graph = tools.with_weights(graphs[name], generator, 2.0)
        x = torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64) * 0.8 + 0.1
        here = region(x, Ball(1e-7))
        done = crown_pass(graph, here)
        rows = torch.eye(3).double()[None]
        lines, constant = backward(graph, done.relaxations, len(graph.nodes) - 1, rows, done.sizes)
        found = (lines * x[:, None]).flatten(2).sum(2) + constant
        assert (found >= graph(x)).all()
        torch.testing.assert_close(found, graph(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["plain", "convolutional", "residual"])
def test_row_chunks_change_nothing(name: str, graphs, tools, monkeypatch) -> None:
    graph = tools.with_weights(graphs[name], torch.Generator().manual_seed(9), 2.0)
    here = region(torch.full((3, *tools.shape), 0.5, dtype=torch.float64), Ball(0.4))
    whole = crown_pass(graph, here)
    monkeypatch.setattr(crown, "ROWS_BUDGET", 1)
    for one, other in zip(whole.bounds, crown_pass(graph, here).bounds, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_deadline_leaves_sound_intervals(graphs, tools) -> None:
    graph = tools.with_weights(graphs["plain"], torch.Generator().manual_seed(9), 2.0)
    here = region(torch.full((1, *tools.shape), 0.5, dtype=torch.float64), Ball(0.4))
    late = crown_pass(graph, here, deadline=0.0)
    assert not late.complete
    assert crown_pass(graph, here).complete
    for one, other in zip(late.bounds, interval_bounds(graph, here), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["linear", "plain", "convolutional", "residual"])
def test_unit_rows_pick_entries(name: str, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(10)
    graph = tools.with_weights(graphs[name], generator, 1.0)
    x = torch.rand(2, *tools.shape, generator=generator, dtype=torch.float64)
    values = every_value(graph, x)
    for position, node in enumerate(graph.nodes):
        index = torch.randperm(size(node.shape), generator=generator)[:5]
        start, rows, constant = unit_rows(graph, position, index)
        found = values[start].flatten(1) @ rows.flatten(1).T + constant
        torch.testing.assert_close(found, values[position].flatten(1)[:, index], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "plain", "convolutional", "residual"])
def test_adjoints(name: str, graphs) -> None:
    """<M x, y> = <x, M^T y>, and |M| r is what the absolute coefficients give."""
    graph = graphs[name]
    generator = torch.Generator().manual_seed(11)
    for node in graph.nodes[1:]:
        if not hasattr(node.op, "adjoint"):
            continue
        before = graph.nodes[node.parents[0]].shape
        x = torch.randn(3, *before, generator=generator, dtype=torch.float64)
        y = torch.randn(3, *node.shape, generator=generator, dtype=torch.float64)
        left = (node.op.linear(x) * y).flatten(1).sum(1)
        right = (x * node.op.adjoint(y)).flatten(1).sum(1)
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
        matrix = node.op.adjoint(identity_rows(torch.arange(size(node.shape)), node.shape, torch.float64))
        spread = node.op.spread(x.abs()).flatten(1)
        torch.testing.assert_close(spread, x.abs().flatten(1) @ matrix.flatten(1).abs().T)
