"""Smooth activations: their values, their intervals, and a line above and below each of them on an interval.

A line of any slope s is above f on [l, u] with the intercept max (f(x) - s x). That maximum is bounded piece
by piece of curvature:

- where f is convex, it is taken at an end of the piece, which is l, u or an end of a concave piece;
- where f is concave on [a, b], f lies under its tangent at any p in [a, b], so that the maximum is at most
  f(p) - s p + max(d (a - p), d (b - p)) with d = f'(p) - s.

Both hold for whatever s and p. How they are chosen only decides how tight the line is: the tightest line (least
area between it and f) touches the concave envelope of f over the middle of the interval. It is the tangent at
the middle, the tangent through an end (looked up in a table), or the chord. The line below f is the line above
x -> -f(-x), mirrored.

The curvatures used: sigmoid, tanh and erf are convex left of 0 and concave right of it. GELU (both forms) and
SiLU are x/2 plus an even function; they are convex on [-c, c] and concave outside:
    GELU: f'' = phi(x) (2 - x^2), c = sqrt 2;
    SiLU: f'' = sigmoid'(x) (2 - x tanh(x / 2)), and x tanh(x / 2) increases for x > 0;
    GELU, tanh form with u = k (x + a x^3): f'' has the sign of
    1 + 6 a x^2 - k x (1 + 3 a x^2)^2 tanh(u), and (1 + 6 a x^2) / (1 + 3 a x^2)^2 falls for x > 0.
Softplus is convex. An error in c of one rounding moves f'' by as much over as short a stretch: nothing.

Rounding: values and derivatives computed here are within 16 units in the last place of their size, or of
min(1, |x|) where terms cancel (torch's exp, tanh, erf and erfc are within 4); intercepts are widened by 64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Kind = Literal["sigmoid", "tanh", "erf", "gelu", "gelu_tanh", "silu", "softplus"]
KINDS: tuple[Kind, ...] = get_args(Kind)
THRESHOLD = 20.0  # torch's softplus(x) is x from here on, less than it should be by as much as:
DROP = 2.0611536942919273e-09  # exp(-20), more than log1p(exp(-20))
SLACK = 64  # units in the last place
CUBIC = 0.044715
STEPS = 4096  # entries of a table of tangents

Function = Callable[[Tensor], Tensor]


def value(kind: Kind, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """f(x), as torch's own functions define it."""
    return _softplus(x) if kind == "softplus" else VALUES[kind](x)


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=THRESHOLD)


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * torch.erfc(-math.sqrt(0.5) * x)


def _gelu_slope(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-math.sqrt(0.5) * x) + x * (math.sqrt(0.5 / math.pi) * torch.exp(-0.5 * x * x))


def _inner(x: Tensor) -> Tensor:
    """Twice the argument of the tanh in GELU's second form, where 0.5 (1 + tanh(y)) = sigmoid(2 y)."""
    return math.sqrt(8 / math.pi) * (x + CUBIC * x * x * x)


def _gelu_tanh_slope(x: Tensor) -> Tensor:
    inner = _inner(x)
    step = math.sqrt(8 / math.pi) * (x + 3 * CUBIC * x * x * x)  # x times the derivative of the inner part
    bump = inner.sigmoid() * (-inner).sigmoid()
    return inner.sigmoid() + torch.where(bump > 0, bump * step, 0.0)


def _silu_slope(x: Tensor) -> Tensor:
    return x.sigmoid() * (1 + x * (-x).sigmoid())


VALUES: dict[Kind, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": _gelu,
    "gelu_tanh": lambda x: x * _inner(x).sigmoid(),
    "silu": lambda x: x * x.sigmoid(),
    "softplus": lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())),
}
SLOPES: dict[Kind, Function] = {
    "sigmoid": lambda x: x.sigmoid() * (-x).sigmoid(),
    "tanh": lambda x: 4 * (2 * x).sigmoid() * (-2 * x).sigmoid(),
    "erf": lambda x: math.sqrt(4 / math.pi) * torch.exp(-x * x),
    "gelu": _gelu_slope,
    "gelu_tanh": _gelu_tanh_slope,
    "silu": _silu_slope,
    "softplus": torch.sigmoid,
}
FAR: dict[Kind, float] = {
    "sigmoid": 16.0, "tanh": 8.0, "erf": 5.0, "gelu": 8.0, "gelu_tanh": 7.0, "silu": 30.0, "softplus": 0.0,
}  # fmt: skip
"""The last tangent point in the tables: beyond it the curve is straight to within rounding."""


def _root(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where the function changes sign: it is above 0 at `low` and not at `high`, element by element."""
    for _ in range(110):
        middle = (low + high) / 2
        above = function(middle) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return high


@cache
def bottom(kind: Kind) -> float:
    """Where GELU or SiLU is least."""
    ends = torch.tensor([-2.0, 0.0], dtype=torch.float64)
    return float(_root(lambda x: -SLOPES[kind](x), *ends))


@cache
def bend(kind: Kind) -> float:
    """c > 0 where GELU or SiLU turns from convex to concave: its derivative is largest there."""
    if kind == "gelu":
        return math.sqrt(2.0)
    if kind == "silu":  # x tanh(x / 2) = 2
        return float(_root(lambda x: 2 - x * torch.tanh(x / 2), *torch.tensor([1.0, 4.0]).double()))

    def curvature(x: Tensor) -> Tensor:
        square, inner = CUBIC * x * x, _inner(x)
        bent = math.sqrt(2 / math.pi) * x * (1 + 3 * square) ** 2 * torch.tanh(inner / 2)
        return 1 + 6 * square - bent

    return float(_root(curvature, *torch.tensor([0.5, 3.0]).double()))


@dataclass(frozen=True, eq=False)
class Tangents:
    """Lines through a point of the curve at `start` (ascending) that touch a concave piece at `touch`."""

    start: Tensor
    touch: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The touching point for lines from x; NaN outside the table, where there is none (or no use)."""
        start, touch = (part.to(x.device, x.dtype) for part in (self.start, self.touch))
        index = torch.searchsorted(start, x.contiguous()).clamp(1, len(start) - 1)
        left, right = start[index - 1], start[index]
        share = ((x - left) / (right - left)).nan_to_num(nan=0.0).clamp(0, 1)
        found = torch.lerp(touch[index - 1], touch[index], share)
        return torch.where((x >= start[0]) & (x <= start[-1]), found, torch.nan)

    @property
    def mirrored(self) -> Tangents:
        return Tangents(-self.start.flip(0), -self.touch.flip(0))


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch [low, high] on which a curve is concave, and its tangents from either side of it."""

    low: float
    high: float
    from_left: Tangents | None = None
    from_right: Tangents | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """A function, its derivative, and every piece on which it is concave."""

    value: Function
    slope: Function
    pieces: tuple[Piece, ...]


def _tangents(value: Function, slope: Function, touch: Tensor, far: float) -> Tangents:
    """For each touching point the place between `far` and the first of them where its tangent meets the curve."""

    def excess(x: Tensor) -> Tensor:
        return value(x) - value(touch) - slope(touch) * (x - touch)

    start = _root(excess, torch.full_like(touch, far), torch.full_like(touch, float(touch[0])))
    order = start.argsort(stable=True)
    return Tangents(start[order], touch[order])


@cache
def curves(kind: Kind) -> tuple[Curve, Curve]:
    """The function, and x -> -f(-x)."""
    value, slope = VALUES[kind], SLOPES[kind]

    def mirror_value(x: Tensor) -> Tensor:
        return -value(-x)

    def mirror_slope(x: Tensor) -> Tensor:
        return slope(-x)

    def both(above: tuple[Piece, ...], below: tuple[Piece, ...]) -> tuple[Curve, Curve]:
        return Curve(value, slope, above), Curve(mirror_value, mirror_slope, below)

    if kind == "softplus":
        return both((), (Piece(-math.inf, math.inf),))
    if kind in ("sigmoid", "tanh", "erf"):
        touch = torch.linspace(0, FAR[kind], STEPS, dtype=torch.float64)
        right = Piece(0.0, math.inf, from_left=_tangents(value, slope, touch, -1e12))
        return both((right,), (right,))
    turn = bend(kind)
    outer = _tangents(value, slope, torch.linspace(turn, FAR[kind], STEPS, dtype=torch.float64), 0.0)
    # up to the top of the mirrored curve, ever more slowly: from far away lines touch near the top
    shrinking = torch.logspace(0, -9, STEPS, dtype=torch.float64)
    inner_touch = bottom(kind) - (turn + bottom(kind)) * shrinking
    inner = _tangents(mirror_value, mirror_slope, inner_touch, -1e12)
    left = Piece(-math.inf, -turn, from_right=outer.mirrored)
    right = Piece(turn, math.inf, from_left=outer)
    return both((left, right), (Piece(-turn, turn, inner, inner.mirrored),))


def _slack(dtype: torch.dtype, *sizes: Tensor) -> Tensor:
    """What rounding may have changed in sums of numbers of these sizes, and in what underflows."""
    finfo = torch.finfo(dtype)
    total = sizes[0].abs()
    for size in sizes[1:]:
        total = total + size.abs()
    return SLACK * (finfo.eps * total + finfo.tiny)


def image(
    kind: Kind, low: Float[Tensor, "*shape"], high: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Lower and upper of f on [low, high], rounded outward. NaN in gives NaN out."""
    ends = VALUES[kind](low), VALUES[kind](high)
    small, large = ends
    if kind in ("gelu", "gelu_tanh", "silu"):  # falls to its least value, then rises
        small, large = torch.minimum(*ends), torch.maximum(*ends)
        least = VALUES[kind](torch.full_like(small, bottom(kind)))
        small = torch.where((low < bottom(kind)) & (high > bottom(kind)), least, small)
    elif kind == "softplus":
        small = torch.where(high > THRESHOLD, small - DROP, small)
    reach = torch.maximum(low.abs(), high.abs()).clamp(max=1)
    small, large = (
        small - _slack(low.dtype, small, reach),
        large + _slack(low.dtype, large, reach),
    )
    return small, large


def lines(
    kind: Kind, low: Float[Tensor, "*shape"], high: Float[Tensor, "*shape"]
) -> tuple[
    Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"]
]:
    """Slope and intercept of a line below f on the interval, then of a line above it.

    Ends in the wrong order (by rounding) are exchanged. Where an end is NaN or infinite the intercepts are NaN.
    """
    low, high = torch.minimum(low, high), torch.maximum(low, high)
    least, most = image(kind, low, high)
    plain, mirrored = curves(kind)
    upper, intercept = _above(plain, low, high, most)
    lower, negated = _above(mirrored, -high, -low, -least)
    if kind == "softplus":
        negated = torch.where(high > THRESHOLD, negated + DROP * (1 + 1e-9), negated)
    return lower, -negated, upper, intercept


def _above(curve: Curve, low: Tensor, high: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and intercept of a line above the curve on [low, high], where it is `most` at most."""
    middle, width = low / 2 + high / 2, high - low
    ends = curve.value(low), curve.value(high)
    touch = torch.full_like(low, torch.nan)
    for piece in curve.pieces:
        touch = torch.where(touch.isnan(), _touch(piece, low, high, middle), touch)
    chord = (ends[1] - ends[0]) / width
    tangent = curve.slope(torch.where(touch.isnan(), middle, touch))
    slope = torch.where(touch.isnan() & (width > 0), chord, tangent).clamp(-0.25, 1.25)
    intercept = torch.maximum(ends[0] - slope * low, ends[1] - slope * high)
    reach = torch.maximum(low.abs(), high.abs())
    sizes = [slope * reach, torch.maximum(ends[0].abs(), ends[1].abs()), reach.clamp(max=1)]
    intercept = intercept + _slack(low.dtype, *sizes)
    for piece in curve.pieces:
        intercept = torch.maximum(intercept, _over(curve, piece, slope, low, high, touch))
    flat = ~(slope * middle + intercept <= most)  # also where numbers overflowed
    slope, intercept = torch.where(flat, 0.0, slope), torch.where(flat, most, intercept)
    known = low.isfinite() & high.isfinite()
    return slope, torch.where(known, intercept, torch.nan)


def _touch(piece: Piece, low: Tensor, high: Tensor, middle: Tensor) -> Tensor:
    """Where on the piece the tightest line touches; NaN where it does not touch the piece inside [low, high]."""
    first = last = torch.full_like(low, torch.nan)
    if piece.from_left is not None:
        first = piece.from_left(low)
    if piece.from_right is not None:
        last = piece.from_right(high)
    first = torch.where((low >= piece.low) & (low <= piece.high), low, first)
    last = torch.where((high >= piece.low) & (high <= piece.high), high, last)
    inside = (first <= last) & (first <= high) & (last >= low)
    return torch.where(inside, torch.minimum(torch.maximum(middle, first), last), torch.nan)


def _over(curve: Curve, piece: Piece, slope: Tensor, low: Tensor, high: Tensor, touch: Tensor) -> Tensor:
    """At least the maximum of f(x) - slope * x over the piece's part of [low, high]; -inf where it has none."""
    first, last = low.clamp(min=piece.low), high.clamp(max=piece.high)
    best = torch.full_like(low, torch.inf)
    for point in (torch.minimum(torch.maximum(touch, first), last), first, last):
        value, turn = curve.value(point), curve.slope(point) - slope
        rise = torch.maximum(turn * (first - point), turn * (last - point))
        sizes = [value, slope * point, point.abs().clamp(max=1), rise, slope * (last - first)]
        bound = value - slope * point + rise + _slack(low.dtype, *sizes)
        best = torch.minimum(best, torch.where(bound.isnan(), torch.inf, bound))
    return torch.where(first <= last, best, -torch.inf)
