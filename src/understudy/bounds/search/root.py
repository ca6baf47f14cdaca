"""The roots of the search trees: one CROWN pass a network, one node a point, class and sign."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.crown import Pass
from understudy.bounds.graph import Graph
from understudy.bounds.pair import Gaps
from understudy.bounds.region import Region
from understudy.bounds.rounding import CLOSED_FORM
from understudy.bounds.search.branch import WEAK
from understudy.bounds.search.joint import Space
from understudy.bounds.search.nodes import Nodes
from understudy.bounds.search.split import close, meet_odds, references
from understudy.bounds.softmax import log_odds


def flat_intervals(run: Pass) -> tuple[Tensor, Tensor]:
    """All ReLU inputs' lower and upper ends, each (P, n)."""
    graph: Graph = run.graph
    ends = [run.bounds[graph.nodes[i].parents[0]] for i in graph.relus]
    empty = graph(run.bounds[0][0])[:, :0]
    low = torch.cat([empty, *(e[0].flatten(1) for e in ends)], 1)
    return low, torch.cat([empty, *(e[1].flatten(1) for e in ends)], 1)


def roots(
    space: Space,
    teacher: Pass,
    student: Pass,
    gaps: Gaps,
    region: Region,
    floor: Float[Tensor, " p"],
) -> tuple[Nodes, Float[Tensor, " p"]]:
    """The roots of all queries whose bound lies above the point's floor, and the largest of the others' bounds.

    A query with a number that is not finite is among the others: nothing can be searched there.
    """
    points, classes = len(region.center), space.classes
    d = gaps.differences
    device, dtype = region.center.device, region.center.dtype
    point = torch.arange(points, device=device).repeat_interleave(2 * classes)
    k = torch.arange(classes, device=device).repeat(2 * points)
    sign = torch.tensor([1, -1], device=device).repeat_interleave(classes).repeat(points)
    bound = (gaps.ways + CLOSED_FORM).nan_to_num(nan=1.0).clamp(0.0, 1.0).amin(1)[point, k]
    low, high = (
        torch.cat(ends, 1) for ends in zip(flat_intervals(teacher), flat_intervals(student), strict=True)
    )
    sound = [d.teacher.flatten(1), d.student.flatten(1), low, high]
    finite = torch.stack([one.isfinite().all(1) for one in sound]).all(0)
    wanted = (bound > floor[point]) & finite[point]
    rest = torch.zeros_like(floor).scatter_reduce(0, point[~wanted], bound[~wanted], "amax")
    point, k, sign, bound = point[wanted], k[wanted], sign[wanted], bound[wanted]
    up = sign > 0
    margins = close(torch.where(up[:, None, None], d.student[point], d.teacher[point]))
    own_t, own_s = (torch.stack(log_odds(each), 2)[point, k] for each in (d.teacher, d.student))
    raised = torch.where(up[:, None], own_t, own_s)
    lowered = -torch.where(up[:, None], own_s, own_t).flip(1)
    slack = torch.tensor([-1e-12, 1e-12, -1e-12, 1e-12], dtype=dtype, device=device)
    odds = torch.cat([raised, lowered], 1) + slack
    logits_t, logits_s = teacher.graph(region.center)[point], student.graph(region.center)[point]
    n = low.shape[1]
    nodes = Nodes(
        point=point, k=k, sign=sign, bound=bound, low=low[point], high=high[point],
        split=torch.zeros(len(k), n, dtype=torch.int8, device=device),
        margins=margins, odds=odds, firm=odds.clone(),
        reference=references(margins, k),
        omega=torch.where(up[:, None], logits_t, logits_s),
        v=torch.where(up[:, None], logits_s, logits_t).scatter(1, k[:, None], -torch.inf).softmax(1),
        q=torch.full((len(k), 2), -1.0, dtype=dtype, device=device),
        alpha=(high > -low).to(dtype)[point], beta=torch.zeros(len(k), n, dtype=dtype, device=device),
        near=torch.where(up[:, None], logits_s, logits_t),
        choice=torch.zeros(len(k), 3, dtype=torch.long, device=device), cut=torch.zeros_like(bound),
        weak=torch.full((len(k), min(WEAK, n)), -1, device=device),
        serial=torch.full_like(k, -1),
    )  # fmt: skip
    meet_odds(nodes)
    return nodes, rest
