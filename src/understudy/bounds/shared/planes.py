"""Planes above and below f(y) - f(x), the difference a neuron of the student makes to the teacher's.

x (the teacher's argument), y (the student's) and d = y - x lie in intervals each, so that (x, y) lies in a
hexagon. A plane is along * d + across * x + intercept. For a ReLU the difference is linear on each quadrant:
against a plane of any slopes it is largest at a corner of the hexagon cut by the two axes, which gives the
intercept. So every plane is sound, whatever slopes were chosen; among some that are faces of the concave
envelope in one case or another, the one that is lowest at the middle is taken. Where both x and y keep their
sign it is exact.

Corners are computed with a few roundings, each at most half a unit in the last place of the largest bound:
intercepts and derived intervals are widened by `SLACK` units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.graph import Activation, Smooth
from understudy.bounds.interval import Interval
from understudy.bounds.relax import Relaxation, relax
from understudy.bounds.shared.slopes import slope_range
from understudy.bounds.smooth import DROP, THRESHOLD

SLACK = 32


class Planes(NamedTuple):
    """along * (y - x) + across * x + intercept, element by element; a first axis may count several."""

    along: Float[Tensor, "*shape"]
    across: Float[Tensor, "*shape"]
    intercept: Float[Tensor, "*shape"]


class Hexagon(NamedTuple):
    """Intervals of x, y and d = y - x."""

    x: Interval
    y: Interval
    d: Interval

    @property
    def swapped(self) -> Hexagon:
        """The same set with the roles of x and y exchanged."""
        return Hexagon(self.y, self.x, (-self.d[1], -self.d[0]))

    @property
    def size(self) -> Tensor:
        """Largest absolute value of x or y."""
        return torch.stack([end.abs() for end in (*self.x, *self.y)]).amax(0)


@dataclass(frozen=True, eq=False)
class PairRelaxation:
    """One activation of both networks: planes around the difference, lines around the teacher's own value."""

    hexagon: Hexagon
    above: Planes
    below: Planes
    teacher: Relaxation


def close(hexagon: Hexagon) -> Hexagon:
    """Every interval met with what the other two imply, rounded outward."""
    (xl, xu), (yl, yu), (dl, du) = hexagon
    slack = 4 * torch.finfo(xl.dtype).eps * hexagon.size
    dl, du = torch.maximum(dl, yl - xu - slack), torch.minimum(du, yu - xl + slack)
    x = torch.maximum(xl, yl - du - slack), torch.minimum(xu, yu - dl + slack)
    y = torch.maximum(yl, xl + dl - slack), torch.minimum(yu, xu + du + slack)
    return Hexagon(x, y, (dl, du))


def relax_pair(op: Activation, hexagon: Hexagon) -> PairRelaxation:
    """Relaxation of f(y) - f(x) and of f(x). Intervals that are NaN give NaN, which proves nothing."""
    hexagon = close(hexagon)
    teacher = relax(op, *hexagon.x)
    if isinstance(op, Smooth):
        return PairRelaxation(hexagon, *_both(op, hexagon), teacher)
    on_x, on_y = (low >= 0 for low, _ in hexagon[:2])
    open_ = ~((on_x | (hexagon.x[1] <= 0)) & (on_y | (hexagon.y[1] <= 0)))
    # where both keep their sign the difference is y, -x, y - x or 0
    along = on_y.to(teacher.upper.dtype)
    across = along - on_x.to(along.dtype)
    part = Hexagon(*((low[open_], high[open_]) for low, high in hexagon))
    above, below = (
        Planes(*(whole.masked_scatter(open_, some) for whole, some in zip(exact, planes, strict=True)))
        for planes, exact in zip(_both(op, part), [(along, across, torch.zeros_like(along))] * 2, strict=True)
    )
    return PairRelaxation(hexagon, above, below, teacher)


def _both(op: Activation, hexagon: Hexagon) -> tuple[Planes, Planes]:
    """A plane above and one below."""
    find = smooth_planes if isinstance(op, Smooth) else relu_planes
    above = _lowest(find(op, hexagon), hexagon)
    turned = hexagon.swapped
    # f(x) - f(y) <= a (x - y) + c y + m, turned round
    a, c, m = _lowest(find(op, turned), turned)
    return above, Planes(a - c, -c, -m)


def _lowest(planes: Planes, hexagon: Hexagon) -> Planes:
    """Element by element the plane that is lowest at the middle."""
    middle_x, middle_d = (sum(ends) / 2 for ends in (hexagon.x, hexagon.d))
    height = planes.along * middle_d + planes.across * middle_x + planes.intercept
    index = height.argmin(0, keepdim=True)
    return Planes(*(part.gather(0, index)[0] for part in planes))


def _clip(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value, low), high)


def corners(hexagon: Hexagon) -> tuple[Tensor, Tensor]:
    """x and y, each (15, *shape), of the corners of a closed hexagon and of its parts in the quadrants."""
    (xl, xu), (yl, yu), (dl, du) = hexagon
    zero = torch.zeros_like(xl)
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    for x in (xl, xu, _clip(zero, xl, xu)):
        low, high = torch.maximum(yl, x + dl), torch.minimum(yu, x + du)
        xs += [x, x, x]
        ys += [low, high, _clip(zero, low, high)]
    for y in (yl, yu, _clip(zero, yl, yu)):
        xs += [torch.maximum(xl, y - du), torch.minimum(xu, y - dl)]
        ys += [y, y]
    return torch.stack(xs), torch.stack(ys)


def _chord(low: Tensor, high: Tensor) -> Tensor:
    """Slope of max(t, 0)'s chord on [low, high]."""
    slope = (high / (high - low)).clamp(0, 1)
    return torch.where(low >= 0, 1.0, torch.where(high <= 0, 0.0, slope))


def _steepness(rise: Tensor, run: Tensor) -> Tensor:
    """rise / run in [0, 1]; 0 where there is none."""
    there = (rise > 0) & (run > 0)
    return torch.where(there, rise / torch.where(there, run, 1.0), 0.0).clamp(max=1.0)


def relu_planes(op: Activation, hexagon: Hexagon) -> Planes:
    """Planes above relu(y) - relu(x), several an element (first axis)."""
    (xl, xu), (yl, yu), (dl, du) = hexagon
    zero, one = torch.zeros_like(xl), torch.ones_like(xl)
    chord, rise = _chord(yl, yu), _chord(dl, du)
    slopes = [
        (one, zero),  # exact where both are on
        (zero, zero),  # exact where both are off
        (rise, zero),  # relu(y) - relu(x) <= max(d, 0) <= its chord
        (chord, chord - 1),  # the chord above relu(y), minus the line x below relu(x)
        (chord, chord),  # the same with the line 0
        (zero, _steepness(du, -xl)),  # while x is below 0, at most what is above 0 of y
        (one, -_steepness(-dl, xu)),  # while x is above 0, d, and what is below 0 of y
    ]
    along, across = (torch.stack(part) for part in zip(*slopes, strict=True))
    xs, ys = corners(hexagon)
    gain, d = ys.clamp(min=0) - xs.clamp(min=0), ys - xs
    tops = [(gain - a * d - c * xs).amax(0) for a, c in zip(along, across, strict=True)]
    slack = SLACK * torch.finfo(xl.dtype).eps * hexagon.size
    return Planes(along, across, torch.stack(tops) + slack)


def smooth_planes(op: Activation, hexagon: Hexagon) -> Planes:
    """Planes above f(y) - f(x) = f'(z) d with z between x and y, and f's own lines at y and x."""
    (xl, xu), (yl, yu), (dl, du) = hexagon
    kind = cast(Smooth, op).kind
    least, most = slope_range(kind, torch.minimum(xl, yl), torch.maximum(xu, yu))
    # d -> max(least d, most d) is convex: under its chord between the ends
    low, high = torch.maximum(least * dl, most * dl), torch.maximum(least * du, most * du)
    width = du - dl
    slope = torch.where(width > 0, (high - low) / torch.where(width > 0, width, 1.0), most)
    slope = _clip(slope, least, most)
    intercept = torch.maximum(low - slope * dl, high - slope * du)
    if kind == "softplus":  # as it is computed, it steps down at a threshold
        intercept = intercept + DROP * (torch.maximum(xu, yu) >= THRESHOLD)
    size = torch.maximum(dl.abs(), du.abs()) * torch.maximum(least.abs(), most.abs())
    own, other = relax(op, yl, yu), relax(op, xl, xu)
    below = torch.zeros_like(xl) if other.lower_intercept is None else other.lower_intercept
    unit = SLACK * torch.finfo(xl.dtype).eps
    return Planes(
        torch.stack([slope, own.upper]),
        torch.stack([torch.zeros_like(xl), own.upper - other.lower]),
        torch.stack([intercept + unit * size, own.intercept - below + unit * (hexagon.size + 1)]),
    )
