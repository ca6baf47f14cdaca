"""Nodes of networks that share their structure: the difference of their neurons bounds the gap once more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.pair import Differences
from understudy.bounds.search.joint import Problem
from understudy.bounds.search.net import Net
from understudy.bounds.search.nodes import Nodes
from understudy.bounds.shared import Shared
from understudy.bounds.shared.odds import rival_gap
from understudy.bounds.softmax import clipped

ROUNDING = 1e-12  # of the closed form, whose terms are at most 1


@dataclass(frozen=True, eq=False)
class Twins:
    """The neurons' differences over each point's ball, and both networks' margins there."""

    shared: Shared
    differences: Differences

    def gap(self, problem: Problem, t_top: Tensor, r_top: Tensor) -> Float[Tensor, " m"]:
        """Upper bounds of the nodes' queries; `t_top`, `r_top` as just proved."""
        nodes = problem.nodes
        here = self.shared.narrow(nodes.point, *(self._intervals(problem, i) for i in range(2)))
        classes = problem.space.classes
        each = torch.eye(classes, dtype=torch.bool, device=nodes.k.device)
        others = (~each[nodes.k]).nonzero()[:, 1].view(len(nodes), classes - 1)
        unit = each.to(nodes.bound.dtype)
        rows = (unit[others] - unit[nodes.k][:, None]) * nodes.sign.view(-1, 1, 1)
        between = here.maximum(rows, torch.zeros_like(rows))
        lowered = self._margins(nodes.margins, nodes, others)
        wide = torch.where(
            problem.up[:, None, None],
            self.differences.teacher[nodes.point],
            self.differences.student[nodes.point],
        )
        fine = rival_gap(self._margins(wide, nodes, others), lowered, between)
        odds = nodes.odds
        t = (torch.minimum(odds[:, 0], t_top)[:, None], t_top[:, None])
        s = (-r_top[:, None], -torch.minimum(odds[:, 2], r_top)[:, None])
        plain = clipped(s, t, between.amax(1, keepdim=True))[:, 0] + ROUNDING
        return torch.minimum(fine.nan_to_num(nan=1.0), plain.nan_to_num(nan=1.0))

    def _margins(self, upper: Tensor, nodes: Nodes, others: Tensor) -> tuple[Tensor, Tensor]:
        """Ranges of z_j - z_k over the rivals j."""
        each = torch.arange(len(nodes), device=others.device)[:, None]
        k = nodes.k[:, None]
        high = upper[each, others, k]
        return torch.minimum(-upper[each, k, others], high), high

    def _intervals(self, problem: Problem, i: int) -> dict[int, tuple[Tensor, Tensor]]:
        net: Net = problem.nets[i]
        nodes, span = problem.nodes, problem.spans[i]
        found = {}
        for (start, end), position in zip(net.spans, net.graph.relus, strict=True):
            shape = net.graph.nodes[position].shape
            low, high = (side[:, span][:, start:end].unflatten(1, shape) for side in (nodes.low, nodes.high))
            found[position] = (low, high)
        for position in self.shared.relaxations:
            if position not in found:  # an activation that is not split
                whole = self.shared.relaxations[position].hexagon
                low, high = whole.x if i == 0 else whole.y
                found[position] = (low[nodes.point], high[nodes.point])
        return found
