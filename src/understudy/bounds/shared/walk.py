"""Rows on a node's values in both networks, walked back to the input through both at once.

A row is a . (s - t) + c . t with t the teacher's values at a node and s the student's. Where t = T x + v and
s = S y + w it becomes (a S) . (y - x) + (a S + (c - a) T) . x plus a constant, so that what is equal in the
two networks cancels; an activation is replaced by the planes around f(y) - f(x) and the lines around f(x). At
the input y = x.

Rounding: every step's error is at most gamma_n = n u / (1 - n u) times the same step on absolute values (n
terms a sum, u the rounding unit). An error in a coefficient shifts the row by at most that times the value
behind it, which `size`, a bound of |x| + |y| from both networks' intervals, is. The sum over all steps is
carried along as `error`. So the bound holds in real arithmetic on the stored weights, given that the
intervals do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds import ops
from understudy.bounds.crown import Pass
from understudy.bounds.graph import Activation, Add, Graph, Input
from understudy.bounds.interval import Interval
from understudy.bounds.region import Region
from understudy.bounds.shared.planes import PairRelaxation

MOVES = (ops.Reshape, ops.Permute, ops.Pad, ops.Slice)  # numbers are copied, nothing is rounded
TINY = 1e-290  # more than all underflows together: each loses at most 1e-308


class Walk(NamedTuple):
    """rows . input + constant (+ error) is an upper bound; k = 1 where shared by all points."""

    rows: Float[Tensor, "k r ..."]
    constant: Float[Tensor, "n r"]
    error: Float[Tensor, "b r"]


@dataclass(frozen=True, eq=False)
class Twin:
    """Two networks of one structure, and what bounds their values and their rounding over one region.

    Attributes:
        teacher, student: the networks.
        size: per node a bound of |x| + |y| (b, ...).
        magnitude: per affine node that computes, what rounding does to the teacher's and to the student's
            rows, each (b, n): gamma (|T| size + |v|) and, for the two coefficients they are in,
            gamma (2 |S| size + |w|).
    """

    teacher: Graph
    student: Graph
    size: tuple[Tensor, ...]
    magnitude: dict[int, tuple[Tensor, Tensor]]

    def gamma(self, terms: int) -> float:
        """Relative error of a sum of so many terms, and of its way into the constant over all nodes."""
        return gamma(self.teacher, terms)

    def at(self, index: Int[Tensor, " m"]) -> Twin:
        """For parts of the region's balls `index`."""
        sizes = tuple(size[index] for size in self.size)
        magnitude = {i: (ours[index], theirs[index]) for i, (ours, theirs) in self.magnitude.items()}
        return Twin(self.teacher, self.student, sizes, magnitude)


def gamma(graph: Graph, terms: int) -> float:
    """Relative error of a sum of so many terms, and of its way into a constant over all the graph's nodes."""
    count = terms + len(graph.nodes) + 16
    unit = torch.finfo(graph.dtype).eps / 2
    return count * unit / (1 - count * unit)


def twin_of(teacher: Pass, student: Pass) -> Twin:
    """Both networks with their sizes over the region of the passes."""
    ends = zip(teacher.bounds, student.bounds, strict=True)
    size = tuple(_largest(x) + _largest(y) for x, y in ends)
    magnitude = {}
    for position, node in enumerate(teacher.graph.nodes):
        if isinstance(node.op, (Input, Add, Activation, *MOVES)):
            continue
        parts = []
        for run, times in ((teacher, 1), (student, 2)):
            op = cast(ops.Affine, run.graph.nodes[position].op)
            rounding = gamma(run.graph, _terms(op, node.shape)) * times
            spread = rounding * op.spread(size[node.parents[0]])
            if op.bias is not None:
                spread = spread + gamma(run.graph, ops.size(node.shape)) * op.bias.abs()
            parts.append(spread.flatten(1))
        magnitude[position] = (parts[0], parts[1])
    return Twin(teacher.graph, student.graph, size, magnitude)


@dataclass(eq=False)
class _Pending:
    """Rows that wait at each node for the walk to come by, and the error made so far."""

    twin: Twin
    rows: dict[int, tuple[Tensor, Tensor]]
    error: Tensor

    def add(self, position: int, a: Tensor, c: Tensor) -> None:
        held = self.rows.get(position)
        if held is not None:
            a, c = a + held[0], c + held[1]
            self.charge(self.twin.gamma(1) * (a.abs() + c.abs()), self.twin.size[position])
        self.rows[position] = (a, c)

    def charge(self, rows: Tensor, size: Tensor) -> None:
        self.error = self.error + weigh(rows, size)


def _terms(op: ops.Affine, shape: tuple[int, ...]) -> int:
    """How many products a coefficient on the operator's input sums up, at most."""
    if isinstance(op, ops.Scale):
        return 1
    if isinstance(op, ops.Conv2d):
        return op.weight[:, 0].numel()
    return ops.size(shape)


def _largest(interval: Interval) -> Tensor:
    return torch.maximum(interval[0].abs(), interval[1].abs())


def weigh(rows: Float[Tensor, "k r ..."], values: Float[Tensor, "n ..."]) -> Float[Tensor, "b r"]:
    """rows . values at each point; one of the two may be shared by all points."""
    return torch.matmul(rows.flatten(2), values.flatten(1)[:, :, None])[:, :, 0]


def walk_back(
    twin: Twin,
    relaxations: dict[int, PairRelaxation],
    start: int,
    a: Float[Tensor, "k r ..."],
    c: Float[Tensor, "k r ..."],
) -> Walk:
    """Upper bounds of rows a . (s - t) + c . t on node `start`, as linear functions of the input."""
    constant = a.new_zeros(a.shape[:2])
    pending = _Pending(twin, {start: (a, c)}, a.new_full((len(twin.size[0]), a.shape[1]), TINY))
    for position in range(start, 0, -1):
        held = pending.rows.pop(position, None)
        if held is None:
            continue
        a, c = held
        node = twin.teacher.nodes[position]
        if isinstance(node.op, Activation):
            a, c, added = _through(relaxations[position], a, c, pending, twin.size[node.parents[0]])
            constant = constant + added
            pending.add(node.parents[0], a, c)
        elif isinstance(node.op, Add):
            for k, parent in zip(node.op.coefficients, node.parents, strict=True):
                if abs(k) != 1:
                    pending.charge(twin.gamma(1) * abs(k) * (a.abs() + c.abs()), twin.size[parent])
                pending.add(parent, k * a, k * c)
        else:
            a, c, added = _affine(position, a, c, pending)
            constant = constant + added
            pending.add(node.parents[0], a, c)
    rows = pending.rows[0][1]
    return Walk(rows, constant, pending.error + twin.gamma(1) * constant.abs())


def _affine(position: int, a: Tensor, c: Tensor, pending: _Pending) -> tuple[Tensor, Tensor, Tensor]:
    twin, lead = pending.twin, a.shape[:2]
    ours, theirs = (cast(ops.Affine, graph.nodes[position].op) for graph in (twin.teacher, twin.student))
    own, a = (c - a).flatten(0, 1), a.flatten(0, 1)
    added = a.new_zeros(lead)
    for op, rows in ((ours, own), (theirs, a)):
        bias = ops.offset(op, rows)
        if bias is not None:
            added = added + bias.view(lead)
    if position in twin.magnitude:
        for rows, size in zip((own, a), twin.magnitude[position], strict=True):
            pending.charge(rows.abs().unflatten(0, lead), size)
    through = theirs.adjoint(a)
    return through.unflatten(0, lead), (ours.adjoint(own) + through).unflatten(0, lead), added


def _through(
    relaxation: PairRelaxation, a: Tensor, c: Tensor, pending: _Pending, size: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    above, below, line = relaxation.above, relaxation.below, relaxation.teacher
    up, on = a.clamp(min=0), c.clamp(min=0)
    down, off = a - up, c - on
    added = weigh(up, above.intercept) + weigh(down, below.intercept) + weigh(on, line.intercept)
    intercepts = above.intercept.abs() + below.intercept.abs()
    own = line.intercept.abs()
    if line.lower_intercept is not None:
        added = added + weigh(off, line.lower_intercept)
        own = own + line.lower_intercept.abs()
    # slopes are at most 3 and each new coefficient is a sum of at most four products
    one, all_ = pending.twin.gamma(1), pending.twin.gamma(ops.size(tuple(size.shape[1:])))
    pending.charge(a.abs(), 4 * one * size + all_ * intercepts)
    pending.charge(c.abs(), 4 * one * size + all_ * own)
    along = _mix(up, above.along, down, below.along)
    across = _mix(up, above.across, down, below.across) + _mix(on, line.upper, off, line.lower)
    return along, across, added


def _mix(up: Tensor, above: Tensor, down: Tensor, below: Tensor) -> Tensor:
    return torch.addcmul(up * above[:, None], down, below[:, None])


def concretise(twin: Twin, walk: Walk, region: Region) -> Float[Tensor, "b r"]:
    """The largest value of each bound on each region, its rounding error included."""
    top = region.maximum(walk.rows, walk.constant)
    reach = region.middle.abs() + region.radius
    if region.eps is not None:
        reach = reach + region.eps
    last = twin.gamma(reach.shape[1]) * (weigh(walk.rows.abs(), reach) + walk.constant.abs())
    return top + 1.001 * (walk.error + last)
