"""Intervals against scipy.stats, their definitions and their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from understudy.errors import InputError
from understudy.fidelity.intervals import (
    bootstrap_mean,
    clopper_pearson,
    mean_over_seeds,
    paired_difference,
    verdict,
)

values_of_seeds = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


@given(st.integers(1, 500), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(max_examples=25, deadline=None)
def test_clopper_pearson_against_scipy(trials: int, data: st.DataObject, confidence: float) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = clopper_pearson(successes, trials, confidence)
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    mirrored = clopper_pearson(trials - successes, trials, confidence)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_clopper_pearson_closed_forms() -> None:
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert clopper_pearson(10, 10) == (pytest.approx(0.025 ** (1 / 10)), 1.0)


def test_clopper_pearson_covers() -> None:
    """By definition, summed over the binomial: at least 95 % at any true proportion."""
    intervals = [clopper_pearson(k, 30) for k in range(31)]
    for truth in (0.01, 0.2, 0.5, 0.93):
        inside = sum(
            stats.binom.pmf(k, 30, truth) for k, (lo, hi) in enumerate(intervals) if lo <= truth <= hi
        )
        assert inside >= 0.95


@pytest.mark.parametrize("name", ["uniform", "skewed", "few zeros"])
def test_bootstrap_against_scipy(name: str) -> None:
    draw = np.random.default_rng(3)
    x = {
        "uniform": draw.uniform(size=100),
        "skewed": draw.exponential(size=60) ** 2,
        "few zeros": np.concatenate([np.zeros(30), draw.uniform(size=10)]),
    }[name]
    found = bootstrap_mean(x, resamples=20_000)
    theirs = stats.bootstrap((x,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    width = found[1] - found[0]
    expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    assert found == pytest.approx(expected, abs=0.03 * width)  # Monte-Carlo error of the ends
    assert found[0] < x.mean() < found[1]


def test_bootstrap_covers_a_normal_mean() -> None:
    draw = np.random.default_rng(0)
    hits = sum(low <= 0 <= high for low, high in (bootstrap_mean(draw.normal(size=50)) for _ in range(200)))
    assert 0.89 <= hits / 200 <= 0.99


def test_bootstrap_is_repeatable_and_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(5).uniform(size=37)
    whole = bootstrap_mean(x)
    assert bootstrap_mean(x) == whole == bootstrap_mean(torch.tensor(x)) == bootstrap_mean(x.tolist())
    assert bootstrap_mean(x, seed=1) != whole
    monkeypatch.setattr("understudy.fidelity.intervals._DRAWS_AT_ONCE", 100)
    assert bootstrap_mean(x) == pytest.approx(whole)
    low, high = bootstrap_mean(x, confidence=0.5)
    assert whole[0] < low < high < whole[1]


def test_bootstrap_counts_ties_half() -> None:
    """Symmetric values have a symmetric interval, though many resampled means equal the mean."""
    low, high = bootstrap_mean([0.0] * 4 + [1.0] * 4)
    assert (low, high) == pytest.approx((0.125, 0.875))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([0.9, 0.95, 0.999]))
@settings(max_examples=40, deadline=None)
def test_bootstrap_stays_among_the_values(values: list[float], confidence: float) -> None:
    low, high = bootstrap_mean(values, confidence, resamples=200)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


@pytest.mark.parametrize("values", [[0.1], [0.1] * 3, [0.1] * 100, torch.full((7,), 0.25)])
def test_equal_values_have_no_width(values) -> None:
    first = float(values[0])
    assert bootstrap_mean(values) == (first, first)
    if len(values) > 1:
        assert mean_over_seeds(values) == (first, first, first)


@given(values_of_seeds, st.sampled_from([0.9, 0.95]))
@settings(max_examples=30, deadline=None)
def test_mean_over_seeds_against_scipy(values: list[float], confidence: float) -> None:
    mean, low, high = mean_over_seeds(values, confidence)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    if np.ptp(values) > 1e-6:
        expected = stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))
        assert (low, high) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-9)


def test_two_seeds_by_hand() -> None:
    """t_1 at 97.5 % is tan(0.475 pi); the standard error of (0, 1) is 1/2."""
    half = 0.5 * math.tan(0.475 * math.pi)
    assert mean_over_seeds([0.0, 1.0]) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_one_seed_has_no_interval() -> None:
    assert mean_over_seeds([0.7]) == (0.7, None, None)
    mean, low, high = paired_difference([0.7], [0.5])
    assert (mean, low, high) == (pytest.approx(0.2), None, None)
    assert verdict(low, high, True) == "inconclusive"


def test_paired_difference_against_scipy() -> None:
    a, b = [0.24, 0.21, 0.26, 0.22], [0.37, 0.33, 0.41, 0.30]
    expected = stats.ttest_rel(a, b).confidence_interval()
    found = paired_difference(a, b)
    assert found == pytest.approx((np.mean(a) - np.mean(b), expected.low, expected.high))
    assert verdict(found[1], found[2], higher_is_better=False) == "better"
    assert verdict(found[1], found[2], higher_is_better=True) == "not better"


@pytest.mark.parametrize(
    ("low", "high", "if_higher", "if_lower"),
    [
        (0.1, 0.2, "better", "not better"),
        (-0.2, -0.1, "not better", "better"),
        (-0.1, 0.2, "inconclusive", "inconclusive"),
        (0.0, 0.2, "inconclusive", "not better"),
        (-0.2, 0.0, "not better", "inconclusive"),
        (0.0, 0.0, "not better", "not better"),
        (None, None, "inconclusive", "inconclusive"),
    ],
)
def test_verdict(low: float | None, high: float | None, if_higher: str, if_lower: str) -> None:
    assert verdict(low, high, True) == if_higher
    assert verdict(low, high, False) == if_lower


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 5), (0, 0)])
def test_bad_counts(successes: int, trials: int) -> None:
    with pytest.raises(InputError):
        clopper_pearson(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_bad_confidence(confidence: float) -> None:
    for call in (
        lambda: clopper_pearson(1, 2, confidence),
        lambda: bootstrap_mean([1.0, 2.0], confidence),
        lambda: mean_over_seeds([1.0, 2.0], confidence),
        lambda: paired_difference([1.0, 2.0], [0.0, 0.5], confidence),
    ):
        with pytest.raises(InputError, match="confidence"):
            call()


@pytest.mark.parametrize("interval", [bootstrap_mean, mean_over_seeds])
def test_bad_values(interval) -> None:
    with pytest.raises(InputError, match="at least one"):
        interval([])
    with pytest.raises(InputError, match="number 1 is not"):
        interval([0.0, math.nan])


def test_other_bad_input() -> None:
    with pytest.raises(InputError, match="resamples"):
        bootstrap_mean([1.0, 2.0], resamples=10)
    with pytest.raises(InputError, match="2 and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    for low, high in [(None, 1.0), (1.0, None), (2.0, 1.0), (math.nan, 1.0), (-math.inf, 1.0)]:
        with pytest.raises(InputError, match="interval"):
            verdict(low, high, True)
