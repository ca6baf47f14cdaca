"""VNN-LIB text: numbers that are never rounded inward, and what a small independent reader finds in it."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import InputError
from understudy.models.vnnlib import Atom, box_around, literal, vnnlib

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(st.fractions() | finite, st.booleans())
def test_a_literal_is_on_the_right_side_and_near(value: Fraction | float, up: bool) -> None:
    text = literal(value, up=up)
    assert "e" not in text.lower()
    assert "." in text
    exact = Fraction(value)
    for read in (Fraction(text), Fraction(float(text))):
        assert read >= exact if up else read <= exact
        assert abs(read - exact) <= 4 * Fraction(math.ulp(float(exact)))


@pytest.mark.parametrize("up", [True, False])
def test_the_largest_doubles_have_literals_and_nothing_beyond_them(up: bool) -> None:
    for largest in (sys.float_info.max, -sys.float_info.max):
        assert Fraction(literal(largest, up=up)) == Fraction(largest)
        with pytest.raises(InputError, match="larger than all of them"):
            literal(2 * Fraction(largest), up=up)


def test_literals_that_are_exact_stay_as_they_are() -> None:
    assert [literal(v, up=up) for v in (0.0, -0.0, 1.0, -2.5, 1e-7) for up in (True, False)] == [
        "0.0", "0.0", "0.0", "0.0", "1.0", "1.0", "-2.5", "-2.5",
        literal(1e-7, up=True), literal(1e-7, up=False),
    ]  # fmt: skip
    assert literal(1e-7, up=True).startswith("0.000000")
    assert literal(Fraction(1, 3), up=True) != literal(Fraction(1, 3), up=False)


def test_the_box_is_cut_and_rounded_outward() -> None:
    box = box_around([0.0, 0.3, 1.0], 0.1, 0.0, 1.0)
    assert box[0][0] == "0.0"
    assert box[2][1] == "1.0"
    assert Fraction(box[1][0]) <= Fraction(0.3) - Fraction(0.1)
    assert Fraction(box[1][1]) >= Fraction(0.3) + Fraction(0.1)
    assert float(box[1][1]) - 0.4 < 1e-15
    assert box_around([0.5], 0.0, -math.inf, math.inf) == [("0.5", "0.5")]
    assert Fraction(box_around([0.0], 2.0, -math.inf, math.inf)[0][0]) == -2


def test_the_text() -> None:
    text = vnnlib(
        [("0.0", "0.5")], 2, [[Atom(0, "0.1"), Atom(1, "Y_0", at_least=False)], [Atom(1, "-0.1")]], ["a"]
    )
    assert text.splitlines() == [
        "; a",
        "(declare-const X_0 Real)",
        "(declare-const Y_0 Real)",
        "(declare-const Y_1 Real)",
        "(assert (>= X_0 0.0))",
        "(assert (<= X_0 0.5))",
        "(assert (or",
        "    (and (>= Y_0 0.1) (<= Y_1 Y_0))",
        "    (and (>= Y_1 -0.1))",
        "))",
    ]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_none(value: float) -> None:
    with pytest.raises(InputError, match="must be finite"):
        literal(value, up=True)
