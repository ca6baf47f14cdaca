"""Backward bound propagation (CROWN, Zhang et al. 2018, arXiv 1811.00866), batched over points and rows.

A row is a linear function of some node's value. Its upper bound as a linear function of the input is found by
walking back through the graph: affine operators by their adjoint, a ReLU by the line above it where the
coefficient is positive and the line below it where it is negative. A lower bound is the upper bound of the
negated row.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds.graph import Add, Graph, Input, Relu
from understudy.bounds.interval import Interval, propagate
from understudy.bounds.ops import offset, size
from understudy.bounds.region import Region
from understudy.bounds.relax import Relaxation, relax
from understudy.bounds.unit import unit_rows

BATCH_BUDGET = 2**22  # numbers in all rows of a batch of points, which decides how many points it has
ROWS_BUDGET = 2**20  # numbers in the rows walked back at once (8 MiB in float64: near a cache's size)

Rows = tuple[Float[Tensor, "m r ..."], Float[Tensor, "m r"]]  # coefficients on the input, constants


@dataclass(frozen=True, eq=False)
class Pass:
    """One network over one region: every node's interval, every ReLU's relaxation, by position."""

    graph: Graph
    bounds: list[Interval]
    relaxations: dict[int, Relaxation]
    complete: bool  # False where the deadline left some nodes with interval arithmetic alone


def backward(
    graph: Graph, relaxations: dict[int, Relaxation], start: int, rows: Float[Tensor, "k r ..."]
) -> Rows:
    """Upper bounds of rows on node `start`, as linear functions of the input.

    `rows` are shared by all points (k = 1) or a point; the result is shared where no ReLU was met.
    """
    pending = {start: rows}
    constant = rows.new_zeros(rows.shape[:2])
    for position in range(start, 0, -1):
        node = graph.nodes[position]
        a = pending.pop(position, None)
        if a is None:
            continue
        if isinstance(node.op, Relu):
            a, added = _through_relu(relaxations[position], a)
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
            _accumulate(pending, node.parents[0], affine.adjoint(flat).unflatten(0, a.shape[:2]))
    return pending[0], constant


def _accumulate(pending: dict[int, Tensor], position: int, rows: Tensor) -> None:
    held = pending.get(position)
    pending[position] = rows if held is None else held + rows


def _through_relu(relaxation: Relaxation, a: Tensor) -> tuple[Tensor, Tensor]:
    positive = a.clamp(min=0)
    added = torch.matmul(positive.flatten(2), relaxation.intercept.flatten(1)[:, :, None])[:, :, 0]
    lower, upper = relaxation.lower[:, None], relaxation.upper[:, None]
    return torch.addcmul(a * lower, positive, upper - lower), added


def crown_pass(graph: Graph, region: Region, deadline: float | None = None) -> Pass:
    """Intervals of all nodes: by interval arithmetic, met with CROWN where a ReLU may switch.

    After `deadline` (as `time.perf_counter` counts) the remaining nodes keep interval arithmetic, also sound.
    """
    bounds: list[Interval] = [region.box]
    relaxations: dict[int, Relaxation] = {}
    complete = True
    for position, node in enumerate(graph.nodes[1:], start=1):
        if isinstance(node.op, Relu):
            before = node.parents[0]
            if not (graph.tight[before] and region.is_box):
                late = deadline is not None and time.perf_counter() > deadline
                complete = complete and not late
                if not late:
                    bounds[before] = tighten(graph, region, relaxations, before, bounds[before])
            relaxations[position] = relax(*bounds[before])
        bounds.append(propagate(node.op, [bounds[parent] for parent in node.parents]))
    return Pass(graph, bounds, relaxations, complete)


def tighten(
    graph: Graph, region: Region, relaxations: dict[int, Relaxation], position: int, known: Interval
) -> Interval:
    """The interval of a node met with CROWN's, for the entries whose sign is open at some point."""
    low, high = (side.flatten(1).clone() for side in known)
    undecided = ~(high <= 0) & ~(low >= 0)  # NaN does not decide
    index = undecided.any(0).nonzero()[:, 0]
    shape = graph.nodes[position].shape
    step = max(1, ROWS_BUDGET // (2 * len(low) * max(graph.width, size(shape))))
    for part in index.split(step):
        start, rows, constant = unit_rows(graph, position, part)
        lines, added = backward(graph, relaxations, start, torch.cat([rows, -rows])[None])
        top, bottom = region.maximum(lines, added + torch.cat([constant, -constant])).chunk(2, dim=1)
        # only where it is needed, so that a point's bounds do not depend on its batch
        here = undecided[:, part]
        high[:, part] = torch.where(here, torch.minimum(high[:, part], top), high[:, part])
        low[:, part] = torch.where(here, torch.maximum(low[:, part], -bottom), low[:, part])
    return low.view_as(known[0]), high.view_as(known[1])


def difference_rows(
    first: Int[Tensor, " r"], second: Int[Tensor, " r"], classes: int, dtype: torch.dtype
) -> Float[Tensor, "1 r c"]:
    """Rows z_first - z_second on the logits, shared by all points."""
    eye = torch.eye(classes, dtype=dtype, device=first.device)
    return (eye[first] - eye[second])[None]
