from __future__ import annotations

import math

import pytest

from understudy.errors import InputError
from understudy.numbers import check_number, read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        (".03", 0.03),
        ("8/255", 8 / 255),
        (" 1 / 4 ", 0.25),
        ("-2", -2.0),
        ("1e-3", 1e-3),
        ("1e1/1e2", 0.1),
    ],
)
def test_numbers_and_fractions(text: str, value: float) -> None:
    assert read_number("eps", text) == value


@pytest.mark.parametrize("text", ["", "x", "1/0", "1/2/3", "1/", "/2", "0,1", "--1"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(InputError, match="eps must be a number or a fraction such as 8/255, found "):
        read_number("eps", text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "1/inf".replace("1", "inf")])
def test_what_is_not_finite(text: str) -> None:
    with pytest.raises(InputError, match="eps must be a finite number, found"):
        read_number("eps", text)


def test_check_number() -> None:
    check_number("a", 0.0, 0.0)
    check_number("a", 1.0, 0.0, 1.0)
    check_number("a", 1e-300, 0.0, above=True)
    for value, more, said in [
        (-0.1, {}, r"a must be a finite number of at least 0, found -0\.1"),
        (math.nan, {}, "a must be a finite number of at least 0, found nan"),
        (math.inf, {}, "found inf"),
        (0.0, {"above": True}, r"a must be a finite number above 0, found 0\.0"),
        (1.1, {"high": 1.0}, r"a must be from 0 to 1, found 1\.1"),
        (0.0, {"high": 1.0, "above": True}, "a must be above 0 to 1"),
    ]:
        with pytest.raises(InputError, match=said):
            check_number("a", value, 0.0, **more)  # type: ignore[arg-type]
