"""Numbers as people write them."""

from __future__ import annotations

import math

from understudy.errors import InputError


def read_number(what: str, text: str) -> float:
    """A finite number, also as a fraction such as 8/255.

    Raises:
        InputError: it is not one.
    """
    above, slash, below = text.strip().partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{what} must be a number or a fraction such as 8/255, found {text!r}") from None
    if not math.isfinite(value):
        raise InputError(f"{what} must be a finite number, found {text!r}")
    return value


def check_number(what: str, value: float, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """InputError unless `value` is finite and in [low, high], or in (low, high] with `above`; `what` names it."""
    if math.isfinite(value) and low <= value <= high and not (above and value == low):
        return
    if high < math.inf:
        right = f"{'above' if above else 'from'} {low:g} to {high:g}"
    else:
        right = f"a finite number {'above' if above else 'of at least'} {low:g}"
    raise InputError(f"{what} must be {right}, found {value}")
