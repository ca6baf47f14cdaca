"""The search: worst nodes first, in batches; lower and upper bounds that only ever get better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds.search.branch import choose
from understudy.bounds.search.joint import Parameters, Problem, Space, coarsened, descend
from understudy.bounds.search.net import spread
from understudy.bounds.search.nodes import Nodes, Pool
from understudy.bounds.search.record import Record
from understudy.bounds.search.split import children
from understudy.bounds.search.twins import Twins

POLISH, POLISHING = (1.0, 0.3, 0.1, 0.03), 4  # rates, and steps of each


@dataclass(frozen=True)
class Effort:
    """How hard the search tries.

    Attributes:
        root_steps, steps: Adam steps at the roots, at every other node.
        root_rate, rate: their size, times each kind of parameter's own.
        batch: nodes split at once.
    """

    root_steps: int = 30
    steps: int = 6
    root_rate: float = 2.5
    rate: float = 1.0
    batch: int = 64


@dataclass(eq=False)
class Found:
    """Per point: best lower and upper, the flat input that attains the lower, how many nodes were bounded."""

    lower: Float[Tensor, " p"]
    upper: Float[Tensor, " p"]
    witness: Float[Tensor, "p d"]
    nodes: Int[Tensor, " p"]


class Search:
    """The trees of a group of points, searched together.

    Args:
        space: both networks over the points' balls.
        corners: lower and upper corner of each ball's box, flat (P, d): where witnesses must lie.
        roots: the root of every query.
        found: what is known so far; improved in place.
        closed: largest bound of the queries that have no root here.
        tolerance: a node whose bound is at most this much above its point's lower bound is closed.
        record: keeps what a certificate of one point needs, or None.
        twins: the neurons' differences where both networks have one structure, or None.
        effort: how hard to try.
    """

    def __init__(
        self,
        space: Space,
        corners: tuple[Tensor, Tensor],
        roots: Nodes,
        found: Found,
        closed: Float[Tensor, " p"],
        tolerance: float,
        effort: Effort,
        record: Record | None = None,
        twins: Twins | None = None,
    ) -> None:
        self.space, self.corners, self.found = space, corners, found
        self.tolerance, self.effort, self.record = tolerance, effort, record
        self.twins = twins
        self.closed = closed
        self.pool: Pool | None = None
        if record is not None:
            record.roots(roots)
        open_ = self._keep(roots)
        if len(open_):
            open_ = self._bound(open_, effort.root_steps, effort.root_rate)
            self.pool = Pool(open_) if len(open_) else None
        self._settle()

    @property
    def open(self) -> Int[Tensor, " p"]:
        """Open nodes of each point."""
        counts = torch.zeros_like(self.found.nodes)
        if self.pool is not None:
            points = self.pool.nodes.point[self.pool.open]
            counts.index_add_(0, points, torch.ones_like(points))
        return counts

    def run(self, more: Callable[[], bool]) -> None:
        """Split the worst nodes until none is open or `more` says no; asked between batches."""
        while self.pool is not None and more():
            worst = self.pool.bounds.topk(min(self.effort.batch, len(self.pool)))
            parents = self._keep(self.pool.pop(worst.indices))
            if len(parents):
                young = children(self.space, parents, self.record)
                if len(young):
                    self.pool.add(self._bound(young, self.effort.steps, self.effort.rate))
            if len(self.pool) == 0:
                self.pool = None
            self._settle()

    def _keep(self, nodes: Nodes) -> Nodes:
        """The nodes that still matter; the others' bounds are noted."""
        matter = ~(nodes.bound <= self.found.lower[nodes.point] + self.tolerance)
        done = nodes.take(~matter)
        self.closed.scatter_reduce_(0, done.point, done.bound, "amax")
        return nodes.take(matter)

    def _bound(self, nodes: Nodes, steps: int, rate: float) -> Nodes:
        self.found.nodes.index_add_(0, nodes.point, torch.ones_like(nodes.point))
        target = self.found.lower[nodes.point] + 0.99 * self.tolerance
        rough = Problem(self.space.coarse, nodes.to(torch.float32), target.float())
        parameters = self._polished(nodes, target, coarsened(descend(rough, steps, rate)))
        problem = Problem(self.space, nodes, target, firm=self.record is not None)
        value = problem.value(parameters, False)
        if self.record is not None:
            # it speaks of what lies above the target
            own = torch.maximum(value.bound.nan_to_num(nan=1.0), target)
            self.record.prove(nodes, problem, parameters, own)
        low, high = (spread(side, nodes.point) for side in self.corners)
        at = problem.region.maximiser(value.guide)
        inside = torch.minimum(torch.maximum(at, low), high)
        chosen = choose(problem, parameters, value, inside)
        reached = chosen.reached.nan_to_num(nan=0.0)
        nodes.bound = torch.minimum(nodes.bound, torch.maximum(value.bound.nan_to_num(nan=1.0), target))
        if self.twins is not None:
            nodes.bound = torch.minimum(nodes.bound, self.twins.gap(problem, value.t_top, value.r_top))
        nodes.odds[:, 1] = torch.minimum(nodes.odds[:, 1], value.t_top)
        nodes.odds[:, 3] = torch.minimum(nodes.odds[:, 3], value.r_top)
        nodes.odds[:, 0::2] = torch.minimum(nodes.odds[:, 0::2], nodes.odds[:, 1::2])
        nodes.omega, v, theta, nodes.alpha, nodes.beta = parameters
        nodes.q = theta * problem.chords
        nodes.v = torch.zeros_like(nodes.v).scatter_(1, problem.box.others, v)
        nodes.v.scatter_(1, nodes.reference[:, None], 1 - v.sum(1, keepdim=True))
        nodes.choice, nodes.cut, nodes.weak = chosen.choice, chosen.cut, chosen.weak
        nodes.near = chosen.near
        self._reach(nodes, reached, inside)
        spent = nodes.take(~chosen.useful)  # no relaxation has any slack left: splitting changes nothing
        self.closed.scatter_reduce_(0, spent.point, spent.bound, "amax")
        return self._keep(nodes.take(chosen.useful))

    def _polished(self, nodes: Nodes, target: Tensor, found: Parameters) -> Parameters:
        """Slower steps, in float64, where both networks are linear: only parameters are left to be improved there."""
        straight = ~((nodes.low < 0) & (nodes.high > 0)).any(1)
        if not bool(straight.any()):
            return found
        problem = Problem(self.space, nodes.take(straight), target[straight], firm=self.record is not None)
        better = found.map(lambda p: p[straight])
        for rate in POLISH:
            better = descend(problem, POLISHING, rate, better)
        whole = found.map(torch.clone)
        for one, part in zip(whole, coarsened(better), strict=True):
            one[straight] = part
        return whole

    def _reach(self, nodes: Nodes, reached: Tensor, inside: Tensor) -> None:
        """Lower bounds from the bounds' own maximisers."""
        lower = self.found.lower
        best = lower.scatter_reduce(0, nodes.point, reached - 1e-12, "amax")
        for p in (best > lower).nonzero()[:, 0].tolist():
            here = (nodes.point == p).nonzero()[:, 0]
            top = here[reached[here].argmax()]
            self.found.witness[p] = inside[top]
        self.found.lower = best

    def _settle(self) -> None:
        upper = self.closed.clone()
        if self.pool is not None:
            live = self.pool.open
            nodes = self.pool.nodes
            upper.scatter_reduce_(0, nodes.point[live], nodes.bound[live], "amax")
        self.found.upper = torch.minimum(self.found.upper, torch.maximum(upper, self.found.lower))
