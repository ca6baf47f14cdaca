"""Intervals of a mean over seeds and examples at once: every student of a method has answered the same examples.

What differs by chance is which seeds were drawn and which examples. The two half-widths add in squares:

    x: (S, N), one value a seed and example;  r_s, c_i: its means by row and by column
    h^2 = (t_{S-1} sd(r) / sqrt S)^2 + (t_{N-1} sd(c) / sqrt N)^2,      mean -+ h

Where the seeds alone vary this is Student's interval over seeds, where the examples alone vary his interval over
examples. What belongs to neither (a seed's luck with one example) is counted in both terms, so that the interval is
somewhat wide rather than narrow. The same of a difference x - y, paired by seed and example, judges two methods.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from understudy.errors import InputError
from understudy.fidelity.intervals import mean_over_seeds


def crossed_mean(
    values: Float[np.ndarray, "s n"], confidence: float = 0.95
) -> tuple[float, float | None, float | None]:
    """(mean, low, high) of `values` (S, N), S seeds by N examples, in their units.

    With one seed the ends are None: what another seed would have given cannot be told. With one example they are
    those over seeds.

    Raises:
        InputError: not two dimensions, no value, one that is not finite, confidence outside (0, 1).
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or x.size == 0:
        raise InputError(f"values must be seeds by examples, at least one each, found the shape {x.shape}")
    mean, low, high = mean_over_seeds(x.mean(1), confidence)
    if low is None or high is None or x.shape[1] == 1:
        return mean, low, high
    _, below, above = mean_over_seeds(x.mean(0), confidence)
    assert below is not None
    assert above is not None
    half = math.hypot((high - low) / 2, (above - below) / 2)
    return mean, mean - half, mean + half


def crossed_difference(
    a: Float[np.ndarray, "s n"], b: Float[np.ndarray, "s n"], confidence: float = 0.95
) -> tuple[float, float | None, float | None]:
    """`crossed_mean` of a - b, where a[s, i] and b[s, i] share the seed and the example.

    Raises:
        InputError: shapes that differ, and as `crossed_mean` does.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise InputError(f"paired values need one shape, found {first.shape} and {second.shape}")
    return crossed_mean(first - second, confidence)
