"""`PairBounds`: statuses, bad input, invariances, exact cases."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from understudy.attacks.ball import Ball
from understudy.bounds import PairBounds, crown
from understudy.bounds import pair as pair_module
from understudy.bounds.rounding import CLOSED_FORM
from understudy.errors import InputError

POINTS = torch.tensor([[0.6, 0.4], [0.5, 0.45]], dtype=torch.float64)


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Module:
    layer = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias or [0.0] * len(weight)))
    return layer


EYE = [[1.0, 0.0], [0.0, 1.0]]
TWICE = [[2.0, 0.0], [0.0, 2.0]]


def uppers(pair: PairBounds, points: torch.Tensor, ball: Ball) -> list[float]:
    return [one.upper for one in pair.bound(points, ball)]


@pytest.fixture(scope="module")
def pair() -> PairBounds:
    return PairBounds(linear(EYE), linear(TWICE), (2,))


def test_the_worked_two_class_example(pair: PairBounds) -> None:
    """UB1 .189974, UB2 at most .099668, D .091287: the smallest of the three is between D and UB2."""
    (found,) = pair.bound(POINTS[:1], Ball(0.1))
    assert 0.091287 <= found.upper <= 0.099668
    (alone,) = PairBounds(linear(EYE), linear(TWICE), (2,), mode="ibp").bound(POINTS[:1], Ball(0.1))
    assert alone.upper == pytest.approx(0.189974, abs=1e-6)
    assert alone.used == "ibp"


def test_zero_radius_is_the_clean_gap(pair: PairBounds) -> None:
    first, second = pair.bound(POINTS, Ball(0.0))
    assert first.upper == pytest.approx(0.048854, abs=1e-6)
    assert second.upper == pytest.approx(1 / (1 + math.exp(-0.1)) - 1 / (1 + math.exp(-0.05)), abs=1e-12)
    assert (first.status, first.used, first.same_class) == ("exact", "clean", True)
    (ibp,) = PairBounds(pair.teacher, pair.student, (2,), mode="ibp").bound(POINTS[:1], Ball(0.0))
    assert ibp.upper == first.upper


def test_status_and_agreement(pair: PairBounds) -> None:
    found = pair.bound(POINTS, Ball(0.01))
    assert [one.status for one in found] == ["bounded", "bounded"]
    assert all(one.seconds > 0 for one in found)
    assert [one.same_class for one in found] == [True, True]
    lower = torch.tensor([found[0].upper - 5e-5, 0.0])
    assert [one.status for one in pair.bound(POINTS, Ball(0.01), lower=lower)] == ["exact", "bounded"]
    wider = pair.bound(POINTS, Ball(0.01), lower=torch.zeros(2), tolerance=1.0)
    assert [one.status for one in wider] == ["exact", "exact"]
    # within .03 the second point's classes can change places
    assert [one.same_class for one in pair.bound(POINTS, Ball(0.03))] == [True, False]


def test_disagreement_is_never_proved_away() -> None:
    other = PairBounds(linear(EYE), linear([[0.0, 1.0], [1.0, 0.0]]), (2,))
    assert not any(one.same_class for eps in (0.0, 0.01) for one in other.bound(POINTS, Ball(eps)))


def test_mode_none_skips() -> None:
    (found,) = PairBounds(linear(EYE), linear(TWICE), (2,), mode="none").bound(POINTS[:1], Ball(0.1))
    assert (found.upper, found.status, found.same_class) == (1.0, "skipped", False)


def test_a_time_limit_that_is_over_at_once(graphs, tools) -> None:
    generator = torch.Generator().manual_seed(0)
    nets = [tools.with_weights(graphs["plain"], generator, 1.0) for _ in range(2)]
    pair = PairBounds(*nets, tools.shape)
    x, ball = torch.full((2, *tools.shape), 0.5, dtype=torch.float64), Ball(0.1)
    late = pair.bound(x, ball, time_limit=1e-9)
    assert [one.status for one in late] == ["timeout", "timeout"]
    assert [one.status for one in pair.bound(x, ball, time_limit=600.0)] == ["bounded", "bounded"]
    for i, one in enumerate(late):
        assert tools.attack(*nets, x[i], ball, generator) <= one.upper <= 1


def test_a_constant_added_to_all_logits_changes_nothing(graphs, tools) -> None:
    generator = torch.Generator().manual_seed(1)
    nets = [tools.with_weights(graphs["plain"], generator, 1.5) for _ in range(2)]
    moved = copy.deepcopy(nets[1])
    object.__setattr__(moved.nodes[-1].op, "bias", moved.nodes[-1].op.bias + 300.0)
    x = torch.rand(3, *tools.shape, generator=generator, dtype=torch.float64)
    for mode in ("ibp", "crown"):
        one = uppers(PairBounds(*nets, tools.shape, mode=mode), x, Ball(0.05))
        other = uppers(PairBounds(nets[0], moved, tools.shape, mode=mode), x, Ball(0.05))
        assert one == pytest.approx(other, abs=1e-9)


def test_equal_networks(graphs, tools) -> None:
    """Zero while no ReLU switches, small but not zero after: the resolution of the bounds."""
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(3, *tools.shape, generator=generator, dtype=torch.float64)
    for name in ("linear", "plain", "convolutional", "residual"):
        net = tools.with_weights(graphs[name], generator, 1.5)
        pair = PairBounds(net, net, tools.shape)
        assert pair.student is pair.teacher
        small = pair.bound(x, Ball(1e-7))
        # the closed forms' own rounding is all that is left
        assert max(one.upper for one in small) < CLOSED_FORM + 1e-12
        assert uppers(pair, x, Ball(0.0)) == [0.0] * 3
        wide = pair.bound(x, Ball(0.3))
        assert all(0 <= one.upper <= 1 for one in wide)
        again = PairBounds(net, tools.with_weights(net, generator, 1.0), tools.shape).resolution(x, Ball(0.3))
        assert [one.upper for one in again] == [one.upper for one in wide]
    exact = PairBounds(linear(TWICE), linear(TWICE), (2,)).bound(POINTS, Ball(0.3))
    assert max(one.upper for one in exact) < CLOSED_FORM + 1e-12


def test_the_pair_is_symmetric(graphs, tools) -> None:
    generator = torch.Generator().manual_seed(3)
    nets = [tools.with_weights(graphs[name], generator, 1.5) for name in ("plain", "convolutional")]
    x = torch.rand(3, *tools.shape, generator=generator, dtype=torch.float64)
    one = uppers(PairBounds(*nets, tools.shape), x, Ball(0.1))
    assert one == pytest.approx(uppers(PairBounds(*nets[::-1], tools.shape), x, Ball(0.1)), abs=1e-9)


def test_batches_change_nothing(graphs, tools, monkeypatch) -> None:
    generator = torch.Generator().manual_seed(4)
    nets = [tools.with_weights(graphs[name], generator, 1.5) for name in ("residual", "convolutional")]
    x = torch.rand(5, *tools.shape, generator=generator, dtype=torch.float64)
    pair = PairBounds(*nets, tools.shape)
    whole = uppers(pair, x, Ball(0.2))
    monkeypatch.setattr(crown, "BATCH_BUDGET", 1)
    monkeypatch.setattr(crown, "ROWS_BUDGET", 1)
    assert uppers(pair, x, Ball(0.2)) == pytest.approx(whole, abs=1e-10)
    assert pair.bound(x[:0], Ball(0.2)) == []


@pytest.mark.parametrize(
    ("where", "value"),
    [("first", math.nan), ("last", math.nan), ("first", math.inf), ("last", -math.inf), ("first", 1e308)],
)
@pytest.mark.parametrize("mode", ["ibp", "crown"])
def test_broken_weights_prove_nothing(where: str, value: float, mode: str, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(5)
    nets = [tools.with_weights(graphs["plain"], generator, 1.0) for _ in range(2)]
    linears = [node.op for node in nets[1].nodes if hasattr(node.op, "weight")]
    # every unit is broken: a single dead one could rightly be ignored
    linears[0 if where == "first" else -1].weight.fill_(value)
    x = torch.full((1, *tools.shape), 0.5, dtype=torch.float64)
    for eps in (0.0, 0.05):
        (found,) = PairBounds(*nets, tools.shape, mode=mode).bound(x, Ball(eps))
        assert found.upper == 1.0
        assert not found.same_class
        assert found.status == "bounded"


def test_two_hundred_classes(tools) -> None:
    generator = torch.Generator().manual_seed(6)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 200)) for _ in range(2)]
    with torch.no_grad():
        for net in nets:
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    pair = PairBounds(*nets, tools.shape)
    x = torch.rand(2, *tools.shape, generator=generator, dtype=torch.float64)
    for eps in (0.01, 0.05):
        for i, one in enumerate(pair.bound(x, Ball(eps))):
            reached = tools.attack(pair.teacher, pair.student, x[i], Ball(eps), generator)
            assert reached <= one.upper + 1e-9
            assert one.upper < 1 or eps > 0.01


def test_many_classes_are_bounded_as_few_are(graphs, tools, monkeypatch) -> None:
    """Examining classes in turn, and leaving out those that cannot matter, gives the same bound."""
    generator = torch.Generator().manual_seed(7)
    nets = [tools.with_weights(graphs[name], generator, 2.0) for name in ("plain", "residual")]
    x = torch.rand(4, *tools.shape, generator=generator, dtype=torch.float64)
    bounds = PairBounds(*nets, tools.shape)
    expected = bounds.bound(x, Ball(0.1))
    monkeypatch.setattr(pair_module, "AT_ONCE", 1)
    for one, other in zip(bounds.bound(x, Ball(0.1)), expected, strict=True):
        assert one.upper <= other.upper + 1e-9
        assert one.same_class >= other.same_class


def test_bad_input(pair: PairBounds) -> None:
    cases = [
        (lambda: PairBounds(linear(EYE), linear([[1.0, 0.0]] * 3), (2,)), "teacher has 2, the student 3"),
        (lambda: PairBounds(linear([[1.0]]), linear([[1.0]]), (1,)), "at least two"),
        (lambda: PairBounds(linear(EYE), linear([[1.0]] * 2), (2,)), r"student cannot be bounded.*\(3, 2\)"),
        (
            lambda: PairBounds(linear(EYE), nn.Sequential(nn.Linear(2, 2), nn.ELU()), (2,)),
            "student.*aten.elu",
        ),
        (lambda: PairBounds(pair.teacher, linear([[1.0]] * 2), (1,)), r"shape \(2,\), the pair's is \(1,\)"),
        (lambda: pair.bound(POINTS[:, :1], Ball(0.1)), r"\(batch, \(2,\)\), found \(2, 1\)"),
        (lambda: pair.bound(POINTS + 1, Ball(0.1)), r"outside the valid range \[0, 1\]"),
        (lambda: pair.bound(POINTS * math.nan, Ball(0.1)), "NaN"),
        (lambda: pair.bound(POINTS, Ball(0.1), lower=torch.zeros(3)), r"2, found \(3,\)"),
        (lambda: pair.bound(POINTS, Ball(0.1), witness=POINTS[:1]), r"shape \(2, 2\), found \(1, 2\)"),
        (lambda: pair.bound(POINTS, Ball(0.1), tolerance=-1.0), "tolerance.*-1"),
        (lambda: pair.bound(POINTS, Ball(0.1), tolerance=math.nan), "tolerance.*nan"),
        (lambda: pair.bound(POINTS, Ball(0.1), time_limit=0.0), "time limit.*0"),
    ]
    for call, words in cases:
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.parametrize("mode", ["ibp", "crown", "exact"])
def test_float32_networks_and_inputs_are_bounded_in_float64(mode: str) -> None:
    """The statement is about the stored numbers: the same networks and inputs in float64 have the same bounds."""
    nets = [linear([[0.1, 0.7], [1 / 3, -0.2]]), linear([[0.3, 1 / 7], [0.9, 0.1]])]
    x = POINTS.float()
    single = PairBounds(*nets, (2,), mode=mode)
    double = PairBounds(*[copy.deepcopy(net).double() for net in nets], (2,), mode=mode)
    assert {node.op.weight.dtype for node in single.teacher.nodes[1:]} == {torch.float64}
    for eps in (0.0, 0.05):
        assert uppers(single, x, Ball(eps)) == uppers(double, x.double(), Ball(eps))
    assert {p.dtype for net in nets for p in net.parameters()} == {torch.float32}
