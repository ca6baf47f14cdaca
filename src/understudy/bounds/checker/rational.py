"""Rational enclosures of exp, log and what is made of them: every result is at least (or at most) the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

GRID = 2**200
TERMS = 40


def up(x: Fraction) -> Fraction:
    """The next multiple of 1 / GRID, so that numerators stay short."""
    return Fraction(-(-x.numerator * GRID // x.denominator), GRID)


def down(x: Fraction) -> Fraction:
    """The last multiple of 1 / GRID."""
    return -up(-x)


def exp(x: Fraction) -> tuple[Fraction, Fraction]:
    """Enclosure of e^x: the series of e^y, y = |x| / 2^k <= 1/2, squared k times."""
    halvings = max(0, math.ceil(abs(x)).bit_length() + 1)
    y, term, total = abs(x) / 2**halvings, Fraction(1), Fraction(1)
    for n in range(1, TERMS):
        term = up(term * y / n)
        total += term
    # each of the terms is rounded up by less than 2 / GRID, the rest of the series is below the last one's double
    low, high = total - Fraction(2 * TERMS, GRID) - 2 * term, total + 2 * term
    for _ in range(halvings):
        low, high = down(low * low), up(high * high)
    return (down(1 / high), up(1 / low)) if x < 0 else (low, high)


def log(x: Fraction) -> tuple[Fraction, Fraction]:
    """Enclosure of log x, x > 0: x = 2^k m with m near 1, log m = 2 artanh((m - 1) / (m + 1))."""
    k = x.numerator.bit_length() - x.denominator.bit_length()
    m = x / Fraction(2) ** k
    low, high = _log_near_one(m)
    two = _log_near_one(Fraction(2))
    ends = sorted(k * end for end in two)
    return down(low + ends[0]), up(high + ends[1])


def _log_near_one(m: Fraction) -> tuple[Fraction, Fraction]:
    z = (m - 1) / (m + 1)  # |z| <= 1/3 for m in [1/2, 2]
    square, power, low, high = z * z, abs(z), Fraction(0), Fraction(0)
    for n in range(2 * TERMS):
        low, high = low + down(power / (2 * n + 1)), high + up(power / (2 * n + 1))
        power = up(power * square)
    low, high = 2 * (low - Fraction(4 * TERMS, GRID)), 2 * (high + 2 * power)
    return (low, high) if z >= 0 else (-high, -low)


def sigmoid(x: Fraction) -> Fraction:
    """At least 1 / (1 + e^-x)."""
    return up(1 / (1 + exp(-x)[0]))


def least(target: float, other: Fraction) -> tuple[Fraction]:
    """Below it, with the other sigmoid's argument at most `other`, the two sum to at most 1 + target."""
    share = down(Fraction(target) + 1 - sigmoid(other))
    if share <= 0:
        return (Fraction(-(10**9)),)
    return (down(log(share)[0] - log(1 - share)[1]),) if share < 1 else (Fraction(10**9),)


def log_sum_exp(values: Sequence[Fraction]) -> Fraction:
    """At least log sum exp."""
    top = max(values)
    return up(top + log(sum((exp(value - top)[1] for value in values), Fraction(0)))[1])


def sigmoid_above(q: Fraction, low: Fraction, high: Fraction) -> Fraction:
    """At least the maximum of sigmoid(x) - q x on [low, high].

    That is at an end, or where the slope is q. Near there the tangent at a rational point bounds the sigmoid,
    which is concave from 0 on.
    """
    found = max(sigmoid(x) - q * x for x in (low, high))
    if 0 < q < Fraction(1, 4):
        root = math.sqrt(1 - 4 * float(q))
        turn = Fraction(math.log((1 + root) ** 2 / (4 * float(q))))
        near = Fraction(1, 10**6)
        if low - near <= turn <= high + near:
            start, end = max(low, Fraction(0)), max(high, Fraction(0))
            small, large = exp(-turn)
            slopes = (small / (1 + large) ** 2, large / (1 + small) ** 2)
            off = max(abs(slope - q) for slope in slopes) * max(abs(start - turn), abs(end - turn))
            found = max(found, sigmoid(turn) - q * turn + off)
    return up(found)
