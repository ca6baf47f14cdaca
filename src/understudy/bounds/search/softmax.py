"""The softmax side of the joint bound, with derivatives: simplex weights, reference rival, sigmoid chords.

A query is a class k and a sign: the raised network's confidence in k minus the lowered one's. With
t = -LSE_j(z_j - z_k) of the raised network and r = LSE_j(z_j - z_k) of the lowered one (j over k's rivals)
the difference is sigmoid(t) + sigmoid(r) - 1. Every line here is above for whatever parameters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds.softmax import sigmoid_difference

ENUMERATED = 10  # free rivals up to which all vertices of their box are looked at
SOFT = 0.1  # how far below the largest a vertex still counts in an intercept's derivative, in units of their mean
ULPS = 64 * 2.0**-53  # relative slack for exp, log and short sums


class Lse(NamedTuple):
    """A box of rival margins d_j = z_j - z_m of the lowered network, prepared for intercepts c(v).

    others: (N, R) the rivals j besides m; low, high: (N, R); corners: LSE(0, d) at every vertex (N, V), or at
    candidates log Y (N, Y) where there are too many vertices.
    """

    others: Int[Tensor, "m r"]
    low: Float[Tensor, "m r"]
    high: Float[Tensor, "m r"]
    corners: Float[Tensor, "m v"]


@lru_cache(maxsize=8)
def vertices(count: int, like: tuple[torch.dtype, str]) -> Float[Tensor, "v r"]:
    """All 0/1 patterns of `count` coordinates."""
    dtype, device = like
    codes = torch.arange(2**count, device=device)
    return ((codes[:, None] >> torch.arange(count, device=device)) & 1).to(dtype)


@lru_cache(maxsize=8)
def rivals_besides(classes: int, device: str) -> Int[Tensor, "c c r"]:
    """[k, m] -> the classes other than k and m, ascending ([k, k] is not used)."""
    rows = []
    for k in range(classes):
        for m in range(classes):
            free = [j for j in range(classes) if j not in (k, m)]
            rows.append(free[: classes - 2])
    return torch.tensor(rows, device=device, dtype=torch.long).reshape(classes, classes, max(classes - 2, 0))


def lse_box(margins: Float[Tensor, "m c c"], k: Int[Tensor, " m"], reference: Int[Tensor, " m"]) -> Lse:
    """The box of rival margins from upper bounds margins[:, i, j] >= z_i - z_j."""
    others = rivals_besides(margins.shape[-1], str(margins.device))[k, reference]
    rows = torch.arange(len(margins), device=margins.device)[:, None]
    high = margins[rows, others, reference[:, None]]
    low = torch.minimum(-margins[rows, reference[:, None], others], high)
    count = others.shape[1]
    if count <= ENUMERATED:
        pattern = vertices(count, (margins.dtype, str(margins.device)))
        at = low[:, None] + pattern * (high - low)[:, None]
        corners = torch.cat([at, at.new_zeros(*at.shape[:2], 1)], 2).logsumexp(2)
    else:
        share = torch.linspace(0, 1, 9, dtype=low.dtype, device=low.device)[:, None]
        at = low[:, None] + share * (high - low)[:, None]
        corners = torch.cat([at, at.new_zeros(*at.shape[:2], 1)], 2).logsumexp(2)
    return Lse(others, low, high, corners)


def slopes(box: Lse, d: Float[Tensor, "m r"]) -> Float[Tensor, "m r"]:
    """Slopes v whose line is low near a `d` of the box: every exponential by its chord, their log by its tangent."""
    shift = torch.cat([box.high, d.new_zeros(len(d), 1)], 1).amax(1, keepdim=True)
    low, high, width = (box.low - shift).exp(), (box.high - shift).exp(), box.high - box.low
    rise = torch.where(width > 1e-6, (high - low) / width.clamp(min=1e-6), high)
    total = (-shift).exp() + (low + rise * (d - box.low)).sum(1, keepdim=True)
    return rise / total


def intercept(box: Lse, v: Float[Tensor, "m r"]) -> tuple[Float[Tensor, " m"], Float[Tensor, "m r"]]:
    """c(v) >= LSE(0, d) - v . d on the box, and where it is nearly reached, which is minus its derivative by v.

    The vertices near the largest count by how near they are: the derivative at the largest alone jumps.
    """
    count = box.others.shape[1]
    if count <= ENUMERATED:
        pattern = vertices(count, (v.dtype, str(v.device)))
        width = box.high - box.low
        at_low = (v * box.low).sum(1, keepdim=True)
        values = box.corners - at_low - (v * width) @ pattern.T
        top = values.amax(1)
        slack = ULPS * (
            box.corners.abs().amax(1) + (v.abs() * torch.maximum(box.low.abs(), box.high.abs())).sum(1)
        )
        below = values - top[:, None]
        near = (below / (SOFT * -below.mean(1, keepdim=True)).clamp(min=1e-30)).softmax(1)
        return top + slack, box.low + (near @ pattern) * width
    # for every Y > 0, log s <= log Y - 1 + s / Y; what is left is a sum of convex functions of one d each
    scale = box.corners[:, :, None]
    ends = torch.stack([box.low, box.high], 0)[:, :, None]
    each = (ends - scale).exp() - v[:, None] * ends
    best, side = each.max(0)
    values = scale[..., 0] - 1 + (-scale[..., 0]).exp() + best.sum(2)
    top, place = values.nan_to_num(nan=torch.inf).min(1)
    rows = torch.arange(len(v), device=v.device)
    reached = torch.where(side[rows, place] == 1, box.high, box.low)
    slack = (
        ULPS * (len(v[0]) + 4) * (each[:, rows, place].abs().amax(0).sum(1) + scale[rows, place, 0].abs() + 2)
    )
    return top + slack, reached


def entropy_line(
    omega: Float[Tensor, "m c"], k: Int[Tensor, " m"]
) -> tuple[Float[Tensor, "m c"], Float[Tensor, " m"], Float[Tensor, "m c"]]:
    """t <= (e_k - w) . z - H(w), w = softmax of omega over k's rivals: coefficients, constant, log w.

    Any w on the simplex is sound. What rounding leaves of sum(w) - 1 is carried by the walk's error bound.
    """
    masked = omega.scatter(1, k[:, None], -torch.inf)
    log_weights = masked.log_softmax(1)
    weights = log_weights.exp()
    held = log_weights.masked_fill(weights == 0, 0.0)
    constant = (weights * held).sum(1)
    coefficients = (-weights).scatter(1, k[:, None], weights.sum(1, keepdim=True))
    return coefficients, constant + ULPS * constant.abs(), held


def reference_line(
    box: Lse, v: Float[Tensor, "m r"], k: Tensor, m: Tensor, classes: int
) -> Float[Tensor, "m c"]:
    """Coefficients of (z_m - z_k) + v . d on the lowered network's logits."""
    rows = v.new_zeros(len(v), classes)
    rows.scatter_(1, box.others, v)
    rows.scatter_add_(1, m[:, None], 1 - v.sum(1, keepdim=True))
    return rows.scatter_add_(
        1, k[:, None], torch.full_like(v[:, :1], -1.0) if v.shape[1] else -torch.ones_like(rows[:, :1])
    )


def chord(low: Tensor, high: Tensor) -> Tensor:
    """Slope of the sigmoid's chord on [low, high]; its derivative where they are equal."""
    width = high - low
    tangent = high.sigmoid() * (-high).sigmoid()
    return torch.where(width > 1e-9, sigmoid_difference(high, low) / width.clamp(min=1e-9), tangent)


def sigmoid_intercept(q: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """B = max of sigmoid(x) - q x over [low, high], q >= 0; where it is reached; its derivative by `high`."""
    root = (1 - 4 * q).clamp(min=0).sqrt()
    # log((1 + R) / (1 - R)) with 1 - R written as 4 q / (1 + R); q = 0 gives +inf, which is clipped to high
    later = 2 * torch.log1p(root) - (4 * q).log()
    inner = torch.minimum(torch.maximum(later, low), high)
    points = torch.stack([low, high, inner])
    values = points.sigmoid() - q * points
    top, place = values.max(0)
    reached = points.gather(0, place[None])[0]
    slope = torch.where(reached >= high, high.sigmoid() * (-high).sigmoid() - q, torch.zeros_like(q))
    slack = ULPS * (1 + q * torch.maximum(low.abs(), high.abs()))
    return top + slack, reached, slope
