"""Intervals over seeds and examples: their two ends of one kind, and how often they cover the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from understudy.errors import InputError
from understudy.fidelity.crossed import crossed_difference, crossed_mean


def student_half(values: np.ndarray) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def test_it_is_the_formula() -> None:
    x = np.random.default_rng(0).normal(size=(3, 40))
    mean, low, high = crossed_mean(x)
    half = math.sqrt(student_half(x.mean(1)) ** 2 + student_half(x.mean(0)) ** 2)
    assert low is not None
    assert high is not None
    assert mean == pytest.approx(x.mean())
    assert (low, high) == (pytest.approx(x.mean() - half), pytest.approx(x.mean() + half))


def test_seeds_alone_or_examples_alone() -> None:
    draw = np.random.default_rng(1)
    seeds, examples = draw.normal(size=4), draw.normal(size=30)
    for x, alone in ((np.tile(seeds[:, None], 30), seeds), (np.tile(examples, (4, 1)), examples)):
        mean, low, high = crossed_mean(x)
        assert low == pytest.approx(mean - student_half(alone))
        assert high == pytest.approx(mean + student_half(alone))


def test_one_seed_tells_nothing_of_seeds_and_one_example_nothing_of_examples() -> None:
    assert crossed_mean(np.array([[1.0, 2.0, 6.0]])) == (3.0, None, None)
    _, low, high = crossed_mean(np.array([[1.0], [2.0]]))
    assert low == pytest.approx(1.5 - student_half(np.array([1.0, 2.0])))
    assert high == pytest.approx(1.5 + student_half(np.array([1.0, 2.0])))


def test_equal_values_give_no_width() -> None:
    assert crossed_mean(np.full((3, 5), 0.25)) == (0.25, 0.25, 0.25)


def test_pairing_takes_out_what_both_share() -> None:
    draw = np.random.default_rng(2)
    shared = 5 * draw.normal(size=(3, 50))
    found = crossed_difference(shared + 0.5, shared)
    assert found == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))


@pytest.mark.parametrize(
    ("seeds", "examples", "rest"), [(0.0, 1.0, 1.0), (0.3, 1.0, 1.0), (1.0, 0.2, 0.5), (0.1, 1.0, 0.0)]
)
def test_it_covers_the_truth_as_often_as_it_says(seeds: float, examples: float, rest: float) -> None:
    """2000 experiments with 3 seeds and 100 examples, whichever of the two varies more."""
    draw = np.random.default_rng(3)
    inside = 0
    for _ in range(2000):
        x = seeds * draw.normal(size=(3, 1)) + examples * draw.normal(size=100)
        x = x + rest * draw.normal(size=(3, 100))
        _, low, high = crossed_mean(x)
        assert low is not None
        assert high is not None
        inside += low <= 0.0 <= high
    assert inside / 2000 > 0.94


def test_seeds_alone_would_cover_too_rarely() -> None:
    """Why examples count: the test set is a sample too."""
    draw = np.random.default_rng(4)
    inside = 0
    for _ in range(500):
        means = (draw.normal(size=100) + 0.3 * draw.normal(size=(3, 100))).mean(1)
        inside += abs(means.mean()) <= student_half(means)
    assert inside / 500 < 0.6


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 4)), np.zeros((2, 0)), np.array([[np.nan, 0.0]])])
def test_values_that_cannot_be(bad: np.ndarray) -> None:
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(InputError):
            crossed_mean(bad)
    finally:
        config.update("jaxtyping_disable", False)


def test_shapes_that_differ() -> None:
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(InputError, match="one shape"):
            crossed_difference(np.zeros((2, 3)), np.zeros((2, 4)))
    finally:
        config.update("jaxtyping_disable", False)
