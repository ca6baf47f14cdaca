"""`Net`: a graph as the search sees it: all ReLU inputs as one flat vector, walks back and forth by hand.

A batch of N search nodes holds (N, n) tensors over all n ReLU inputs of a network, in the graph's order. The
walk back turns rows on some node into bounds that are linear in the input (CROWN, Zhang et al. 2018, arXiv
1811.00866); the walk forth is its derivative: values of the relaxed network at the bound's own maximiser.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds.crown import Pass, Sizes
from understudy.bounds.graph import Add, Graph, Input, Node, Relu, Smooth, evaluate
from understudy.bounds.ops import size
from understudy.bounds.relax import Relaxation
from understudy.bounds.rounding import gamma


class Walk(NamedTuple):
    """Bounds linear in the input: rows (N, r, d), constants (N, r) that hold the rounding on the way, and the
    coefficients met at each activation's output by its position, each (N, r, n_i)."""

    rows: Float[Tensor, "m r d"]
    constant: Float[Tensor, "m r"]
    met: dict[int, Tensor]


@dataclass(frozen=True, eq=False)
class Net:
    """A graph over P balls, and how large rounding errors can get at each of its operators.

    Attributes:
        graph: the network.
        sizes: what rounding is measured by, as in `Pass`; empty where it is not asked for.
        smooth: position of an activation that is not a ReLU -> its lines over each ball, flat (P, size).
    """

    graph: Graph
    sizes: Sizes
    smooth: dict[int, Relaxation]

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Start and end of each ReLU in the flat vector."""
        found, start = [], 0
        for position in self.graph.relus:
            end = start + size(self.graph.nodes[position].shape)
            found.append((start, end))
            start = end
        return tuple(found)

    @cached_property
    def ordinals(self) -> Int[Tensor, " n"]:
        """Which ReLU each entry of the flat vector belongs to."""
        counts = torch.tensor([end - start for start, end in self.spans], dtype=torch.long)
        return torch.arange(len(counts)).repeat_interleave(counts).to(self.graph.device)

    @cached_property
    def deep(self) -> Tensor:
        """Which ReLU inputs (n,) interval arithmetic over a box does not describe exactly."""
        open_ = [not self.graph.tight[self.before(i)] for i in range(len(self.spans))]
        return torch.tensor(open_, dtype=torch.bool, device=self.graph.device)[self.ordinals]

    @property
    def width(self) -> int:
        """Number of ReLU inputs n."""
        return self.spans[-1][1] if self.spans else 0

    def before(self, ordinal: int) -> int:
        """Position of the node that feeds a ReLU."""
        return self.graph.nodes[self.graph.relus[ordinal]].parents[0]

    def flat(self, met: dict[int, Tensor], like: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
        """The coefficients that a walk of one row a node met at all ReLUs; 0 where it did not pass."""
        whole = torch.zeros_like(like)
        for (start, end), position in zip(self.spans, self.graph.relus, strict=True):
            if position in met:
                whole[:, start:end] = met[position][:, 0]
        return whole

    def to(self, dtype: torch.dtype) -> Net:
        """The same network in another precision, without the sizes of rounding errors."""
        nodes = tuple(_cast(node, dtype) for node in self.graph.nodes)
        smooth = {i: _cast_relaxation(line, dtype) for i, line in self.smooth.items()}
        return Net(Graph(nodes, dtype, self.graph.device), {}, smooth)


def _cast(node: Node, dtype: torch.dtype) -> Node:
    if isinstance(node.op, Input | Relu | Smooth | Add):
        return node
    tensors = {k: v.to(dtype) for k, v in vars(node.op).items() if isinstance(v, Tensor)}
    return replace(node, op=replace(node.op, **tensors)) if tensors else node  # type: ignore[type-var]


def _cast_relaxation(line: Relaxation, dtype: torch.dtype) -> Relaxation:
    return Relaxation(**{k: v.to(dtype) for k, v in vars(line).items()})


def net_of(run: Pass) -> Net:
    """A network with what its pass says of rounding errors and of activations that are not split."""
    smooth = {
        position: Relaxation(**{k: v.flatten(1) for k, v in vars(run.relaxations[position]).items()})
        for position, node in enumerate(run.graph.nodes)
        if isinstance(node.op, Smooth)
    }
    return Net(run.graph, run.sizes, smooth)


def walk_back(
    net: Net,
    points: Int[Tensor, " m"],
    rows: Float[Tensor, "m r ..."],
    lines: Relaxation,
    beta: Float[Tensor, "m n"] | None = None,
    start: int | None = None,
) -> Walk:
    """Upper bounds of rows . (value of a node), r of them a search node, linear in the input.

    Args:
        net: the network.
        points: which point each search node belongs to.
        rows: coefficients on the value at `start`.
        lines: each search node's lines over all its ReLU inputs (N, n).
        beta: what is added to the coefficient of each ReLU input: multiplier times the side of its split, an
            upper bound because the split makes the product 0 or more; None for none.
        start: position the rows are on; None for the logits.
    """
    graph = net.graph
    start = len(graph.nodes) - 1 if start is None else start
    pending = {start: rows}
    constant = rows.new_zeros(rows.shape[:2])
    error = gamma(graph.width)
    met: dict[int, Tensor] = {}
    ordinal = sum(position <= start for position in graph.relus)
    for position in range(start, 0, -1):
        node = graph.nodes[position]
        ordinal -= isinstance(node.op, Relu)
        a = pending.pop(position, None)
        if a is None:
            continue
        if isinstance(node.op, Relu | Smooth):
            met[position] = flat = a.flatten(2)
            positive = flat.clamp(min=0)
            if isinstance(node.op, Relu):
                at = slice(*net.spans[ordinal])
                lower, upper, above = (s[:, at] for s in (lines.lower, lines.upper, lines.intercept))
            else:
                line = net.smooth[position]
                lower, upper, above = (spread(s, points) for s in (line.lower, line.upper, line.intercept))
                if line.lower_intercept is not None:
                    below = spread(line.lower_intercept, points)[:, :, None]
                    constant = constant + torch.matmul(flat - positive, below)[:, :, 0]
            constant = constant + torch.matmul(positive, above[:, :, None])[:, :, 0]
            flat = torch.addcmul(flat * lower[:, None], positive, (upper - lower)[:, None])
            if beta is not None and isinstance(node.op, Relu):
                flat = flat + beta[:, None, at]
            _add(pending, node.parents[0], flat.unflatten(2, node.shape))
        elif isinstance(node.op, Add):
            for coefficient, parent in zip(node.op.coefficients, node.parents, strict=True):
                _add(pending, parent, a if coefficient == 1 else coefficient * a)
        elif not isinstance(node.op, Input):
            if node.op.bias is not None:
                constant = constant + a.flatten(2) @ node.op.bias.expand(node.shape).flatten()
            if position in net.sizes:
                sizes = spread(net.sizes[position], points)[:, :, None]
                constant = constant + error * torch.matmul(a.flatten(2).abs(), sizes)[:, :, 0]
            _add(pending, node.parents[0], node.op.adjoint(a.flatten(0, 1)).unflatten(0, a.shape[:2]))
    return Walk(pending[0].flatten(2), constant, met)


def walk_forth(
    net: Net,
    points: Int[Tensor, " m"],
    x: Float[Tensor, "m d"],
    weight: Float[Tensor, " m"],
    lines: Relaxation,
    met: dict[int, Tensor],
) -> tuple[Float[Tensor, "m c"], Float[Tensor, "m n"]]:
    """Derivatives of weight * (rows . (x / weight) + constant) of a walk of one row a node.

    Returns:
        By the coefficients on the logits, and the relaxed values of all ReLU inputs, from which derivatives by
        lower slopes (met * value where met < 0) and multipliers (side * value) follow.
    """
    values: list[Tensor] = [x.view(-1, *net.graph.shape)]
    inputs = torch.zeros_like(lines.upper)
    each, ordinal = weight[:, None], 0
    for position, node in enumerate(net.graph.nodes[1:], start=1):
        parents = [values[i] for i in node.parents]
        if isinstance(node.op, Relu | Smooth):
            z = parents[0].flatten(1)
            if isinstance(node.op, Relu):
                at = slice(*net.spans[ordinal])
                inputs[:, at] = z
                lower, upper, above = (s[:, at] for s in (lines.lower, lines.upper, lines.intercept))
                low = z * lower
                ordinal += 1
            else:
                line = net.smooth[position]
                lower, upper, above = (spread(s, points) for s in (line.lower, line.upper, line.intercept))
                low = z * lower
                if line.lower_intercept is not None:
                    low = low + spread(line.lower_intercept, points) * each
            sign = met[position][:, 0] if position in met else torch.zeros_like(z)
            h = torch.where(sign > 0, torch.addcmul(above * each, z, upper), low)
            values.append(h.view(-1, *node.shape))
        elif isinstance(node.op, Add):
            values.append(evaluate(node.op, parents))
        elif not isinstance(node.op, Input):
            y = node.op.linear(parents[0])
            if node.op.bias is not None:
                y = y + node.op.bias * weight.view(-1, *[1] * (y.dim() - 1))
            values.append(y)
    return values[-1], inputs


def true_values(net: Net, x: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "m c"], Float[Tensor, "m n"]]:
    """The logits and all ReLU inputs at x, without relaxation."""
    values: list[Tensor] = [x.view(-1, *net.graph.shape)]
    inputs: list[Tensor] = [x[:, :0]]
    for node in net.graph.nodes[1:]:
        parents = [values[i] for i in node.parents]
        if isinstance(node.op, Relu):
            inputs.append(parents[0].flatten(1))
        values.append(evaluate(node.op, parents))
    return values[-1], torch.cat(inputs, 1)


def spread(values: Float[Tensor, "p ..."], points: Int[Tensor, " m"]) -> Tensor:
    """What belongs to each node's point; of a single point a view that broadcasts."""
    return values if len(values) == 1 else values[points]


def _add(pending: dict[int, Tensor], position: int, rows: Tensor) -> None:
    held = pending.get(position)
    pending[position] = rows if held is None else held + rows
