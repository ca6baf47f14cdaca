"""The modes of `PairBounds` that search: alpha and exact."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds import PairBounds
from understudy.bounds.checker.verify import prove
from understudy.bounds.engine import PairBound, Step
from understudy.bounds.graph import Graph
from understudy.bounds.trace import trace
from understudy.errors import InputError

PAIRS = [
    ("plain", "plain"),
    ("convolutional", "plain"),
    ("residual", "convolutional"),
    ("linear", "residual"),
]


class Ticks:
    """A clock that moves on by a second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def drawn(graphs, tools, names: tuple[str, str], seed: int, size: float = 1.5) -> list[Graph]:
    generator = torch.Generator().manual_seed(seed)
    return [tools.with_weights(graphs[name], generator, size) for name in names]


def inputs(tools, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *tools.shape, generator=generator, dtype=torch.float64)


def check_found(nets: list[Graph], x: Tensor, ball: Ball, found: PairBound, tolerance: float = 1e-4) -> None:
    """What every result of a search must be, whatever its status."""
    assert found.lower is not None
    assert found.witness is not None
    assert 0 <= found.lower <= found.upper <= 1
    assert found.witness.shape == x.shape
    moved = (found.witness - x).flatten()
    far = moved.abs().max() if ball.norm == "linf" else moved.norm()
    assert far <= ball.eps * (1 + 1e-12)
    assert found.witness.min() >= ball.low
    assert found.witness.max() <= ball.high
    reached = max(abs(float(p)) for p in gap(nets, found.witness))
    assert found.lower == pytest.approx(reached, abs=1e-9)
    assert (found.status == "exact") == (found.upper - found.lower <= tolerance)
    check_history(found)


def check_history(found: PairBound) -> None:
    assert found.history
    for one, other in itertools.pairwise(found.history):
        assert one[0] <= other[0]
        assert one[1] <= other[1]
        assert one[2] >= other[2]
        assert one[3] <= other[3]
    _, lower, upper, nodes = found.history[-1]
    assert lower == pytest.approx(found.lower, abs=1e-9)
    assert upper == pytest.approx(found.upper, abs=1e-6)
    assert nodes == found.nodes > 0


def gap(nets: list[Graph], x: Tensor) -> Tensor:
    return (nets[0](x[None]).softmax(1) - nets[1](x[None]).softmax(1))[0]


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
@pytest.mark.parametrize(
    ("ball", "tolerance"), [(Ball(0.02), 1e-4), (Ball(0.05, norm="l2"), 1e-3)], ids=["linf", "l2"]
)
def test_exact_closes_and_encloses_what_attacks_find(
    names, ball: Ball, tolerance: float, graphs, tools
) -> None:
    nets, x = drawn(graphs, tools, names, 21), inputs(tools, 2, 22)
    generator = torch.Generator().manual_seed(23)
    fast = PairBounds(*nets, tools.shape).bound(x, ball)
    alpha = PairBounds(*nets, tools.shape, mode="alpha").bound(x, ball, tolerance=tolerance)
    search = PairBounds(*nets, tools.shape, mode="exact", clock=Ticks())
    exact = search.bound(x, ball, tolerance=tolerance, time_limit=60.0)
    for i, (crown, rough, fine) in enumerate(zip(fast, alpha, exact, strict=True)):
        for found in (rough, fine):
            check_found(nets, x[i], ball, found, tolerance)
            assert tools.attack(*nets, x[i], ball, generator) <= found.upper
            assert found.used == "search"
            assert found.same_class >= crown.same_class
        assert fine.upper <= rough.upper + 1e-9 <= crown.upper + 2e-9
        assert fine.status == "exact"
        assert rough.status in ("exact", "bounded")


def test_monotone_pairs_have_their_answer_at_a_corner() -> None:
    """Teacher (x1 - x2) / 2, student x1 - x2, two classes: D is one-dimensional, found by a fine grid."""
    nets = []
    for size in (0.5, 1.0):
        net = nn.Linear(2, 2)
        with torch.no_grad():
            net.weight.copy_(torch.tensor([[size, -size], [0.0, 0.0]]))
            net.bias.zero_()
        nets.append(net)
    x, ball = torch.tensor([[0.7, 0.1]], dtype=torch.float64), Ball(0.2)
    (found,) = PairBounds(*nets, (2,), mode="exact").bound(x, ball, tolerance=1e-7)
    grid = torch.linspace(0.2, 0.9, 200_001, dtype=torch.float64)  # x2 cannot go below 0
    truth = float((grid.sigmoid() - (grid / 2).sigmoid()).max())
    assert found.status == "exact"
    assert found.lower is not None
    assert truth - 1e-9 <= found.upper <= truth + 1e-7
    assert found.lower <= truth + 1e-9


def test_a_network_against_itself(graphs, tools) -> None:
    net = drawn(graphs, tools, ("plain", "plain"), 24)[0]
    for mode in ("alpha", "exact"):
        for one in PairBounds(net, net, tools.shape, mode=mode).bound(inputs(tools, 2, 25), Ball(0.1)):
            assert (one.status, one.lower) == ("exact", 0.0)
            assert one.upper <= 1e-4


def test_the_search_takes_what_an_attack_found(graphs, tools) -> None:
    nets, x, ball = drawn(graphs, tools, ("plain", "residual"), 26, 1.5), inputs(tools, 1, 27), Ball(0.03)
    pair = PairBounds(*nets, tools.shape, mode="exact", clock=Ticks())
    (alone,) = pair.bound(x, ball, time_limit=60.0)
    assert alone.lower is not None
    assert alone.witness is not None
    known = torch.tensor([alone.lower], dtype=torch.float64)
    (again,) = pair.bound(x, ball, lower=known, witness=alone.witness[None], time_limit=60.0)
    assert again.lower is not None
    assert again.lower >= alone.lower
    assert again.history[0][1] >= alone.lower - 1e-12
    check_found(nets, x[0], ball, again)
    # another tolerance: it stops where that is met
    (wide,) = pair.bound(x, ball, tolerance=0.05, time_limit=60.0)
    check_found(nets, x[0], ball, wide, 0.05)
    assert wide.status == "exact"
    assert wide.nodes <= alone.nodes


def hard(graphs, tools) -> list[Graph]:
    """A pair that no few steps close, least of all with tolerance 0."""
    return drawn(graphs, tools, ("plain", "residual"), 28, 2.0)


def test_watchers_are_told_point_by_point(graphs, tools) -> None:
    nets, x, steps = hard(graphs, tools), inputs(tools, 2, 29), list[Step]()
    pair = PairBounds(*nets, tools.shape, mode="exact", clock=Ticks())
    found = pair.bound(x, Ball(0.3), tolerance=0.0, time_limit=5.0, watch=steps.append)
    assert [step.point for step in steps] == sorted(step.point for step in steps)
    assert {step.points for step in steps} == {2}
    for number, one in enumerate(found):
        mine = [step for step in steps if step.point == number]
        assert len(mine) > 2
        assert [step.done for step in mine] == [False] * (len(mine) - 1) + [True]
        for before, after in itertools.pairwise(mine):
            assert before.lower <= after.lower <= after.upper <= before.upper
            assert before.nodes <= after.nodes
            assert before.seconds <= after.seconds
        assert mine[-1].upper == one.upper
        assert mine[-1].nodes == one.nodes
        assert any(step.open > 0 for step in mine)
        check_history(one)


def test_the_time_limit_is_the_clocks(graphs, tools) -> None:
    nets, x, ball = hard(graphs, tools), inputs(tools, 2, 30), Ball(0.3)
    nodes = []
    for limit in (3.0, 6.0):
        clock = Ticks()
        pair = PairBounds(*nets, tools.shape, mode="exact", clock=clock)
        found = pair.bound(x, ball, tolerance=0.0, time_limit=limit)
        assert clock.now <= 2 * (limit + 4)
        for i, one in enumerate(found):
            assert one.status == "timeout"
            check_found(nets, x[i], ball, one, 0.0)
            assert limit <= one.seconds <= limit + 4
        nodes.append(sum(one.nodes for one in found))
        generator = torch.Generator().manual_seed(31)
        for i, one in enumerate(found):
            assert tools.attack(*nets, x[i], ball, generator) <= one.upper
    assert nodes[0] < nodes[1]


@pytest.mark.parametrize("mode", ["alpha", "exact"])
@pytest.mark.parametrize("names", PAIRS[:3], ids="-".join)
def test_certificates_are_accepted_by_the_checker(names, mode: str, graphs, tools) -> None:
    nets, x, ball = drawn(graphs, tools, names, 32), inputs(tools, 1, 33), Ball(0.05)
    pair = PairBounds(*nets, tools.shape, mode=mode, clock=Ticks())
    (found,) = pair.bound(x, ball, certify=True, time_limit=40.0)
    check_found(nets, x[0], ball, found)
    assert found.certificate is not None
    assert found.certificate.status == found.status
    assert found.certificate.upper <= found.upper
    assert np.array_equal(found.certificate.input, x[0].numpy())
    assert prove(found.certificate.arrays()).bound <= found.certificate.upper


def test_a_certificate_of_a_search_that_ran_out_of_time(graphs, tools) -> None:
    nets, x = hard(graphs, tools), inputs(tools, 1, 34)
    pair = PairBounds(*nets, tools.shape, mode="exact", clock=Ticks())
    (found,) = pair.bound(x, Ball(0.3), tolerance=0.0, certify=True, time_limit=6.0)
    assert found.status == "timeout"
    assert found.certificate is not None
    assert prove(found.certificate.arrays()).bound <= found.certificate.upper <= found.upper


def test_two_classes_and_no_hidden_layer() -> None:
    torch.manual_seed(35)
    nets = [
        trace(net, (4,))
        for net in (nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    ]
    x, ball = torch.rand(2, 4, dtype=torch.float64), Ball(0.2)
    pair = PairBounds(*nets, (4,), mode="exact", clock=Ticks())
    found = pair.bound(x, ball, certify=True, time_limit=60.0)
    for i, one in enumerate(found):
        check_found(nets, x[i], ball, one)
        assert one.status == "exact"
        assert one.certificate is not None
        assert prove(one.certificate.arrays()).bound <= one.upper


@pytest.mark.parametrize("mode", ["alpha", "exact"])
def test_zero_radius_and_empty_batches(mode: str, graphs, tools) -> None:
    nets, x = drawn(graphs, tools, ("plain", "plain"), 36), inputs(tools, 2, 37)
    pair = PairBounds(*nets, tools.shape, mode=mode)
    assert pair.bound(x[:0], Ball(0.1)) == []
    for i, one in enumerate(pair.bound(x, Ball(0.0))):
        assert (one.status, one.used) == ("exact", "clean")
        assert one.upper == pytest.approx(float(gap(nets, x[i]).abs().max()), abs=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
@pytest.mark.parametrize("mode", ["alpha", "exact"])
@pytest.mark.parametrize("layer", [0, -1])
def test_broken_weights_prove_nothing(value: float, mode: str, layer: int, graphs, tools) -> None:
    nets, x = drawn(graphs, tools, ("plain", "plain"), 38), inputs(tools, 1, 39)
    [node.op for node in nets[1].nodes if hasattr(node.op, "weight")][layer].weight.fill_(value)
    (found,) = PairBounds(*nets, tools.shape, mode=mode, clock=Ticks()).bound(x, Ball(0.05), time_limit=3.0)
    assert found.upper == 1.0
    assert not found.same_class
    assert found.status != "exact"


def test_bad_input(graphs, tools) -> None:
    nets, x = drawn(graphs, tools, ("plain", "plain"), 40), inputs(tools, 2, 41)
    pair = PairBounds(*nets, tools.shape, mode="exact")
    cases: list[tuple[Callable[[], object], str]] = [
        (
            lambda: pair.bound(x, Ball(0.1), witness=x[:1]),
            r"witnesses must have.*\(2, 1, 4, 4\).*\(1, 1, 4, 4\)",
        ),
        (lambda: pair.bound(x, Ball(0.1), lower=torch.zeros(3)), r"2, found \(3,\)"),
        (lambda: pair.bound(x, Ball(0.1), time_limit=math.nan), "time limit.*nan"),
        (lambda: pair.bound(x + 1, Ball(0.1)), "outside the valid range"),
    ]
    for call, words in cases:
        with pytest.raises(InputError, match=words):
            call()
