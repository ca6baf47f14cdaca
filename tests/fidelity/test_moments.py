"""Moments in pieces against numpy on all values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import InputError
from understudy.fidelity.moments import Moments, moments_of


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=6), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_pieces_against_numpy(pieces: list[list[float]]) -> None:
    seen, values = Moments(), [v for piece in pieces for v in piece]
    for piece in pieces:
        seen.add(torch.tensor(piece, dtype=torch.float64))
    if len(values) < 2:
        return
    found = seen.estimate()
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-7)
    assert found.error == pytest.approx(np.std(values, ddof=1) / len(values) ** 0.5, rel=1e-9, abs=1e-7)


def test_digits_hold_far_from_zero() -> None:
    seen = Moments()
    for _ in range(100):
        seen.add(1e9 + torch.tensor([-1.0, 1.0], dtype=torch.float64))
    assert seen.estimate().mean == 1e9
    assert seen.squares == pytest.approx(200, rel=1e-9)
    assert [one.squares for one in moments_of(torch.tensor([[1e9 - 1, 1e9 + 1]], dtype=torch.float64))] == [
        2.0
    ]


def test_one_value_has_no_error_and_none_no_mean() -> None:
    one = Moments()
    one.add(torch.tensor([True]))
    assert (one.estimate().mean, one.estimate().error) == (1.0, None)
    with pytest.raises(InputError, match="none has been seen"):
        Moments().estimate()
    with pytest.raises(InputError, match="finite"):
        one.add(torch.tensor([1.0, float("inf")]))
    assert one.count == 1
