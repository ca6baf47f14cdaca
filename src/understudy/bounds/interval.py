"""Interval arithmetic (Gowal et al. 2018, arXiv 1810.12715): two forward passes, middle and radius.

Every radius is widened by what rounding can have done, so that intervals hold in real arithmetic.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.graph import Add, Graph, Op, Relu, Smooth
from understudy.bounds.ops import Affine, Linear, Scale, forward
from understudy.bounds.region import Region
from understudy.bounds.rounding import gamma
from understudy.bounds.smooth import image

PAIRS_BUDGET = 2**21  # numbers in the differences of rows taken at once
Interval = tuple[Tensor, Tensor]  # lower and upper, of one shape


def propagate(op: Op, parents: list[Interval]) -> Interval:
    """Lower and upper of one operation's result, from its parents'. NaN in gives NaN out."""
    if isinstance(op, Relu):
        low, high = parents[0]
        return low.clamp(min=0), high.clamp(min=0)
    if isinstance(op, Smooth):
        return image(op.kind, *parents[0])
    if isinstance(op, Add):
        error = gamma(len(parents))
        halves = [
            (middle, radius + error * (middle.abs() + radius)) for middle, radius in map(_halves, parents)
        ]
        middle = _weighted(op.coefficients, [half[0] for half in halves])
        radius = _weighted(tuple(abs(c) for c in op.coefficients), [half[1] for half in halves])
        return middle - radius, middle + radius
    affine = cast(Affine, op)
    if not affine.mixes and affine.bias is None and not isinstance(op, Scale):
        return affine.linear(parents[0][0]), affine.linear(
            parents[0][1]
        )  # entries moved: nothing is computed
    middle, radius = _halves(parents[0])
    error = gamma(middle[0].numel() if len(middle) else 1)
    # what rounding does to M middle + bias and to |M| radius, counted as a wider radius
    radius = affine.spread(torch.add(radius, middle.abs().add_(radius), alpha=error))
    if affine.bias is not None:
        radius = radius + error * affine.bias.abs()
    middle = forward(affine, middle)
    return middle - radius, middle + radius


def _halves(interval: Interval) -> tuple[Tensor, Tensor]:
    low, high = interval
    return (low + high).mul_(0.5), (high - low).mul_(0.5)


def node_interval(graph: Graph, position: int, bounds: list[Interval]) -> Interval:
    """Lower and upper of the node at `position`, from those of the nodes before it."""
    node = graph.nodes[position]
    low, high = propagate(node.op, [bounds[parent] for parent in node.parents])
    if position not in graph.extremes:
        return low, high
    x, y, largest = graph.extremes[position]
    meet = torch.maximum if largest else torch.minimum
    return torch.maximum(low, meet(bounds[x][0], bounds[y][0])), torch.minimum(
        high, meet(bounds[x][1], bounds[y][1])
    )


def _weighted(coefficients: tuple[float, ...], values: list[Tensor]) -> Tensor:
    total = coefficients[0] * values[0]
    for coefficient, value in zip(coefficients[1:], values[1:], strict=True):
        total = total + coefficient * value
    return total


def interval_bounds(graph: Graph, region: Region) -> list[Interval]:
    """Lower and upper of every node over the box around each ball, in the graph's order, each (b, ...)."""
    bounds = [region.box]
    for position in range(1, len(graph.nodes)):
        bounds.append(node_interval(graph, position, bounds))
    return bounds


def interval_margins(graph: Graph, bounds: list[Interval]) -> Float[Tensor, "b c c"]:
    """Upper bounds of z_j - z_k at [:, j, k]; a linear last layer's rows are subtracted first."""
    last = graph.nodes[-1]
    low, high = bounds[-1]
    if isinstance(last.op, Linear):
        before_low, before_high = bounds[last.parents[0]]
        middle, radius = _halves((before_low, before_high))
        logits = forward(last.op, middle)
        error = gamma(middle.shape[1])
        wrong = error * last.op.spread(middle.abs())
        if last.op.bias is not None:
            wrong = wrong + error * last.op.bias.abs()
        spread = _spreads(last.op.weight, radius * (1 + error))
        loose = (logits + wrong)[:, :, None] - (logits - wrong)[:, None, :] + spread
    else:
        loose = high[:, :, None] - low[:, None, :]
    own = loose.diagonal(dim1=1, dim2=2)
    own.copy_(torch.where(own.isnan(), own, torch.zeros_like(own)))
    return loose


def _spreads(weight: Tensor, radius: Tensor) -> Tensor:
    """|W_j - W_k| radius at [:, j, k]."""
    classes, width = weight.shape
    parts = []
    for some in weight.split(max(1, PAIRS_BUDGET // (classes * width))):
        pairs = (some[:, None] - weight).abs().flatten(0, 1)
        parts.append((radius @ pairs.T).view(len(radius), len(some), classes))
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]
