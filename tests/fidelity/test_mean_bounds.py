"""Upper confidence bounds of means: they fail as often as they may, and no more; formulas; bad inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.fidelity.mean_bounds import (
    Bound,
    Tally,
    bernstein_upper,
    bets,
    betting_upper,
    binomial_upper,
)

BOUNDS: tuple[Bound, ...] = ("betting", "bernstein", "clopper-pearson")
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
SOURCES: dict[str, tuple[float, Draw]] = {
    "rare coins": (0.01, lambda g, s: (g.random(s) < 0.01).astype(float)),
    "fair coins": (0.5, lambda g, s: (g.random(s) < 0.5).astype(float)),
    "skewed": (0.2 / 2.2, lambda g, s: g.beta(0.2, 2.0, s)),
    "narrow": (0.025, lambda g, s: 0.05 * g.random(s)),
    "constant": (0.3, lambda g, s: np.full(s, 0.3)),
    "two points": (0.11, lambda g, s: np.where(g.random(s) < 0.1, 0.65, 0.05)),
}


def coins(bound: Bound) -> Randomness | None:
    if bound != "clopper-pearson":
        return None
    random = Randomness(7)
    random.begin(1)
    return random


def tally(values: np.ndarray, failure: float, bound: Bound) -> Tally:
    """A tally of all values, with `failure` for each column by itself."""
    made = Tally(values.shape[1], len(values), failure * values.shape[1], bound, coins(bound))
    made.add(torch.from_numpy(values))
    return made


def upper(values: np.ndarray, delta: float, bound: Bound, seed: int) -> np.ndarray:
    """Each column's bound, by itself at delta, by the pure functions."""
    draws = len(values)
    if bound == "bernstein":
        return bernstein_upper(values.mean(0), values.var(0, ddof=1), draws, delta)
    if bound == "clopper-pearson":
        shown = np.random.default_rng(seed + 100).random(values.shape) < values
        return binomial_upper(shown.sum(0).astype(float), draws, delta)
    grid = bets(draws, delta)
    with np.errstate(divide="ignore"):
        return betting_upper(np.stack([np.log1p(-q * values).sum(0) for q in grid]), grid, draws, delta)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("source", SOURCES)
def test_they_fail_at_most_as_often_as_stated(bound: Bound, source: str) -> None:
    mean, draw = SOURCES[source]
    for draws, runs, seed in ((60, 3000, 1), (400, 1500, 2)):
        values = draw(np.random.default_rng(seed), (draws, runs))
        for delta in (0.05, 0.002):
            misses = int((upper(values, delta, bound, seed) < mean).sum())
            assert stats.binom.sf(misses - 1, runs, delta) > 1e-4, f"{misses} of {runs} bounds fail"


@pytest.mark.parametrize("bound", ["betting", "bernstein"])
def test_columns_share_what_may_fail(bound: Bound) -> None:
    values = np.random.default_rng(0).random((200, 5)) ** 3
    made = Tally(5, 200, 0.05, bound)
    made.add(torch.from_numpy(values))
    np.testing.assert_allclose(made.upper(), upper(values, 0.01, bound, 0), rtol=1e-9)


def test_the_test_of_coverage_can_fail() -> None:
    """The sample mean plus one standard error fails far more often than 5 %."""
    mean, draw = SOURCES["skewed"]
    values = draw(np.random.default_rng(2), (400, 1500))
    misses = int((values.mean(0) + values.std(0) / 20 < mean).sum())
    assert stats.binom.sf(misses - 1, 1500, 0.05) < 1e-12


def test_bernstein_is_the_formula() -> None:
    values = np.random.default_rng(0).random((50, 3)) ** 3
    found = tally(values, 0.01, "bernstein")
    log = math.log(2 / 0.01)
    expected = values.mean(0) + np.sqrt(2 * values.var(0, ddof=1) * log / 50) + 7 * log / (3 * 49)
    np.testing.assert_allclose(found.upper(), expected, rtol=1e-9)
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    assert bernstein_upper(np.array([0.9]), np.array([0.09]), 10, 0.01) == 1.0


def test_binomial_is_the_exact_quantile() -> None:
    found = binomial_upper(np.array([0.0, 3.0, 99.0, 100.0]), 100, 0.01)
    for successes, upper in zip((0, 3, 99), found[:3], strict=True):
        assert stats.binom.cdf(successes, 100, upper) == pytest.approx(0.01, rel=1e-6)
        assert upper == pytest.approx(stats.binomtest(successes, 100).proportion_ci(0.98).high, rel=1e-6)
    assert found[3] == 1.0


def test_betting_solves_its_own_equation() -> None:
    values = np.random.default_rng(1).beta(0.3, 3.0, (500, 2))
    grid = bets(500, 0.001)
    assert grid[-1] == 1.0
    assert (np.diff(grid) > 0).all()
    products = np.log1p(-grid[:, None, None] * values).sum(1)
    found = betting_upper(products, grid, 500, 0.001)
    for k in range(2):

        def capital(m: float, k: int = k) -> float:
            return math.log(np.mean(np.exp(products[:, k] - 500 * np.log1p(-grid * m)))) - math.log(1000)

        assert found[k] == pytest.approx(optimize.brentq(capital, 1e-9, 0.5), rel=1e-6)
    assert (found > values.mean(0)).all()


def test_betting_with_extreme_draws() -> None:
    zeros, ones = np.zeros((2000, 1)), np.ones((2000, 1))
    assert tally(zeros, 0.001, "betting").upper()[0] == pytest.approx(1 - 0.001 ** (1 / 2000), rel=0.3)
    assert tally(ones, 0.001, "betting").upper() == 1.0
    mixed = zeros.copy()
    mixed[:5] = 1.0  # the bet 1 has lost everything; the others go on
    assert 0.0025 < tally(mixed, 0.001, "betting").upper()[0] < 0.012


def test_betting_is_the_tightest_for_small_spread_differences() -> None:
    values = np.random.default_rng(3).beta(0.05, 2.0, (10_000, 1))
    upper = {bound: float(tally(values, 1e-4, bound).upper()[0]) for bound in BOUNDS}
    assert values.mean() < upper["betting"] < min(upper["bernstein"], upper["clopper-pearson"])


@pytest.mark.parametrize("bound", ["betting", "bernstein"])
def test_parts_give_what_the_whole_gives(bound: Bound) -> None:
    values = torch.rand(300, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 4
    whole, parts = Tally(4, 300, 0.01, bound), Tally(4, 300, 0.01, bound)
    whole.add(values)
    for part in values.split([1, 99, 150, 50]):
        parts.add(part)
    np.testing.assert_allclose(parts.upper(), whole.upper(), rtol=1e-11)
    np.testing.assert_allclose(parts.mean, values.mean(0).numpy(), rtol=1e-12)


def test_coins_come_from_the_seed() -> None:
    values = np.full((500, 1), 0.2)
    first, again = (tally(values, 0.01, "clopper-pearson").upper()[0] for _ in range(2))
    assert first == again
    made = Tally(1, 500, 0.01, "clopper-pearson", random := Randomness(8))
    random.begin(1)
    made.add(torch.from_numpy(values))
    assert made.upper()[0] != first


def test_bad_inputs() -> None:
    for arguments, said in [
        ((0, 10, 0.1, "betting"), "1 column and 2 draws"),
        ((1, 1, 0.1, "betting"), "1 column and 2 draws"),
        ((1, 10, 0.0, "betting"), "between 0 and 1"),
        ((1, 10, 1.0, "bernstein"), "between 0 and 1"),
        ((1, 10, float("nan"), "bernstein"), "between 0 and 1"),
        ((1, 10, 0.1, "clopper-pearson"), "coins"),
        ((1, 10, 0.1, "betting", Randomness(0)), "coins"),
    ]:
        with pytest.raises(InputError, match=said):
            Tally(*arguments)
    made = Tally(2, 3, 0.1, "betting")
    for wrong in (torch.tensor([[0.1, math.nan]]), torch.tensor([[0.1, 1.1]]), torch.tensor([[-0.1, 1.0]])):
        with pytest.raises(InputError, match=r"outside \[0, 1\]"):
            made.add(wrong)
    for wrong in (torch.rand(3, 1), torch.rand(0, 2)):
        with pytest.raises(InputError, match=r"must be \(n, 2\)"):
            made.add(wrong)
    made.add(torch.rand(2, 2))
    with pytest.raises(InputError, match="3 draws were announced, 2 were made"):
        made.upper()
