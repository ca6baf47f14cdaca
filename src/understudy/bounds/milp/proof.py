"""Bounds that hold in real arithmetic: CROWN rows with any slopes, widened by a running error.

Everything is computed in the graph's floating point. A sum of n products is off by at most
gamma(n) = n u / (1 - n u) times the sum of the products' absolute values (Higham, Accuracy and Stability of
Numerical Algorithms, section 3.1), in whatever order it was taken; those absolute sums are charged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.crown import Pass
from understudy.bounds.graph import Activation, Add, Graph, Input, Relu
from understudy.bounds.interval import Interval
from understudy.bounds.ops import Affine, offset
from understudy.bounds.relax import Relaxation, relax

Duals = dict[
    int, Float[Tensor, "r ..."]
]  # multipliers of y >= z of a layer of ReLUs, row by row, by position

SPARE = 1.01  # for the rounding of the errors themselves


def gamma(graph: Graph) -> float:
    """Relative error of the longest sum of products on any way through the graph, with room to spare."""
    terms = 4 * graph.width + 8 * len(graph.nodes) + 64
    unit = torch.finfo(graph.dtype).eps / 2
    return 2 * terms * unit / (1 - terms * unit)


@dataclass(frozen=True, eq=False)
class Net:
    """One network over one point's region, intervals and relaxations widened so that they hold.

    `reach`: per node |M| times its parent's largest absolute values, plus |bias| (affine nodes only).
    """

    graph: Graph
    bounds: list[Interval]
    relaxations: dict[int, Relaxation]
    reach: dict[int, Tensor]

    @property
    def finite(self) -> bool:
        """Every interval is finite: only then is there anything to prove."""
        return all(bool(side.isfinite().all()) for interval in self.bounds for side in interval)


def nets(run: Pass) -> list[Net]:
    """One `Net` a point. The pass's intervals may have come from interval arithmetic or any CROWN rows."""
    bounds = widened(run)
    found = []
    for i in range(len(bounds[0][0])):
        own = [(low[i : i + 1], high[i : i + 1]) for low, high in bounds]
        relaxations, reach = {}, {}
        for position, node in enumerate(run.graph.nodes):
            if isinstance(node.op, Activation):
                relaxations[position] = relax(node.op, *own[node.parents[0]])
            elif not isinstance(node.op, Input | Add):
                reach[position] = _spread(node.op, _magnitude(own[node.parents[0]]))
        found.append(Net(run.graph, own, relaxations, reach))
    return found


def widened(run: Pass) -> list[Interval]:
    """The pass's intervals, widened by what rounding can have taken off them.

    `mass` bounds all absolute sums that any interval or row of the node was made of; `error` what earlier
    widenings add, as an activation's lines are off by at most a few times its interval's error beyond its ends.
    """
    graph, rounding = run.graph, gamma(run.graph)
    mass, error, bounds = [], [], []
    for position, (node, interval) in enumerate(zip(graph.nodes, run.bounds, strict=True)):
        if isinstance(node.op, Input):
            mass.append(_magnitude(interval))
            error.append(torch.zeros_like(mass[0]))
        elif isinstance(node.op, Activation):
            before = node.parents[0]
            lines = relax(node.op, *run.bounds[before])
            steepest = torch.maximum(lines.lower.abs(), lines.upper.abs())
            highest = lines.intercept.abs()
            if lines.lower_intercept is not None:
                highest = torch.maximum(highest, lines.lower_intercept.abs())
            mass.append(steepest * mass[before] + highest)
            error.append((2 if isinstance(node.op, Relu) else 4) * steepest.clamp(min=1) * error[before])
        elif isinstance(node.op, Add):
            parts = list(zip(node.op.coefficients, node.parents, strict=True))
            mass.append(cast(Tensor, sum(abs(c) * mass[parent] for c, parent in parts)))
            error.append(cast(Tensor, sum(abs(c) * error[parent] for c, parent in parts)) * SPARE)
        else:
            mass.append(_spread(node.op, mass[node.parents[0]]))
            error.append(SPARE * node.op.spread(error[node.parents[0]]))
        error[-1] = error[-1] + rounding * (position + 1) * mass[-1]  # the box's own corners are rounded too
        bounds.append((interval[0] - error[-1], interval[1] + error[-1]))
    return bounds


def upper_lines(
    net: Net, rows: Float[Tensor, "r c"], duals: Duals
) -> tuple[Float[Tensor, "r n"], Float[Tensor, " r"]]:
    """Lines above rows of logits over the net's region: coefficients on the input, constants.

    The constants hold the running error of everything but the last step. Where `duals` has a layer's
    multipliers of y >= z, they decide the lower slopes of its ReLUs that may switch: any slope in [0, 1] is
    sound, and an LP's optimal multipliers give the LP's optimum back.
    """
    graph = net.graph
    last = len(graph.nodes) - 1
    pending = {last: rows}
    constant, charged = rows.new_zeros(len(rows)), rows.new_zeros(len(rows))
    for position in range(last, 0, -1):
        node = graph.nodes[position]
        a = pending.pop(position, None)
        if a is None:
            continue
        if isinstance(node.op, Activation):
            slope, intercept = _chosen(net, position, a, duals.get(position))
            reach = slope.abs() * _magnitude(net.bounds[node.parents[0]]) + intercept.abs()
            charged += (a.abs() * reach).flatten(1).sum(1)
            constant += (a * intercept).flatten(1).sum(1)
            steps = [(node.parents[0], a * slope)]
        elif isinstance(node.op, Add):
            steps = [(parent, c * a) for c, parent in zip(node.op.coefficients, node.parents, strict=True)]
        else:
            affine = cast(Affine, node.op)
            charged += (a.abs() * net.reach[position]).flatten(1).sum(1)
            added = offset(affine, a)
            constant += 0.0 if added is None else added
            steps = [(node.parents[0], affine.adjoint(a))]
        for parent, part in steps:
            charged += (part.abs() * _magnitude(net.bounds[parent])).flatten(1).sum(1)
            pending[parent] = pending[parent] + part if parent in pending else part
            charged += (pending[parent].abs() * _magnitude(net.bounds[parent])).flatten(1).sum(1)
    return pending[0].flatten(1), constant + gamma(graph) * charged


def highest(
    middle: Float[Tensor, " n"],
    radius: Float[Tensor, " n"],
    lines: list[tuple[Float[Tensor, "r n"], Float[Tensor, " r"]]],
    rounding: float,
) -> Float[Tensor, " r"]:
    """Largest value of a sum of lines over a box, rounded up. NaN where it overflowed."""
    rows, constant = lines[0]
    absolute, parts = rows.abs(), constant.abs()
    for more, added in lines[1:]:
        rows, constant = rows + more, constant + added
        absolute, parts = absolute + more.abs(), parts + added.abs()
    top = rows @ middle + rows.abs() @ radius + constant
    top = top + rounding * (absolute @ (middle.abs() + radius) + parts)
    return torch.where(top.isfinite(), top, torch.nan)


def _chosen(net: Net, position: int, a: Tensor, duals: Tensor | None) -> tuple[Tensor, Tensor]:
    """Slope and intercept of the line that each coefficient takes."""
    lines = net.relaxations[position]
    lower = lines.lower
    if duals is not None:
        low, high = net.bounds[net.graph.nodes[position].parents[0]]
        share = (duals / torch.where(a < 0, -a, 1.0)).clamp(0, 1).nan_to_num(nan=0.0)
        lower = torch.where((low < 0) & (high > 0), share, lower)
    below = torch.zeros_like(lines.intercept) if lines.lower_intercept is None else lines.lower_intercept
    return torch.where(a > 0, lines.upper, lower), torch.where(a > 0, lines.intercept, below)


def _magnitude(interval: Interval) -> Tensor:
    return torch.maximum(interval[0].abs(), interval[1].abs())


def _spread(op: Affine, values: Tensor) -> Tensor:
    reached = op.spread(values)
    return reached if op.bias is None else reached + op.bias.abs()
