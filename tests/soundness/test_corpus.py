"""Every case by every mode: no upper bound below the truth, by any amount, and no claim that fails.

`UNDERSTUDY_SOUNDNESS=long` (or `-m long`) tries more points and gives the searching modes more time.
"""

from __future__ import annotations

import itertools
import os
from functools import cache
from typing import get_args

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from soundness.cases import CASES, Case, mlp, points
from soundness.graphs import graph
from soundness.networks import draw
from soundness.reference import Program, exact_gap, read
from soundness.truth import Truth, programs, truths
from soundness.truth import truth as truth_at
from understudy.attacks.ball import Ball
from understudy.bounds import Mode, PairBound, PairBounds
from understudy.bounds.graph import Graph
from understudy.errors import InputError

MODES = tuple(mode for mode in get_args(Mode) if mode != "none")
TOLERANCE = 1e-3
LONG = os.environ.get("UNDERSTUDY_SOUNDNESS") == "long"
SCALE, SECONDS = (20, 5.0) if LONG else (1, 0.1)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors of a few numbers are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def graphs(name: str) -> tuple[Graph, Graph]:
    case, _, _ = programs(name)
    teacher = graph(case.teacher, case.shape)
    return teacher, teacher if case.student is case.teacher else graph(case.student, case.shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, mode: Mode) -> None:
    check_case(name, mode, SCALE, SECONDS)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_case_for_long(name: str, mode: Mode) -> None:
    check_case(name, mode, 20, 5.0)


def check_case(name: str, mode: Mode, scale: int, seconds: float) -> None:
    """Bound every point of a case, with and without a lower bound given, and compare with the truth."""
    case, _, _ = programs(name)
    pair = PairBounds(*graphs(name), case.shape, mode=mode)
    known = truths(name, scale)
    found = pair.bound(case.points, case.ball, tolerance=TOLERANCE, time_limit=seconds)
    assert len(found) == len(case.points)
    for one, truth in zip(found, known, strict=True):
        check_bound(programs(name), one, truth)
    if mode == "exact" and not name.endswith(
        ("-1", "-2")
    ):  # told what an attack found, which must not make it forget anything
        lower = torch.tensor([below(truth.reached) for truth in known], dtype=torch.float64)
        where = torch.stack([torch.from_numpy(truth.witness).view(case.shape) for truth in known])
        told = pair.bound(
            case.points, case.ball, lower=lower, witness=where, tolerance=TOLERANCE, time_limit=seconds
        )
        for one, truth in zip(told, known, strict=True):
            check_bound(programs(name), one, truth)


def check_bound(pair: tuple[Case, Program, Program], bound: PairBound, truth: Truth) -> None:
    """One bound against the truth at its point."""
    case, teacher, student = pair
    assert 0 <= bound.upper <= 1  # NaN fails as well
    assert truth.reached <= mpmath.mpf(bound.upper), float(truth.reached - mpmath.mpf(bound.upper))
    check_lower(bound, truth, lambda point: exact_gap(teacher, student, point))
    check_history(bound)
    if bound.status == "exact" and truth.enclosure is not None:
        assert bound.upper <= truth.enclosure.upper + TOLERANCE
    if bound.same_class:
        samples = truth.samples
        both = torch.cat([case.teacher(samples), case.student(samples)])
        label = both[0].argmax()
        assert bool((both[:, label] >= both.amax(1) - 1e-12 * both.abs().amax(1)).all())


def check_lower(bound: PairBound, truth: Truth, gap) -> None:
    """A lower bound that the mode found itself is below its own upper one, and attained at its witness."""
    if bound.lower is None:
        return
    assert bound.lower <= bound.upper
    if truth.enclosure is not None:
        assert bound.lower <= truth.enclosure.upper
    if bound.witness is not None:
        point = bound.witness.detach().double().reshape(-1).cpu().numpy()
        assert bool(((truth.near_low <= point) & (point <= truth.near_high)).all()), (
            "a witness outside the ball"
        )
        attained = gap(point)
        assert attained <= mpmath.mpf(bound.upper)
        assert mpmath.mpf(bound.lower) <= attained


def check_history(bound: PairBound) -> None:
    """Lower bounds never fall, upper bounds never rise, times and nodes never go back."""
    for before, after in itertools.pairwise(bound.history):
        assert after[0] >= before[0]
        assert after[1] >= before[1]
        assert after[2] <= before[2]
        assert after[3] >= before[3]
    for _, lower, upper, _ in bound.history:
        assert lower <= upper
        assert bound.upper <= upper


def below(value: mpmath.mpf) -> float:
    """The largest float64 that is no larger."""
    near = float(value)
    return near if mpmath.mpf(near) <= value else float(np.nextafter(near, -np.inf))


@settings(
    max_examples=200 if LONG else 12, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
)
@given(
    sizes=st.lists(st.integers(1, 7), max_size=3),
    inputs=st.integers(1, 2),
    classes=st.integers(2, 5),
    seed=st.integers(0, 10**6),
    size=st.sampled_from([0.1, 1.0, 3.0, 30.0]),
    eps=st.sampled_from([1e-9, 1e-3, 0.03, 0.1, 0.5]),
    edge=st.booleans(),
)
def test_random_networks(sizes, inputs, classes, seed, size, eps, edge) -> None:
    """Plain networks of any small shape, by every mode (failures are not shrunk: that takes minutes)."""
    teacher = draw(mlp(inputs, *sizes, classes), seed, size)
    student = draw(mlp(inputs, *sizes[:1], classes), seed + 1, size)
    x = points(seed, 1, inputs)
    case = Case(teacher, student, x.round() if edge else x, Ball(eps), enclosed=size * eps < 1)
    read_in = read(teacher, case.shape)[0], read(student, case.shape)[0]
    known = truth_at(case, *read_in, case.points[0], 0, SCALE)
    pair = graph(teacher, case.shape), graph(student, case.shape)
    for mode in MODES:
        bounds = PairBounds(*pair, case.shape, mode=mode)
        (found,) = bounds.bound(case.points, case.ball, tolerance=TOLERANCE, time_limit=SECONDS)
        check_bound((case, *read_in), found, known)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e200])
@pytest.mark.parametrize("place", ["weight", "bias", "last weight", "every weight"])
def test_weights_that_are_not_numbers_prove_nothing(mode: Mode, value: float, place: str) -> None:
    """A clear error, or the bound 1. 1e200 is a number like any other where nothing overflows."""
    teacher, student = draw(mlp(2, 4, 4, 3), 1), draw(mlp(2, 4, 4, 3), 2)
    if place == "bias":
        student[0].bias[1] = value
    else:
        layers = {"weight": [student[0]], "last weight": [student[4]], "every weight": [*student[::2]]}[place]
        for layer in layers:
            layer.weight[0, 0] = value
    x = points(5)
    try:
        pair = PairBounds(graph(teacher, (2,)), graph(student, (2,)), (2,), mode=mode)
        found = pair.bound(x, Ball(0.1), tolerance=TOLERANCE, time_limit=SECONDS)
    except InputError:
        return
    for one, at in zip(found, x, strict=True):
        if value == 1e200:
            reached = exact_gap(read(teacher, (2,))[0], read(student, (2,))[0], at.numpy())
            assert reached <= mpmath.mpf(one.upper)
        else:
            assert one.upper == 1
            assert one.status != "exact"
            assert not one.same_class


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_modules_with_such_weights_prove_nothing(value: float) -> None:
    """From the module on, at a radius of 0 too."""
    teacher, student = draw(mlp(2, 4, 3), 1), draw(mlp(2, 4, 3), 2)
    student[2].weight[1, 1] = value
    for mode in MODES:
        for eps in (0.0, 0.1):
            try:
                (one,) = PairBounds(teacher, student, (2,), mode=mode).bound(
                    points(5, 1), Ball(eps), time_limit=1.0
                )
            except InputError:
                continue
            assert one.upper == 1
            assert one.status != "exact"
