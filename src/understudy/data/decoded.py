"""`Decoded`: a data set as plain arrays, on its way from files to a `DataSet`; and its labels' check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from understudy.errors import InputError

Progress = Callable[[int, int], None]
"""Called with (examples done, examples in all) while a set is decoded."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Arrays as they are cached.

    Attributes:
        inputs: (N, channels, height, width) uint8.
        labels: (N,) int64, or (N, classes) of 0 and 1 where an example bears several; or None.
        class_names: in class order, or None if nobody said.
    """

    inputs: UInt8[np.ndarray, "n c h w"] = field(repr=False)
    labels: Int64[np.ndarray, " n *c"] | None = field(default=None, repr=False)
    class_names: tuple[str, ...] | None = None


def clean_labels(found: object, name: str, classes: int | None = None) -> Int64[np.ndarray, " n"] | None:
    """Labels as (N,) int64, or None if there are none (all of them -1 or missing, as in hub test sets).

    Args:
        found: a sequence of N numbers; None stands for a missing one.
        name: what the data set is called in messages.
        classes: how many classes were declared, if anybody said.

    Raises:
        InputError: a label that is not a whole number, not 0..classes-1, or missing while others are there;
            the message names the row.
    """
    values: list[Any] = list(found)  # type: ignore[call-overload]
    labels = np.full(len(values), -1, dtype=np.int64)
    for row, value in enumerate(values):
        if value is None:
            continue
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not abs(value) < 2**53 or value != value // 1:
            raise InputError(f"data set {name!r}: labels must be whole numbers, found {value!r} at row {row}")
        labels[row] = int(value)
    missing = labels == -1
    if missing.all():
        return None
    wrong = missing | (labels < 0) | (labels >= (classes if classes is not None else np.iinfo(np.int64).max))
    if wrong.any():
        row = int(wrong.argmax())
        top = f"0..{classes - 1}" if classes is not None else "0 or more"
        raise InputError(
            f"data set {name!r}: labels must be {top} (or all missing), found {values[row]} at row {row}"
        )
    return labels
