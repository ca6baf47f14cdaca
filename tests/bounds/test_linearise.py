"""Lines above and below the softmax, against the softmax itself on random, wide, single-point and saturated boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.bounds.linearise import exp_chord, lowered, raised, sigmoid_line
from understudy.bounds.softmax import log_odds

BOXES = [0.0, 1e-12, 1e-3, 0.3, 3.0, 30.0, 800.0]


def margins_of(low: Tensor, high: Tensor) -> Tensor:
    margins = high[:, :, None] - low[:, None, :]
    return margins - torch.diag_embed(margins.diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize("width", BOXES)
@pytest.mark.parametrize("classes", [2, 3, 10, 200])
def test_lines_bound_the_softmax(width: float, classes: int) -> None:
    generator = torch.Generator().manual_seed(2)
    low = torch.randn(20, classes, generator=generator, dtype=torch.float64) * 4
    high = low + width * torch.rand(20, classes, generator=generator, dtype=torch.float64)
    margins = margins_of(low, high)
    odds = log_odds(margins)
    above, below = raised(odds, margins), lowered(margins)
    count = 100 if classes < 100 else 20
    uniform = torch.rand(count, 20, classes, generator=generator, dtype=torch.float64)
    uniform[: count // 2] = uniform[: count // 2].round()
    z = low + (high - low) * uniform
    p = z.softmax(-1)
    rounding = 1e-12 * (1 + width)
    for (coefficients, constants), sign in ((above, 1.0), (below, -1.0)):
        line = torch.einsum("bkj,nbj->nbk", coefficients, z) + constants
        assert (sign * (line - p) >= -rounding).all()
        assert coefficients.sum(-1).abs().max() < 1e-12  # a constant added to all logits changes nothing
        assert coefficients.isfinite().all()
        assert constants.isfinite().all()
    if width <= 1e-3:  # tight where there is nothing to relax
        line = torch.einsum("bkj,nbj->nbk", above[0] - below[0], z) + above[1] - below[1]
        assert line.max() < 1e-6


def test_scalar_lines() -> None:
    low = torch.tensor([-800.0, -5.0, -1.0, 0.0, 2.0, 700.0, -3.0, 1e-9]).double()
    high = low + torch.tensor([100.0, 5.0, 4.0, 1.0, 1e-13, 0.0, 30.0, 0.0]).double()
    x = low + (high - low) * torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    slope, intercept = sigmoid_line(low, high)
    assert (slope * x + intercept >= x.sigmoid() - 1e-13).all()
    assert (slope >= 0).all()
    small = (low < 50) & (high < 50)
    slope, intercept = exp_chord(low[small], high[small])
    line = slope * x[:, small] + intercept
    assert (line >= x[:, small].exp() * (1 - 1e-12)).all()
    ends = torch.stack([line[0], line[-1]]) - torch.stack([low[small], high[small]]).exp()
    assert (ends.abs() <= 1e-12 * high[small].exp()).all()  # a chord, not only a line above


def test_saturated_networks_are_lined_without_overflow() -> None:
    low = torch.tensor([[1e5, 0.0, -1e5]]).double()
    margins = margins_of(low, low + torch.tensor([[1e3, 2e5, 1.0]]).double())
    for coefficients, constants in (raised(log_odds(margins), margins), lowered(margins)):
        assert coefficients.isfinite().all()
        assert constants.isfinite().all()
