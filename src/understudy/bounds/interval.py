"""Interval arithmetic (Gowal et al. 2018, arXiv 1810.12715): two forward passes, middle and radius."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.graph import Add, Graph, Op, Relu
from understudy.bounds.ops import Affine, forward
from understudy.bounds.region import Region

Interval = tuple[Tensor, Tensor]  # lower and upper, of one shape


def propagate(op: Op, parents: list[Interval]) -> Interval:
    """Lower and upper of one operation's result, from its parents'. NaN in gives NaN out."""
    if isinstance(op, Relu):
        low, high = parents[0]
        return low.clamp(min=0), high.clamp(min=0)
    halves = [((low + high) / 2, (high - low) / 2) for low, high in parents]
    if isinstance(op, Add):
        middle = _weighted(op.coefficients, [half[0] for half in halves])
        radius = _weighted(tuple(abs(c) for c in op.coefficients), [half[1] for half in halves])
    else:
        affine = cast(Affine, op)
        middle, radius = forward(affine, halves[0][0]), affine.spread(halves[0][1])
    return middle - radius, middle + radius


def _weighted(coefficients: tuple[float, ...], values: list[Tensor]) -> Tensor:
    total = coefficients[0] * values[0]
    for coefficient, value in zip(coefficients[1:], values[1:], strict=True):
        total = total + coefficient * value
    return total


def interval_bounds(graph: Graph, region: Region) -> list[Interval]:
    """Lower and upper of every node over the box around each ball, in the graph's order, each (b, ...)."""
    bounds = [region.box]
    for node in graph.nodes[1:]:
        bounds.append(propagate(node.op, [bounds[parent] for parent in node.parents]))
    return bounds


def interval_margins(graph: Graph, bounds: list[Interval]) -> Float[Tensor, "b c c"]:
    """Upper bounds of z_j - z_k at [:, j, k]; a linear last layer's rows are subtracted first."""
    last = graph.nodes[-1]
    low, high = bounds[-1]
    loose = high[:, :, None] - low[:, None, :]
    weight = getattr(last.op, "weight", None)
    if weight is not None:
        before_low, before_high = bounds[last.parents[0]]
        logits = forward(cast(Affine, last.op), (before_low + before_high) / 2)
        radius = (before_high - before_low) / 2
        for k in range(len(weight)):  # one class at a time: all pairs at once can be large
            spread = radius @ (weight - weight[k]).abs().T
            loose[:, :, k] = torch.minimum(loose[:, :, k], logits - logits[:, k, None] + spread)
    own = loose.diagonal(dim1=1, dim2=2)
    own.copy_(torch.where(own.isnan(), own, torch.zeros_like(own)))
    return loose
