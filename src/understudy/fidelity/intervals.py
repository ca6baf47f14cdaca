"""How sure a number is: intervals for proportions, means and differences between methods, and a verdict.

Exact or standard, two-sided, at `confidence` (default 95 %). What one value cannot tell is None, never NaN.
SciPy's special functions are imported when an interval is asked for: they cost more than a tenth of a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError

Verdict = Literal["better", "not better", "inconclusive"]
Values = Sequence[float] | Float[Tensor, " n"] | Float[np.ndarray, " n"]

_DRAWS_AT_ONCE = 2**20  # bounds the memory of the bootstrap to a few megabytes


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a proportion from independent trials (Clopper and Pearson, 1934), in [0, 1].

    low solves P(X >= successes; low) = a/2 and high P(X <= successes; high) = a/2, with a = 1 - confidence:
    both are Beta quantiles. Covers at least `confidence` whatever the truth; conservative for few trials.

    Raises:
        InputError: no trial, successes outside 0..trials, confidence outside (0, 1).
    """
    _check_confidence(confidence)
    if trials < 1:
        raise InputError(f"a proportion needs at least 1 trial, found {trials}")
    if not 0 <= successes <= trials:
        raise InputError(f"successes must lie in 0..{trials} (the trials), found {successes}")
    from scipy.special import betaincinv

    tail, failures = (1.0 - confidence) / 2.0, trials - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1.0 - tail)) if failures else 1.0
    return low, high


def bootstrap_mean(
    values: Values, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """BCa bootstrap interval of the mean of `values` (n,), in their units (Efron, JASA 1987).

    Bias-corrected and accelerated: quantiles of the resampled means, shifted for bias and skewness, so that
    its ends always lie between the smallest and the largest value. It covers a little less than it says for
    few (below about 20) or very skewed values. Equal values, or one, give an interval of no width.
    The same seed gives the same interval.

    Raises:
        InputError: no value, one that is not finite, resamples below 100, confidence outside (0, 1).
    """
    _check_confidence(confidence)
    if resamples < 100:
        raise InputError(f"a bootstrap needs at least 100 resamples, found {resamples}")
    x = _array(values)
    if np.ptp(x) == 0.0:
        return float(x[0]), float(x[0])
    from scipy.special import ndtr, ndtri

    means = _resampled_means(x, resamples, np.random.default_rng(seed))
    deviation = x - x.mean()
    deviation /= np.abs(deviation).max()
    # Equal means, which are likely with few values, count half. Never 0 or 1: the shift would be infinite.
    below = (np.mean(means < x.mean()) + np.mean(means <= x.mean())) / 2
    shift = ndtri(np.clip(below, 1 / (2 * resamples), 1 - 1 / (2 * resamples)))
    acceleration = np.sum(deviation**3) / (
        6.0 * np.sum(deviation**2) ** 1.5
    )  # of the jackknife; at most 1/6 in size
    z = shift + ndtri([(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    stretch = np.maximum(1.0 - acceleration * z, 1e-12)
    low, high = np.quantile(means, ndtr(shift + z / stretch))
    return float(low), float(high)


def mean_over_seeds(values: Values, confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    """(mean, low, high) of `values` (n,), one a seed, in their units: mean -+ t s / sqrt(n) (Student, 1908).

    Exact for normal values, and near it for means over a test set. With one seed the ends are None.

    Raises:
        InputError: no value, one that is not finite, confidence outside (0, 1).
    """
    _check_confidence(confidence)
    x = _array(values)
    if len(x) == 1:
        return float(x[0]), None, None
    if np.ptp(x) == 0.0:
        return float(x[0]), float(x[0]), float(x[0])
    from scipy.special import stdtrit

    mean = math.fsum(x) / len(x)
    half = float(stdtrit(len(x) - 1, (1.0 + confidence) / 2.0) * x.std(ddof=1) / math.sqrt(len(x)))
    return mean, mean - half, mean + half


def paired_difference(
    a: Values, b: Values, confidence: float = 0.95
) -> tuple[float, float | None, float | None]:
    """`mean_over_seeds` of a - b, where a[i] and b[i] (n,) share a seed: the interval of the paired t-test.

    Pairing takes out what a seed does to both methods: it needs fewer seeds than two separate intervals.

    Raises:
        InputError: as many values in `a` as in `b` missing, and as `mean_over_seeds` does.
    """
    first, second = _array(a), _array(b)
    if len(first) != len(second):
        raise InputError(f"paired values need one of each a seed, found {len(first)} and {len(second)}")
    return mean_over_seeds(first - second, confidence)


def verdict(low: float | None, high: float | None, higher_is_better: bool) -> Verdict:
    """What the interval [low, high] of (method - reference) says about the method.

    "better": the whole interval lies on the good side of 0; "not better": none of it does; else, and without
    an interval (one seed: None), "inconclusive".

    Raises:
        InputError: low above high, a number that is not finite, or only one end given.
    """
    if low is None or high is None:
        if low is not high:
            raise InputError(f"an interval has both ends or none, found {low} and {high}")
        return "inconclusive"
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"an interval must be finite with low <= high, found [{low}, {high}]")
    worst, best = (low, high) if higher_is_better else (-high, -low)
    if worst > 0:
        return "better"
    return "not better" if best <= 0 else "inconclusive"


def _resampled_means(x: np.ndarray, resamples: int, draw: np.random.Generator) -> np.ndarray:
    rows = max(1, _DRAWS_AT_ONCE // len(x))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([x[draw.integers(0, len(x), (size, len(x)))].mean(1) for size in sizes])


def _array(values: Values) -> np.ndarray:
    x = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise InputError(f"values must be a list of at least one number, found the shape {x.shape}")
    if not np.isfinite(x).all():
        raise InputError(f"values must be finite; number {int(np.flatnonzero(~np.isfinite(x))[0])} is not")
    return x


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must lie between 0 and 1 (0.95 is 95 %), found {confidence}")
