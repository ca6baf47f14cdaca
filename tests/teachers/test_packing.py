"""Packed numbers come back exactly, in as many bytes as are said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import InputError
from understudy.teachers.packing import bytes_for, pack, unpack


@pytest.mark.parametrize(
    ("largest", "width"),
    [(0, 2), (9, 2), (65_535, 2), (65_536, 3), (151_935, 3), (2**24 - 1, 3), (2**24, 4), (2**32, 5)],
)
def test_as_many_bytes_as_the_largest_needs(largest: int, width: int) -> None:
    assert bytes_for(largest) == width


@given(st.lists(st.integers(0, 2**40), min_size=1), st.integers(0, 2))
def test_they_come_back(values: list[int], spare: int) -> None:
    width = min(8, bytes_for(max(values)) + spare)
    raw = pack(np.array(values, np.int64), width)
    assert raw.shape == (len(values), width)
    assert unpack(raw).tolist() == values
    assert [int.from_bytes(row.tobytes(), "little") for row in raw] == values


@pytest.mark.parametrize("largest", [-1, 2**63])
def test_what_does_not_fit_is_refused(largest: int) -> None:
    with pytest.raises(InputError, match=r"must lie in 0\.\.2\^63 - 1, found"):
        bytes_for(largest)
