"""Bounds of the difference of all neurons of two networks of one structure, and of rows on their logits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds import crown
from understudy.bounds.crown import Pass
from understudy.bounds.graph import Activation, Graph, Relu
from understudy.bounds.interval import Interval
from understudy.bounds.ops import Conv2d, Linear, identity_rows, size
from understudy.bounds.region import Region
from understudy.bounds.shared.match import matches
from understudy.bounds.shared.planes import Hexagon, PairRelaxation, close, relax_pair
from understudy.bounds.shared.walk import Twin, Walk, concretise, twin_of, walk_back
from understudy.bounds.unit import unit_rows
from understudy.errors import InputError


@dataclass(frozen=True, eq=False)
class Shared:
    """Both networks over one region, neuron by neuron.

    Attributes:
        twin: the two networks.
        region: the balls.
        relaxations: of every activation, by position. `relaxations[i].hexagon` holds the intervals of its
            arguments x (teacher), y (student) and y - x, closed: also each network's own may have become
            tighter than its pass found.
        complete: False where the deadline left some differences with what the intervals give.
    """

    twin: Twin
    region: Region
    relaxations: dict[int, PairRelaxation]
    complete: bool

    def narrow(
        self, index: Int[Tensor, " m"], teacher: dict[int, Interval], student: dict[int, Interval]
    ) -> Shared:
        """The same over parts of the balls (search nodes), without any walk back: differences are inherited.

        Args:
            index: which ball each part belongs to.
            teacher, student: intervals (m, ...) of every activation's argument there, by its position.
        """
        middle, radius = self.region.middle[index], self.region.radius[index]
        region = Region(self.region.center[index], middle, radius, self.region.eps)
        relaxations = {}
        for position, one in self.relaxations.items():
            low, high = one.hexagon.d
            hexagon = Hexagon(teacher[position], student[position], (low[index], high[index]))
            op = cast(Activation, self.twin.teacher.nodes[position].op)
            relaxations[position] = relax_pair(op, hexagon)
        return Shared(self.twin.at(index), region, relaxations, self.complete)

    @property
    def differences(self) -> dict[int, Interval]:
        """Intervals of student minus teacher before each activation, by its position."""
        return {position: one.hexagon.d for position, one in self.relaxations.items()}

    def lines(self, a: Float[Tensor, "k r c"], c: Float[Tensor, "k r c"]) -> Walk:
        """Upper bounds of a . (s - t) + c . t on the logits, linear in the input.

        Any a' . s + b' . t is a = a', c = a' + b'.
        """
        return walk_back(self.twin, self.relaxations, len(self.twin.teacher.nodes) - 1, a, c)

    def maximum(self, a: Float[Tensor, "k r c"], c: Float[Tensor, "k r c"]) -> Float[Tensor, "b r"]:
        """Upper bounds of a . (s - t) + c . t over the region, rounding included. NaN proves nothing."""
        return concretise(self.twin, self.lines(a, c), self.region)


def shared_pass(teacher: Pass, student: Pass, region: Region, deadline: float | None = None) -> Shared:
    """Intervals of the difference before every activation, by a walk back for those that may switch.

    Args:
        teacher, student: both networks' passes over `region`, batched alike: one row a ball or a part of one.
        deadline: as `time.perf_counter` counts; after it, differences are those of the intervals.

    Raises:
        InputError: the networks differ in more than their weights.
    """
    if not matches(teacher.graph, student.graph):
        raise InputError("teacher and student must be the same layers of the same shapes; these are not")
    twin = twin_of(teacher, student)
    relaxations: dict[int, PairRelaxation] = {}
    bounded: dict[int, Interval] = {}
    complete = True
    for position in twin.teacher.activations:
        node = twin.teacher.nodes[position]
        op, before = cast(Activation, node.op), node.parents[0]
        x, y = teacher.bounds[before], student.bounds[before]
        if before not in bounded:
            everything = torch.full_like(x[0], torch.inf)
            bounded[before] = close(Hexagon(x, y, (-everything, everything))).d
            late = deadline is not None and time.perf_counter() > deadline
            complete = complete and not late
            if not late:
                open_ = _open(x, y) if isinstance(op, Relu) else torch.ones_like(x[0]).bool()
                d = bounded[before]
                bounded[before] = _tighten(twin, region, relaxations, before, d, open_.flatten(1))
        relaxations[position] = relax_pair(op, Hexagon(x, y, bounded[before]))
    return Shared(twin, region, relaxations, complete)


def _open(x: Interval, y: Interval) -> Tensor:
    """Where one of the two arguments may change its sign (NaN may)."""
    first, second = (~(high <= 0) & ~(low >= 0) for low, high in (x, y))
    return first | second


def _tighten(
    twin: Twin,
    region: Region,
    relaxations: dict[int, PairRelaxation],
    position: int,
    known: Interval,
    open_: Tensor,
) -> Interval:
    """The difference's interval at a node met with the walk's, where it is open at some point."""
    low, high = (side.flatten(1).clone() for side in known)
    index = open_.any(0).nonzero()[:, 0]
    for part in index.split(rows_at_once(twin, len(low), 4)):
        start, a, c, constant = _starts(twin, position, part)
        walk = walk_back(twin, relaxations, start, torch.cat([a, -a])[None], torch.cat([c, -c])[None])
        # the first rows and constants are differences of weights: one rounding each
        rounding = twin.gamma(1) * (_weigh_start(twin, start, c) + constant.abs())
        constant, rounding = torch.cat([constant, -constant]), torch.cat([rounding, rounding], 1)
        walk = Walk(walk.rows, walk.constant + constant, walk.error + rounding)
        top, bottom = concretise(twin, walk, region).chunk(2, dim=1)
        # only where it is needed, so that a point's bounds do not depend on its batch
        here = open_[:, part]
        high[:, part] = torch.where(here, torch.minimum(high[:, part], top), high[:, part])
        low[:, part] = torch.where(here, torch.maximum(low[:, part], -bottom), low[:, part])
    return low.view_as(known[0]), high.view_as(known[1])


def _weigh_start(twin: Twin, start: int, c: Tensor) -> Tensor:
    return twin.size[start].flatten(1) @ c.flatten(1).abs().T


def _starts(twin: Twin, position: int, index: Int[Tensor, " r"]) -> tuple[int, Tensor, Tensor, Tensor]:
    """The differences at flat positions `index` of a node, as rows (a, c) on an earlier node and constants."""
    graph: Graph = twin.teacher
    if isinstance(graph.nodes[position].op, Linear | Conv2d):
        ours, theirs = (unit_rows(one, position, index) for one in (twin.teacher, twin.student))
        return ours.start, theirs.rows, theirs.rows - ours.rows, theirs.constant - ours.constant
    rows = identity_rows(index, graph.nodes[position].shape, graph.dtype)
    return position, rows, torch.zeros_like(rows), rows.new_zeros(len(index))


def rows_at_once(twin: Twin, points: int, copies: int) -> int:
    """How many rows may be walked back together, of which so many copies are held."""
    widest = max(size(node.shape) for node in twin.teacher.nodes)
    return max(1, crown.ROWS_BUDGET // (copies * points * widest))
