"""The two lines bound the ReLU on the whole interval, whatever the interval."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.bounds.graph import Relu
from understudy.bounds.relax import relax

TINY, HUGE = 5e-324, 1e300


def pairs() -> tuple[Tensor, Tensor]:
    ends = torch.tensor(
        [-HUGE, -3.0, -1.0, -1e-9, -1e-300, -TINY, 0.0, TINY, 1e-300, 1e-9, 0.1, 1.0, 7.0, HUGE],
        dtype=torch.float64,
    )
    ends = torch.cat([ends, torch.randn(40, dtype=torch.float64)]).sort().values
    low, high = torch.meshgrid(ends, ends, indexing="ij")
    keep = low <= high
    return low[keep][None], high[keep][None]


def test_sound_and_finite() -> None:
    low, high = pairs()
    lines = relax(Relu(), low, high)
    weights = torch.linspace(0, 1, 41, dtype=torch.float64)[:, None]
    x = torch.minimum(torch.maximum(low * (1 - weights) + high * weights, low), high)
    value = x.clamp(min=0)
    rounding = 1e-15 * x.abs()  # of the comparison below, not of the lines
    assert (lines.lower * x <= value + rounding).all()
    assert (value <= lines.upper * x + lines.intercept + rounding).all()
    for tensor in (lines.lower, lines.upper, lines.intercept):
        assert tensor.isfinite().all()
    assert ((lines.lower >= 0) & (lines.lower <= 1) & (lines.upper >= 0) & (lines.upper <= 1)).all()


@pytest.mark.parametrize(
    ("low", "high", "lower", "upper", "intercept"),
    [(-2, -1, 0, 0, 0), (-1, 0, 0, 0, 0), (0, 2, 1, 1, 0), (1, 2, 1, 1, 0), (-1, 3, 1, 0.75, 0.75),
     (-3, 1, 0, 0.25, 0.75)],
)  # fmt: skip
def test_worked(low: float, high: float, lower: float, upper: float, intercept: float) -> None:
    lines = relax(Relu(), torch.tensor([[low]]).double(), torch.tensor([[high]]).double())
    found = [float(part) for part in (lines.lower, lines.upper, lines.intercept)]
    assert found == pytest.approx([lower, upper, intercept], abs=1e-14)
    assert found[2] >= intercept  # rounded outward


@pytest.mark.parametrize(
    ("low", "high"), [(torch.nan, 1.0), (-1.0, torch.nan), (-1.0, torch.inf), (-torch.inf, 1.0)]
)
def test_unknown_intervals_prove_nothing(low: float, high: float) -> None:
    lines = relax(Relu(), torch.tensor([[low]]).double(), torch.tensor([[high]]).double())
    assert not (lines.upper.isfinite() & lines.intercept.isfinite()).any()
