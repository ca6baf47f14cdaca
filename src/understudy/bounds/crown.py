"""Backward bound propagation (CROWN, Zhang et al. 2018, arXiv 1811.00866), batched over points and rows.

A row is a linear function of some node's value. Its upper bound as a linear function of the input is found by
walking back through the graph: affine operators by their adjoint, an activation by the line above it where the
coefficient is positive and the line below it where it is negative. A lower bound is the upper bound of the
negated row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from understudy.bounds.graph import Activation, Add, Graph, Input
from understudy.bounds.interval import Interval, node_interval
from understudy.bounds.ops import Affine, offset, size
from understudy.bounds.region import Region
from understudy.bounds.relax import Relaxation, relax
from understudy.bounds.rounding import gamma, magnitude
from understudy.bounds.unit import unit_rows

BATCH_BUDGET = 2**22  # numbers in all rows of a batch of points, which decides how many points it has
ROWS_BUDGET = 2**20  # numbers in the rows walked back at once (8 MiB in float64: near a cache's size)

# coefficients on the input, constants: each once for all points (k = 1, m = 1) or a point
Rows = tuple[Float[Tensor, "k r ..."], Float[Tensor, "m r"]]
Sizes = dict[int, Tensor]  # by position of an affine node: |M| |h| + |bias|, flat (b, n)


@dataclass(frozen=True, eq=False)
class Pass:
    """One network over one region: every node's interval, every activation's relaxation, by position.

    `sizes` is what rounding is measured by: carrying coefficients a back through an affine node changes the
    bound by at most gamma |a| . sizes.
    """

    graph: Graph
    bounds: list[Interval]
    relaxations: dict[int, Relaxation]
    complete: bool  # False where the deadline left some nodes with interval arithmetic alone
    sizes: Sizes = field(default_factory=dict)


def backward(
    graph: Graph,
    relaxations: dict[int, Relaxation],
    start: int,
    rows: Float[Tensor, "s r ..."],
    sizes: Sizes,
) -> Rows:
    """Upper bounds of rows on node `start`, as linear functions of the input; rounding is in the constants.

    `rows` are shared by all points (s = 1) or a point; the coefficients are shared where no activation was met.
    """
    pending = {start: rows}
    constant = rows.new_zeros(rows.shape[:2])
    error = gamma(graph.width)
    for position in range(start, 0, -1):
        node = graph.nodes[position]
        a = pending.pop(position, None)
        if a is None:
            continue
        if isinstance(node.op, Activation):
            a, added = _through(relaxations[position], a, error)
            constant = constant + added
            _accumulate(pending, node.parents[0], a)
        elif isinstance(node.op, Add):
            for coefficient, parent in zip(node.op.coefficients, node.parents, strict=True):
                _accumulate(pending, parent, a if coefficient == 1 else coefficient * a)
        elif not isinstance(node.op, Input):
            affine, flat = node.op, a.flatten(0, 1)
            added_bias = offset(affine, flat)
            if added_bias is not None:
                constant = constant + added_bias.view(a.shape[:2])
            if position in sizes:
                constant = constant + error * _weigh(a.abs(), sizes[position])
            _accumulate(pending, node.parents[0], affine.adjoint(flat).unflatten(0, a.shape[:2]))
    return pending[0], constant


def _accumulate(pending: dict[int, Tensor], position: int, rows: Tensor) -> None:
    held = pending.get(position)
    pending[position] = rows if held is None else held + rows


def _through(relaxation: Relaxation, a: Tensor, error: float) -> tuple[Tensor, Tensor]:
    positive = a.clamp(min=0)
    added = _weigh(positive, relaxation.intercept * (1 + error))
    if relaxation.lower_intercept is not None:
        off = error * (relaxation.intercept.abs() + relaxation.lower_intercept.abs())
        added = added + _weigh(a - positive, relaxation.lower_intercept) + _weigh(a.abs(), off)
    lower, upper = relaxation.lower[:, None], relaxation.upper[:, None]
    return torch.addcmul(a * lower, positive, upper - lower), added


def _weigh(a: Tensor, intercept: Tensor) -> Tensor:
    return torch.matmul(a.flatten(2), intercept.flatten(1)[:, :, None])[:, :, 0]


def size_of(op: Affine, interval: Interval) -> Float[Tensor, "b n"]:
    """|M| |h| + |bias| of an affine operator whose input lies in the interval."""
    whole = op.spread(magnitude(*interval))
    return (whole if op.bias is None else whole + op.bias.abs()).flatten(1)


def crown_pass(graph: Graph, region: Region, deadline: float | None = None) -> Pass:
    """Intervals of all nodes: by interval arithmetic, met with CROWN before activations.

    After `deadline` (as `time.perf_counter` counts) the remaining nodes keep interval arithmetic, also sound.
    """
    bounds: list[Interval] = [region.box]
    relaxations: dict[int, Relaxation] = {}
    sizes: Sizes = {}
    complete = True
    for position, node in enumerate(graph.nodes[1:], start=1):
        if isinstance(node.op, Activation):
            before = node.parents[0]
            if not (graph.tight[before] and region.is_box):
                late = deadline is not None and time.perf_counter() > deadline
                complete = complete and not late
                if not late:
                    bounds[before] = tighten(graph, region, relaxations, before, bounds[before], sizes)
            relaxations[position] = relax(node.op, *bounds[before])
        elif isinstance(node.op, Affine) and (node.op.mixes or node.op.bias is not None):
            sizes[position] = size_of(node.op, bounds[node.parents[0]])
        bounds.append(node_interval(graph, position, bounds))
    return Pass(graph, bounds, relaxations, complete, sizes)


def tighten(
    graph: Graph,
    region: Region,
    relaxations: dict[int, Relaxation],
    position: int,
    known: Interval,
    sizes: Sizes,
) -> Interval:
    """The interval of a node met with CROWN's, for the entries that are open at some point.

    Open is an entry whose sign is not known, or, before a smooth function, whose value is not.
    """
    low, high = (side.flatten(1).clone() for side in known)
    settled = high <= low if position in graph.bent else (high <= 0) | (low >= 0)  # NaN does not settle
    undecided = ~settled
    if not bool(undecided.any()):
        return known
    shared = not any(earlier <= position for earlier in graph.activations)  # rows stay the same at all points
    shape = graph.nodes[position].shape
    step = max(1, ROWS_BUDGET // (2 * len(low) * max(graph.width, size(shape))))
    for index, here in _open_entries(undecided, shared, step):
        start, rows, constant = unit_rows(graph, position, index.flatten())
        rows, constant = rows.unflatten(0, index.shape), constant.expand(index.numel()).view(index.shape)
        lines, added = backward(graph, relaxations, start, torch.cat([rows, -rows], 1), sizes)
        top, bottom = region.maximum(lines, added + torch.cat([constant, -constant], 1)).chunk(2, dim=1)
        index = index.expand(len(low), -1)
        old_low, old_high = low.gather(1, index), high.gather(1, index)
        # only where it is needed, so that a point's bounds do not depend on its batch
        high.scatter_(1, index, torch.where(here, torch.minimum(old_high, top), old_high))
        low.scatter_(1, index, torch.where(here, torch.maximum(old_low, -bottom), old_low))
    return low.view_as(known[0]), high.view_as(known[1])


def _open_entries(
    undecided: Bool[Tensor, "b n"], shared: bool, step: int
) -> Iterator[tuple[Int[Tensor, "k r"], Bool[Tensor, "b r"]]]:
    """Entries to bound, `step` at a time, and which of them a point needs: for all points, or a point's own."""
    union = undecided.any(0).nonzero()[:, 0]
    most = int(undecided.sum(1).amax())
    if shared or most > 0.8 * len(union):
        for index in union.split(step):
            yield index[None], undecided[:, index]
        return
    order = undecided.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    for index in order.split(step, dim=1):
        yield index, undecided.gather(1, index)


def difference_rows(
    first: Int[Tensor, " r"], second: Int[Tensor, " r"], classes: int, dtype: torch.dtype
) -> Float[Tensor, "1 r c"]:
    """Rows z_first - z_second on the logits, shared by all points."""
    eye = torch.eye(classes, dtype=dtype, device=first.device)
    return (eye[first] - eye[second])[None]
