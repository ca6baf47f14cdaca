"""The oracle is itself compared: with cases solved by hand, with grids, with torch's own modules."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from soundness.cases import CASES, OPERATORS, fixed, mlp, points
from soundness.networks import draw
from soundness.oracle import State, _run, enclose
from soundness.reference import exact, exact_gap, read
from soundness.truth import exact_box, gaps, programs
from understudy.attacks.ball import Ball


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_two_linear_networks_by_hand() -> None:
    """z_t = x, z_s = 2 x, x = (.6, .4), eps .1: the worst point is (.7, .3)."""
    teacher, student = (
        fixed([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]),
        fixed([[2.0, 0.0], [0.0, 2.0]], [0.0, 0.0]),
    )
    found = enclose(
        read(teacher, (2,))[0], read(student, (2,))[0], np.array([0.5, 0.3]), np.array([0.7, 0.5])
    )
    truth = sigmoid(0.8) - sigmoid(0.4)
    assert truth == pytest.approx(0.091287, abs=1e-6)
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower <= 1e-4
    assert found.witness == pytest.approx([0.7, 0.3], abs=0.01)


def test_a_kink_by_hand() -> None:
    """p_t = sigmoid(4 |x - .5|), p_s = sigmoid(1): the largest gap is at a kink, .731 - .5, not at the ends."""
    teacher = draw(mlp(1, 2, 2), 0)
    teacher[0].weight.copy_(torch.tensor([[4.0], [-4.0]]))
    teacher[0].bias.copy_(torch.tensor([-2.0, 2.0]))
    teacher[2].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    teacher[2].bias.zero_()
    student = fixed([[0.0], [0.0]], [1.0, 0.0])
    found = enclose(read(teacher, (1,))[0], read(student, (1,))[0], np.array([0.2]), np.array([0.8]))
    truth = sigmoid(1.0) - 0.5  # at the ends sigmoid(1.2) - sigmoid(1) is less
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower <= 1e-4
    assert found.witness[0] == pytest.approx(0.5, abs=1e-3)


def test_an_interior_maximum_by_hand() -> None:
    """Two classes, log-odds x and 0 + 3: sigmoid(x + 1.5) - sigmoid(x - 1.5) is largest at x = 0, tanh(3/4)."""
    teacher, student = fixed([[1.0], [0.0]], [1.5, 0.0]), fixed([[1.0], [0.0]], [-1.5, 0.0])
    found = enclose(read(teacher, (1,))[0], read(student, (1,))[0], np.array([-1.0]), np.array([2.0]))
    assert found.lower <= np.tanh(0.75) <= found.upper
    assert found.upper - found.lower <= 1e-4


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("-1") and not name[0].isdigit()])
def test_grids_lie_within(name: str) -> None:
    """61 x 61 points of the box: none above the enclosure, and the best of them not far below it."""
    case, teacher, student = programs(name)
    low, high = exact_box(case.points[0], case.ball)
    found = enclose(teacher, student, low, high)
    axes = [
        torch.linspace(float(a), float(b), 61, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    ]
    grid = torch.cartesian_prod(*axes).view(-1, *case.shape)
    best = float(gaps(case.teacher, case.student, grid).max())
    assert best <= found.upper
    assert best >= found.lower - 0.05
    assert found.upper - found.lower <= 2e-3


@pytest.mark.parametrize("name", OPERATORS)
def test_programs_compute_what_the_modules_do(name: str) -> None:
    module = draw(OPERATORS[name](), 7)
    program, shape = read(module, (2,))
    assert shape == (3,)
    for x in points(8, 3):
        ours = [float(value) for value in exact(program, [mpmath.mpf(v) for v in x.tolist()])]
        assert ours == pytest.approx(module(x[None])[0].tolist(), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("name", OPERATORS)
def test_cells_hold_values_and_slopes(name: str) -> None:
    """At random points of random cells: values and autograd's Jacobians lie in the intervals."""
    module = draw(OPERATORS[name](), 9, 2.0)
    program, _ = read(module, (2,))
    rng = np.random.default_rng(0)
    c, r = rng.random((20, 2)), 10 ** rng.uniform(-4, 0, (20, 2))
    start = np.broadcast_to(np.eye(2), (20, 2, 2))
    state = _run(program, State(c, c - r, c + r, start, start), r)
    for _ in range(20):
        x = torch.from_numpy(c + r * rng.uniform(-1, 1, c.shape))
        values = module(x).numpy()
        assert (state.low <= values).all()
        assert (values <= state.high).all()
        jacobian = torch.func.vmap(torch.func.jacrev(lambda one: module(one[None])[0]))(x).numpy()
        assert (state.d_low <= jacobian + 1e-12).all()
        assert (jacobian - 1e-12 <= state.d_high).all()


def test_exact_gaps_do_not_round() -> None:
    """Confidences that float64 cannot tell from 1 still differ."""
    teacher, student = fixed([[0.0], [0.0]], [50.0, 0.0]), fixed([[0.0], [0.0]], [45.0, 0.0])
    gap = exact_gap(read(teacher, (1,))[0], read(student, (1,))[0], np.zeros(1))
    assert gap == pytest.approx(np.exp(-45) - np.exp(-50), rel=1e-9)


def test_exact_boxes_lie_in_the_ball() -> None:
    from fractions import Fraction

    x = torch.rand(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for eps in (0.1, 1 / 3, 1e-17):
        low, high = exact_box(x, Ball(eps))
        for value, a, b in zip(x.tolist(), low.tolist(), high.tolist(), strict=True):
            assert max(Fraction(value) - Fraction(eps), 0) <= Fraction(a) <= Fraction(value)
            assert Fraction(value) <= Fraction(b) <= min(Fraction(value) + Fraction(eps), 1)


def test_unknown_modules_are_not_guessed() -> None:
    with pytest.raises(KeyError):
        read(nn.Softplus(), (2,))
