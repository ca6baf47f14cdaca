"""Lines and intervals of smooth activations hold on the whole interval, in exact arithmetic, and are tight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds.smooth import KINDS, SLOPES, Kind, bend, bottom, curves, image, lines, value

mpmath.mp.dps = 50
CUBIC = mpmath.mpf(0.044715)


def inner(x: Any) -> Any:
    return mpmath.sqrt(2 / mpmath.pi) * (x + CUBIC * x**3)


def logistic(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


EXACT: dict[Kind, Callable[[Any], Any]] = {
    "sigmoid": logistic,
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x * logistic(2 * inner(x)),
    "silu": lambda x: x * logistic(x),
    "softplus": lambda x: x if x > 20 else mpmath.log1p(mpmath.exp(x)),
}
TORCH: dict[Kind, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
}
kinds = pytest.mark.parametrize("kind", KINDS)


def intervals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Of all sizes, on all sides: wide, narrow, points, far from 0, ends at the places where curvature turns."""
    generator = torch.Generator().manual_seed(seed)

    def uniform() -> Tensor:
        return torch.rand(count, generator=generator, dtype=torch.float64)

    center = torch.randn(count, generator=generator, dtype=torch.float64) * 10 ** (uniform() * 3 - 1.5)
    width = 10 ** (uniform() * 9 - 6)
    low, high = center - width * uniform(), center + width * uniform()
    special = torch.tensor(
        [0.0, -0.0, 1.0, 2**0.5, -(2**0.5), 2.3993572805154677, 20.0, 40.0, -40.0, -800.0, 800.0, 1e-8, 5e-324,
         -0.7517915246935644, 1e5, -1e5, 1e12, -1e12, 1e-150, 20.000000001],
        dtype=torch.float64,
    )  # fmt: skip
    first, second = torch.meshgrid(special, special, indexing="ij")
    ends = torch.stack([first.flatten(), second.flatten()]).sort(0).values
    points = special, special.nextafter(torch.full_like(special, torch.inf))
    return torch.cat([low, ends[0], points[0]]), torch.cat([high, ends[1], points[1]])


def inside(low: Tensor, high: Tensor, count: int) -> Tensor:
    """Evenly spaced points of each interval and geometrically spaced ones around 0, (intervals, points)."""
    share = torch.linspace(0, 1, count, dtype=torch.float64)
    even = low[:, None] * (1 - share) + high[:, None] * share
    near = torch.cat([share * 12 - 6, torch.tensor([-1e-9, 1e-9, 20.0, 20.0000001])]).expand(len(low), -1)
    points = torch.cat([even, near], 1)
    return torch.minimum(torch.maximum(points, low[:, None]), high[:, None])


@kinds
def test_lines_hold_on_dense_grids(kind: Kind) -> None:
    low, high = intervals(4000, 1)
    below, shift_below, above, shift_above = (part[:, None] for part in lines(kind, low, high))
    x = inside(low, high, 201)
    found = value(kind, x)
    assert (above * x + shift_above >= found).all()
    assert (below * x + shift_below <= found).all()
    for part in (below, above):
        assert ((part >= -0.25) & (part <= 1.25)).all()


@kinds
def test_lines_and_images_hold_exactly(kind: Kind) -> None:
    """At the points where a line comes nearest to the curve, and at the ends, in 50 digits, without tolerance."""
    low, high = intervals(300, 2)
    least, most = image(kind, low, high)
    parts = lines(kind, low, high)
    below, shift_below, above, shift_above = (part[:, None] for part in parts)
    x = inside(low, high, 301)
    found = value(kind, x)
    nearest = [(above * x + shift_above - found).argmin(1), (found - below * x - shift_below).argmin(1)]
    points = torch.cat([x.gather(1, torch.stack(nearest, 1)), low[:, None], high[:, None]], 1)
    table = torch.stack([*parts, least, most], 1).tolist()
    for (a, b, c, d, bottom_, top), row in zip(table, points.tolist(), strict=True):
        for point in row:
            exact, where = EXACT[kind](mpmath.mpf(point)), mpmath.mpf(point)
            assert mpmath.mpf(a) * where + b <= exact, (row, point)
            assert exact <= mpmath.mpf(c) * where + d, (row, point)
            assert bottom_ <= exact <= top, (row, point)


@kinds
def test_lines_are_the_tightest(kind: Kind) -> None:
    """No slope gives a line that is lower (or higher) at the middle of the interval, but for the table's grid."""
    generator = torch.Generator().manual_seed(3)
    ends = torch.randn(2, 100, generator=generator, dtype=torch.float64).sort(0).values * 4
    low, high = ends[0], ends[1]
    middle = (low + high) / 2
    x = inside(low, high, 501)
    found = value(kind, x)
    top = torch.full_like(middle, torch.inf)
    floor = -top
    for slope in torch.linspace(-0.2, 1.2, 701, dtype=torch.float64):
        rest = found - slope * x
        top = torch.minimum(top, slope * middle + rest.amax(1))
        floor = torch.maximum(floor, slope * middle + rest.amin(1))
    below, shift_below, above, shift_above = lines(kind, low, high)
    assert (above * middle + shift_above <= top + 3e-5).all()
    assert (below * middle + shift_below >= floor - 3e-5).all()


@kinds
def test_images_are_tight(kind: Kind) -> None:
    ends = torch.randn(2, 500, generator=torch.Generator().manual_seed(4), dtype=torch.float64).sort(0).values
    least, most = image(kind, ends[0], ends[1])
    seen = value(kind, inside(ends[0], ends[1], 2001))
    torch.testing.assert_close(least, seen.amin(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(most, seen.amax(1), rtol=0, atol=1e-5)


@kinds
@pytest.mark.parametrize(
    ("low", "high"), [(torch.nan, 1.0), (-1.0, torch.nan), (-torch.inf, 1.0), (-1.0, torch.inf)]
)
def test_unknown_intervals_prove_nothing(kind: Kind, low: float, high: float) -> None:
    _, shift_below, _, shift_above = lines(kind, torch.tensor([low]).double(), torch.tensor([high]).double())
    assert shift_below.isnan().all()
    assert shift_above.isnan().all()
    if low != low or high != high:
        least, most = image(kind, torch.tensor([low]).double(), torch.tensor([high]).double())
        assert least.isnan().any() or most.isnan().any()


@kinds
def test_exchanged_ends_and_huge_intervals(kind: Kind) -> None:
    low = torch.tensor([1.0, -1e300, -1e308], dtype=torch.float64)
    high = torch.tensor([-2.0, 1e300, 1e308], dtype=torch.float64)
    below, shift_below, above, shift_above = lines(kind, low, high)
    for x in (-2.0, -0.3, 0.0, 1.0):
        exact = value(kind, torch.tensor(x).double())
        assert (below * x + shift_below <= exact).all()
        assert (above * x + shift_above >= exact).all()


@kinds
def test_single_precision(kind: Kind) -> None:
    low, high = (part.float() for part in intervals(1000, 5))
    keep = (low <= high) & (high - low < 1e30)
    low, high = low[keep], high[keep]
    parts = [part.double()[:, None] for part in lines(kind, low, high)]
    x = inside(low.double(), high.double(), 101)
    found = value(kind, x)
    assert (parts[0] * x + parts[1] <= found).all()
    assert (parts[2] * x + parts[3] >= found).all()


@kinds
def test_values_are_torchs(kind: Kind) -> None:
    far = torch.tensor([-1e300, 1e300, -800.0, 800.0], dtype=torch.float64)
    x = torch.cat([torch.linspace(-60, 60, 4001, dtype=torch.float64), far])
    found = value(kind, x)
    torch.testing.assert_close(found, TORCH[kind](x), rtol=1e-13, atol=1e-15)
    x = x[:4001].requires_grad_()
    (slope,) = torch.autograd.grad(value(kind, x).sum(), x)
    if kind != "softplus":  # torch's has slope 1 from 20 on
        torch.testing.assert_close(slope, SLOPES[kind](x), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "silu"])
def test_places_of_curvature(kind: Kind) -> None:
    least = mpmath.findroot(lambda x: mpmath.diff(EXACT[kind], x), -1.0)
    turn = mpmath.findroot(lambda x: mpmath.diff(EXACT[kind], x, 2), 1.6 if kind != "silu" else 2.4)
    assert bottom(kind) == pytest.approx(float(least), abs=1e-14)
    assert bend(kind) == pytest.approx(float(turn), abs=1e-14)
    x = torch.linspace(-30, 30, 20001, dtype=torch.float64)
    even = value(kind, x) - x / 2
    torch.testing.assert_close(even, even.flip(0), rtol=0, atol=1e-13)


@kinds
def test_curvature_is_as_stated(kind: Kind) -> None:
    """Derivatives fall on the stated concave pieces, and rise elsewhere: the proof rests on it."""
    for curve in curves(kind):
        x = torch.linspace(-6, 6, 1202, dtype=torch.float64)  # coarse enough for differences to have a sign
        slope = curve.slope(x)
        middle = (x[1:] + x[:-1]) / 2
        concave = torch.zeros_like(middle, dtype=torch.bool)
        for piece in curve.pieces:
            concave |= (x[:-1] >= piece.low) & (x[1:] <= piece.high)
        falls = slope[1:] - slope[:-1]
        clear = falls.abs() > 1e-12
        turns = torch.tensor([end for piece in curve.pieces for end in (piece.low, piece.high)])
        clear &= ((middle[:, None] - turns).abs() > 0.01).all(1)
        assert (falls[concave & clear] < 0).all()
        assert (falls[~concave & clear] > 0).all()
