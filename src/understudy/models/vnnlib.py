"""VNN-LIB: a box of inputs and a disjunction of conjunctions over outputs, as text that other verifiers read.

Variables are X_0, X_1, ... (the input, flattened in row-major order without the batch axis) and Y_0, Y_1, ...
(the outputs). "sat" means that an input of the box has outputs that satisfy the disjunction. Only comparisons of an
output with a number or with another output are used, in decimals without exponents: every tool reads those.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from understudy.errors import InputError


@dataclass(frozen=True)
class Atom:
    """Y_`output` >= `right` (or <= with `at_least` False); `right` is a literal, or "Y_3"."""

    output: int
    right: str
    at_least: bool = True

    def __str__(self) -> str:
        return f"({'>=' if self.at_least else '<='} Y_{self.output} {self.right})"


Cases = Sequence[Sequence[Atom]]  # a disjunction of conjunctions


def literal(value: Fraction | float, *, up: bool) -> str:
    """A decimal that is not below `value` with `up` (else not above it), as written and as the nearest double.

    Raises:
        InputError: the value is not finite, or larger than every double.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"a number in VNN-LIB must be finite, found {value}")
    exact = Fraction(value)
    if abs(exact) > Fraction(sys.float_info.max):
        raise InputError("a number in VNN-LIB must be a double, found one that is larger than all of them")
    near = float(exact)
    while True:
        # + 0.0: no minus zero; beyond the last double there is none to round to, so that one is written in full
        last = abs(near) == sys.float_info.max
        text = f"{Decimal(near) if last else Decimal(repr(near + 0.0)):f}"
        both = (Fraction(text), Fraction(near))
        if all(one >= exact if up else one <= exact for one in both):
            return text if "." in text else f"{text}.0"
        near = math.nextafter(near, math.inf if up else -math.inf)


def box_around(point: Sequence[float], eps: float, low: float, high: float) -> list[tuple[str, str]]:
    """[max(low, x - eps), min(high, x + eps)] for every value x, computed exactly and rounded outward."""
    sides = []
    for x in map(Fraction, point):
        below, above = x - Fraction(eps), x + Fraction(eps)
        below = max(below, Fraction(low)) if math.isfinite(low) else below
        above = min(above, Fraction(high)) if math.isfinite(high) else above
        sides.append((literal(below, up=False), literal(above, up=True)))
    return sides


def vnnlib(box: Sequence[tuple[str, str]], outputs: int, cases: Cases, comments: Sequence[str] = ()) -> str:
    """The file's text: comments, declarations, the box, and the one assertion about the outputs."""
    lines = [f"; {comment}" for comment in comments]
    lines += [f"(declare-const X_{i} Real)" for i in range(len(box))]
    lines += [f"(declare-const Y_{i} Real)" for i in range(outputs)]
    for i, (below, above) in enumerate(box):
        lines += [f"(assert (>= X_{i} {below}))", f"(assert (<= X_{i} {above}))"]
    lines.append("(assert (or")
    lines += [f"    (and {' '.join(map(str, case))})" for case in cases]
    lines.append("))")
    return "\n".join(lines) + "\n"
