"""UB1 and UB2: worked numbers, random instances against the truth, wide and saturated boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from understudy.bounds.softmax import (
    clipped,
    joint,
    log_odds,
    separate,
    shifts,
    sigmoid_difference,
    tanh_gap,
)


def boxed(low: Tensor, high: Tensor) -> Tensor:
    """margins[:, j, k] >= z_j - z_k for z in a box (b, c)."""
    margins = high[:, :, None] - low[:, None, :]
    return margins - torch.diag_embed(margins.diagonal(dim1=1, dim2=2))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_worked_numbers() -> None:
    """Two classes, x = (.6, .4), eps .1, teacher's logits x, student's 2 x."""
    margins = torch.tensor([[[0.0, 0.4], [0.0, 0.0]]], dtype=torch.float64)  # z_0 - z_1 in [0, .4]
    teacher, student = log_odds(margins), log_odds(2 * margins)
    assert float(separate(teacher, student).max()) == pytest.approx(0.189974, abs=1e-6)
    up, down = shifts(margins)  # e = d^s - d^t = d^t
    assert float(tanh_gap(torch.maximum(up, down)).max()) == pytest.approx(0.099668, abs=1e-6)
    free = (torch.full((1, 2), -50.0).double(), torch.full((1, 2), 50.0).double())
    assert float(joint(free, free, up, down).max()) == pytest.approx(0.099668, abs=1e-6)
    found = float(joint(teacher, student, up, down).max())
    # clip(-.2, 0, .4) = 0: the teacher's log-odds can not be centred around the shift
    assert found == pytest.approx(sigmoid(0.4) - 0.5, abs=1e-12)
    assert sigmoid(0.8) - sigmoid(0.4) == pytest.approx(0.091287, abs=1e-6)
    assert found >= 0.091287


def test_clipped_is_the_maximum_over_its_set() -> None:
    generator = torch.Generator().manual_seed(0)
    ends = (torch.rand(300, 1, 4, generator=generator, dtype=torch.float64) - 0.5) * 12
    base = ends[..., :2].sort(-1).values.unbind(-1)
    raised = ends[..., 2:].sort(-1).values.unbind(-1)
    shift = (torch.rand(300, 1, generator=generator, dtype=torch.float64) - 0.3) * 6
    found = clipped(base, raised, shift)
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)
    a = base[0][..., None] + (base[1] - base[0])[..., None] * grid
    r = torch.minimum(a + shift[..., None], raised[1][..., None])  # the largest allowed
    allowed = r >= raised[0][..., None]
    value = (r.sigmoid() - a.sigmoid()).masked_fill(~allowed, -torch.inf).amax(-1)
    feasible = value.isfinite()
    assert feasible.sum() > 100
    assert (found >= value - 1e-12)[feasible].all()
    assert (found - value)[feasible].max() < 8e-3  # a quarter of the grid's largest step


def test_both_signs_of_the_joint_bound_on_random_boxes() -> None:
    """z_s = z_t + noise in a box: the truth is below, and one sign alone is not enough."""
    generator = torch.Generator().manual_seed(1)
    one_sided = 0
    for classes in (2, 3, 10):
        low = torch.randn(200, classes, generator=generator, dtype=torch.float64) * 2
        width = torch.rand(200, classes, generator=generator, dtype=torch.float64) * 2
        shift = torch.randn(200, classes, generator=generator, dtype=torch.float64) * 0.5
        play = torch.rand(200, classes, generator=generator, dtype=torch.float64) * 0.5
        t = (
            low[:, None]
            + width[:, None] * torch.rand(200, 500, classes, generator=generator).double().round()
        )
        s = t + shift[:, None] + play[:, None] * torch.rand(200, 500, classes, generator=generator).double()
        truth = (t.softmax(-1) - s.softmax(-1)).abs().amax(1)
        teacher, student = boxed(low, low + width), boxed(low + shift, low + width + shift + play)
        up, down = shifts(boxed(shift, shift + play))
        odds = log_odds(teacher), log_odds(student)
        assert (truth <= separate(*odds) + 1e-12).all()
        assert (truth <= joint(*odds, up, down) + 1e-12).all()
        assert (truth <= tanh_gap(torch.maximum(up, down)) + 1e-12).all()
        one_sided += int((truth > clipped(*odds, up) + 1e-9).sum())
    assert one_sided > 100


@pytest.mark.parametrize("high", [5.0, 30.0, 60.0, 1e4])
def test_wide_boxes(high: float) -> None:
    """Logits (t, 0, -3), t in [-5, high]: an epsilon in a denominator gets this wrong from high = 30 on."""
    low, top = torch.tensor([[-5.0, 0.0, -3.0]]).double(), torch.tensor([[high, 0.0, -3.0]]).double()
    odds_low, odds_high = log_odds(boxed(low, top))
    at_low = low.softmax(1)
    assert float(odds_high[0, 1].sigmoid()) >= float(at_low[0, 1]) - 1e-15
    assert float(odds_high[0, 1].sigmoid()) == pytest.approx(0.9465, abs=1e-4)
    assert float(odds_high[0, 2].sigmoid()) == pytest.approx(0.0471, abs=1e-4)
    assert odds_low.isfinite().all()
    assert odds_high.isfinite().all()
    fixed = torch.tensor([[1.0, 0.0, 0.0]]).double()
    gap = separate((odds_low, odds_high), log_odds(boxed(fixed, fixed)))
    assert gap.isfinite().all()
    assert (gap <= 1).all()


def test_saturated_differences_keep_their_digits() -> None:
    x, y = torch.tensor([40.0, -38.0, 800.0, 1.0]).double(), torch.tensor([38.0, -40.0, 790.0, 1.0]).double()
    expected = [math.exp(-38) - math.exp(-40), math.exp(-38) - math.exp(-40), 0.0, 0.0]
    assert sigmoid_difference(x, y).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_nan_stays_nan() -> None:
    margins = torch.zeros(1, 3, 3, dtype=torch.float64)
    margins[0, 0, 1] = torch.nan
    odds = log_odds(margins)
    assert odds[0][0, 1].isnan()
    assert odds[1][0, 0].isnan()
    assert separate(odds, log_odds(torch.zeros_like(margins)))[0, :2].isnan().all()
