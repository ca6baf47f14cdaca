"""Smoothing a pair: worked numbers, a closed form, a numerical integral, saturated ends, seeds, bad inputs."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.fidelity import smoothing
from understudy.fidelity.smoothing import Noise, at_distance, euclidean_radius, smoothed_difference


class Logistic(nn.Module):
    """Two classes on one number: logits (slope x + shift, 0)."""

    def __init__(self, slope: float, shift: float) -> None:
        super().__init__()
        self.slope, self.shift = slope, shift

    def forward(self, x: Tensor) -> Tensor:
        t = self.slope * x[:, :1] + self.shift
        return torch.cat([t, torch.zeros_like(t)], 1)


TEACHER, STUDENT = Logistic(3.0, -0.5), Logistic(1.0, 0.3)


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def exact(x: float, sigma: float) -> float:
    """E |p_t - p_s| of the pair above, by numerical integration."""

    def density(z: float) -> float:
        at = x + sigma * z
        return abs(sigmoid(3 * at - 0.5) - sigmoid(at + 0.3)) * stats.norm.pdf(z)

    return integrate.quad(density, -9, 9, limit=100)[0]


@pytest.mark.parametrize(
    ("bound", "ratio", "expected"),
    [(0.01, 0.2, 0.017), (0.01, 0.5, 0.034), (0.01, 1.0, 0.092), (0.01, 28 * 0.01 / 0.5, 0.039),
     (0.01, 28 * 0.03 / 0.5, 0.26), (0.01, 28 * 0.1 / 0.5, 1.0)],
)  # fmt: skip
def test_worked_numbers(bound: float, ratio: float, expected: float) -> None:
    assert at_distance(bound, ratio) == pytest.approx(expected, abs=0.0006 if expected < 0.2 else 0.005)


def test_at_distance_rises_and_is_safe_at_the_ends() -> None:
    ratios = [0.0, 1e-12, 0.1, 1.0, 5.0, 40.0, 1e300]
    bounds = [0.0, 1e-300, 1e-12, 0.01, 0.5, 1 - 1e-12, 1.0]
    table = [[at_distance(bound, ratio) for ratio in ratios] for bound in bounds]
    for row in table:
        assert row == sorted(row)
        assert 0.0 <= row[0] <= row[-1] <= 1.0
    for column in zip(*table, strict=True):
        assert list(column) == sorted(column)
    assert table[0] == [0.0] * len(ratios)
    assert table[-1] == [1.0] * len(ratios)
    assert all(row[0] >= bound for row, bound in zip(table, bounds, strict=True))
    assert at_distance(math.nan, 1.0) == 1.0


def test_a_step_attains_the_bound() -> None:
    """|p_t - p_s| = 1{x > 1}: H(x) = Phi((x - 1) / sigma), and moving by rho gives exactly the bound."""
    sigma = 0.5
    teacher, student = Logistic(1e6, -1e6), Logistic(0.0, -1e3)
    at = smoothed_difference(teacher, student, torch.zeros(1, dtype=torch.float64), Noise(sigma, 40_000))
    truth = stats.norm.cdf(-1 / sigma)
    assert at.mean[0] == pytest.approx(truth, abs=4 * math.sqrt(truth / 40_000))
    assert at.upper[0] >= truth
    for rho in (0.0, 0.2, 1.0, 3.0):
        assert at_distance(truth, rho / sigma) == pytest.approx(stats.norm.cdf((rho - 1) / sigma), rel=1e-8)
        assert at_distance(at.upper[0], rho / sigma) >= stats.norm.cdf((rho - 1) / sigma)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("bound", ["betting", "bernstein", "clopper-pearson"])
def test_a_logistic_pair_against_a_numerical_integral(sigma: float, bound: smoothing.Bound) -> None:
    noise = Noise(sigma, 10_000, bound=bound, seed=3)
    at = smoothed_difference(TEACHER, STUDENT, torch.tensor([0.4]), noise)
    truth = exact(0.4, sigma)
    assert at.mean[0] == pytest.approx(truth, abs=0.01)
    assert at.mean[0] == pytest.approx(at.mean[1], abs=1e-12)  # two classes: the same difference
    assert truth <= min(at.upper) <= truth + 0.04
    for d in (-1.0, -0.3, -0.01, 0.02, 0.5, 2.0):  # the true function moves no faster than the bound
        assert exact(0.4 + d, sigma) <= at_distance(truth, abs(d) / sigma) + 1e-9
        assert exact(0.4 + d, sigma) <= at_distance(max(at.upper), abs(d) / sigma)


def test_a_pair_with_itself_is_bounded_by_what_the_draws_leave() -> None:
    at = smoothed_difference(TEACHER, TEACHER, torch.tensor([0.4]), Noise(0.3, 10_000))
    assert at.mean == [0.0, 0.0]
    assert 0 < max(at.upper) < 0.002


def test_the_seed_and_the_index_decide_and_the_portions_bound_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    point = torch.tensor([0.4])
    noise = Noise(0.3, 2_500, seed=5)
    first = smoothed_difference(TEACHER, STUDENT, point, noise, 4)
    assert smoothed_difference(TEACHER, STUDENT, point, noise, 4) == first
    assert smoothed_difference(TEACHER, STUDENT, point, noise, 5) != first
    assert smoothed_difference(TEACHER, STUDENT, point, Noise(0.3, 2_500, seed=6), 4) != first
    sizes = []

    class Watched(Logistic):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(x.numel())
            return super().forward(x.flatten(1))

    monkeypatch.setattr(smoothing, "AT_ONCE", 1_000)
    smoothed_difference(Watched(1.0, 0.0), Watched(2.0, 0.0), torch.zeros(4, 5), noise)
    assert max(sizes) <= 1_000
    assert sum(sizes) == 2 * 2_500 * 20


def test_answers_that_are_not_finite_count_as_the_largest_difference() -> None:
    class Broken(Logistic):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0.4, torch.nan, super().forward(x))

    at = smoothed_difference(Broken(1.0, 0.3), STUDENT, torch.tensor([0.4]), Noise(0.5, 1_000))
    assert 400 < at.undefined < 600
    assert at.mean[0] == pytest.approx(at.undefined / 1_000)
    assert max(at.upper) > 0.5


def test_radii() -> None:
    assert euclidean_radius(0.1, "l2", 784) == 0.1
    assert euclidean_radius(0.1, "linf", 784) == pytest.approx(2.8)
    assert euclidean_radius(0.1, "linf", 784) >= 2.8


def test_bad_inputs() -> None:
    for wrong, said in [
        ({"sigma": 0.0}, "sigma must be a finite number above 0"),
        ({"sigma": math.nan}, "sigma"),
        ({"sigma": math.inf}, "sigma"),
        ({"samples": 1}, "samples must be 2 or more, found 1"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1"),
        ({"confidence": math.nan}, "confidence"),
        ({"seed": -1}, "seed must be 0 or more"),
    ]:
        with pytest.raises(InputError, match=said):
            Noise(**{"sigma": 0.25, **wrong})  # type: ignore[arg-type]
    for bound, ratio in [(0.1, -1e-9), (0.1, math.inf), (0.1, math.nan), (-0.1, 1.0), (1.1, 1.0)]:
        with pytest.raises(InputError):
            at_distance(bound, ratio)
    other = nn.Linear(1, 3)
    with pytest.raises(InputError, match="the same classes"):
        smoothed_difference(TEACHER, other, torch.zeros(1), Noise(0.1, 10))
