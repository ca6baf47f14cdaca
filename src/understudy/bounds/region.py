"""`Region`: the balls around a batch of points, and the largest value of a linear function on each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from understudy.attacks.ball import Ball
from understudy.bounds.rounding import gamma
from understudy.errors import InputError


@dataclass(frozen=True, eq=False)
class Region:
    """One ball a point, cut with the valid range.

    Attributes:
        center: the points (b, *shape).
        middle, radius: of the smallest box that holds the ball, rounded outward; flat (b, n).
        eps: Euclidean radius, or None for l_inf balls, which are their box.
    """

    center: Float[Tensor, "b ..."]
    middle: Float[Tensor, "b n"]
    radius: Float[Tensor, "b n"]
    eps: float | None

    @property
    def is_box(self) -> bool:
        return self.eps is None

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """Lower and upper corner, shaped as the points."""
        shape = self.center.shape
        return (self.middle - self.radius).reshape(shape), (self.middle + self.radius).reshape(shape)

    def at(self, index: Int[Tensor, " m"]) -> Region:
        """The balls `index`; a single ball serves them all as it is."""
        if len(self.center) == 1:
            return self
        return Region(self.center[index], self.middle[index], self.radius[index], self.eps)

    def to(self, dtype: torch.dtype) -> Region:
        """The same in another precision."""
        return Region(self.center.to(dtype), self.middle.to(dtype), self.radius.to(dtype), self.eps)

    @cached_property
    def slack(self) -> Float[Tensor, "b n"]:
        """What rounding can do to a product with a point of the ball, as a radius."""
        return gamma(self.middle.shape[1]) * (self.middle.abs() + self.radius)

    def maximum(self, rows: Float[Tensor, "k r ..."], constant: Float[Tensor, "m r"]) -> Float[Tensor, "q r"]:
        """Upper bound of rows . x + constant on each ball: exact over boxes, but for rounding, which is counted.

        `rows` and `constant` are each given once for all points (k = 1, m = 1) or a point (b); a single ball takes
        any number of them. Over an l_2 ball
        the better of the dual norm and the box is taken, row by row. An overflow gives NaN, which proves nothing.
        """
        flat = rows.flatten(2)
        size = flat.abs()
        top = _times(flat, self.middle) + _times(size, self.radius + self.slack)
        if self.eps is not None:
            dual = _times(flat, self.center.flatten(1)) + _times(size, 2 * self.slack)
            dual = dual + self.eps * (1 + gamma(flat.shape[2])) * flat.norm(dim=2)
            top = torch.minimum(top, dual)
        return finite(top + constant)

    def maximiser(self, rows: Float[Tensor, "k n"]) -> Float[Tensor, "k n"]:
        """Where the maximum of rows . x, one row a ball, is reached: of the ball or the box, whichever is lower."""
        at = torch.addcmul(self.middle, self.radius, rows.sign())
        if self.eps is None:
            return at
        norm = rows.norm(dim=1, keepdim=True)
        edge = self.center.flatten(1) + self.eps * rows / torch.where(norm > 0, norm, torch.ones_like(norm))
        lower = (rows * edge).sum(1, keepdim=True) < (rows * at).sum(1, keepdim=True)
        return torch.where(lower, edge, at)


def finite(bounds: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The bounds, NaN where they overflowed: minus infinity would prove what it must not."""
    return torch.where(bounds.isfinite(), bounds, torch.nan)


def _times(rows: Tensor, x: Tensor) -> Tensor:
    """rows (k, r, n) times x (b, n), where either may serve all of the other: (k or b, r)."""
    if len(rows) == 1:
        return x @ rows[0].T
    if len(x) == 1:
        return rows @ x[0]
    return torch.bmm(rows, x[:, :, None])[:, :, 0]


def region(points: Float[Tensor, "b ..."], ball: Ball) -> Region:
    """The region of `ball` around each point.

    Raises:
        InputError: a point that is not finite, or outside the ball's valid range.
    """
    if not bool(points.isfinite().all()):
        raise InputError("the points to bound at hold NaN or infinite values")
    if bool(outside(points, ball).any()):
        raise InputError(
            f"points range over [{float(points.min()):g}, {float(points.max()):g}], outside the valid range "
            f"[{ball.low:g}, {ball.high:g}]"
        )
    low, high = ball.box(points)
    middle = (low + high) / 2
    radius = torch.maximum(high - middle, middle - low)
    # one unit outward for the rounding of x - eps, x + eps and of the middle; a point stays a point
    spacing = torch.finfo(points.dtype).eps * middle.abs().clamp(min=ball.eps)
    radius = torch.where(radius > 0, radius + spacing, radius)
    eps = None if ball.norm == "linf" else ball.eps
    return Region(points, middle.flatten(1), radius.flatten(1), eps)


def outside(points: Float[Tensor, "b ..."], ball: Ball) -> Bool[Tensor, "b ..."]:
    """Where a point's coordinate leaves the valid range."""
    return (points < ball.low) | (points > ball.high)
