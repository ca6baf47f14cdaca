"""Two children a node: the split clipped in, weak intervals and margins bounded anew, what is empty dropped."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.ops import Linear
from understudy.bounds.relax import Relaxation, relax_relu
from understudy.bounds.search.joint import Space
from understudy.bounds.search.net import Net, walk_back
from understudy.bounds.search.nodes import LOWERED, MARGIN, RAISED, STUDENT, TEACHER, Nodes
from understudy.bounds.search.record import Record
from understudy.bounds.unit import unit_rows

RIVALS = 5  # of the lowered network, those with the highest bounds, whose margins are bounded anew
CLOSED = 32  # classes up to which margins are closed: a step a class over all pairs
CHUNK = 2**20  # numbers in the rows walked back at once
SLACK = 1e-9  # an interval this much inside out is empty: more than any rounding error of its ends


def children(space: Space, parents: Nodes, record: Record | None = None) -> Nodes:
    """Both sides of every parent's split, upper side first; empty ones left out, though recorded."""
    both = Nodes.join([parents, parents])
    count = len(parents)
    side = torch.ones(2 * count, dtype=torch.int8, device=parents.bound.device)
    side[count:] = -1
    kind, first, other = both.choice.unbind(1)
    rows = torch.arange(2 * count, device=side.device)
    relu = (kind == TEACHER) | (kind == STUDENT)
    up, down = rows[relu & (side > 0)], rows[relu & (side < 0)]
    both.split[rows[relu], first[relu]] = side[relu]
    both.beta[rows[relu], first[relu]] = 0.0
    both.low[up, first[up]] = both.low[up, first[up]].clamp(min=0)
    both.high[down, first[down]] = both.high[down, first[down]].clamp(max=0)
    margin = kind == MARGIN
    up, down = rows[margin & (side > 0)], rows[margin & (side < 0)]
    both.margins[up, other[up], first[up]] = torch.minimum(
        both.margins[up, other[up], first[up]], -both.cut[up]
    )
    both.margins[down, first[down], other[down]] = torch.minimum(
        both.margins[down, first[down], other[down]], both.cut[down]
    )
    for which, start in ((RAISED, 0), (LOWERED, 2)):
        here = kind == which
        up, down = rows[here & (side > 0)], rows[here & (side < 0)]
        for odds in (both.odds, both.firm):
            odds[up, start] = torch.maximum(odds[up, start], both.cut[up])
            odds[down, start + 1] = torch.minimum(odds[down, start + 1], both.cut[down])
    if record is not None:
        record.split(parents, both, side)
    _bound_anew(space, both, kind)
    closed = close(both.margins)
    both.margins = closed
    meet_odds(both)
    both.reference = references(closed, both.k)
    empty = (both.low > both.high + SLACK).any(1)
    empty |= closed.diagonal(dim1=1, dim2=2).amin(1) < -SLACK
    empty |= (both.odds[:, 0] > both.odds[:, 1] + SLACK) | (both.odds[:, 2] > both.odds[:, 3] + SLACK)
    both.low = torch.minimum(both.low, both.high)
    for odds in (both.odds, both.firm):
        odds[:, 0::2] = torch.minimum(odds[:, 0::2], odds[:, 1::2])
    closed.diagonal(dim1=1, dim2=2).clamp_(min=0)
    return both.take(~empty) if bool(empty.any()) else both


def close(margins: Tensor) -> Tensor:
    """Min-plus closure: z_i - z_j <= (z_i - z_k) + (z_k - z_j). Of very many classes, as they are: all pairs then
    come from single logits, which are closed but for splits."""
    closed = margins.clone()
    for k in range(margins.shape[1]) if margins.shape[1] <= CLOSED else ():
        sums = closed[:, :, k, None] + closed[:, k, None, :]
        closed = torch.minimum(closed, sums + (1e-15 * sums.abs() + 1e-13))  # rounded up
    return closed


def meet_odds(nodes: Nodes) -> None:
    """Meet r's range with the one of the lowered network's margins."""
    k = nodes.k[:, None, None].expand(-1, nodes.margins.shape[1], 1)
    high = nodes.margins.gather(2, k)[:, :, 0].scatter(1, nodes.k[:, None], -torch.inf).logsumexp(1)
    low = (-nodes.margins.gather(1, k.mT)[:, 0]).scatter(1, nodes.k[:, None], -torch.inf).logsumexp(1)
    for odds in (nodes.odds, nodes.firm):
        odds[:, 2] = torch.maximum(odds[:, 2], low - 1e-12)
        odds[:, 3] = torch.minimum(odds[:, 3], high + 1e-12)


def references(margins: Tensor, k: Tensor) -> Tensor:
    """The rival m whose largest max_j (z_j - z_m) is smallest."""
    worst = margins.scatter(1, k[:, None, None].expand(-1, 1, margins.shape[2]), -torch.inf).amax(1)
    return worst.scatter(1, k[:, None], torch.inf).argmin(1)


def _bound_anew(space: Space, nodes: Nodes, kind: Tensor) -> None:
    width = space.teacher.width
    for net, which, span in (
        (space.teacher, TEACHER, slice(0, width)),
        (space.student, STUDENT, slice(width, None)),
    ):
        split_here = (kind == which).nonzero()[:, 0]
        if len(split_here) == 0 or not net.graph.relus:
            continue
        layer = net.ordinals[(nodes.choice[split_here, 1] - span.start).clamp(min=0)]
        for ordinal in range(1, len(net.graph.relus)):
            later = split_here[layer < ordinal]
            if len(later) and not net.graph.tight[net.before(ordinal)]:
                _layer(space, net, nodes, later, ordinal, span)
        lowered = split_here[(nodes.sign[split_here] > 0) == (which == STUDENT)]
        if len(lowered):
            _margins(space, net, nodes, lowered, span)


def _layer(space: Space, net: Net, nodes: Nodes, index: Tensor, ordinal: int, span: slice) -> None:
    start, end = net.spans[ordinal]
    start, end = start + span.start, end + span.start
    weak = nodes.weak[index]
    here = (weak >= start) & (weak < end)
    # the rows of this layer first, so that as few columns as possible are kept
    order = here.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    most = int(here.sum(1).max())
    if most == 0:
        return
    chosen = weak.gather(1, order[:, :most])
    valid = here.gather(1, order[:, :most])
    chosen = torch.where(valid, chosen, start)
    position = net.before(ordinal)
    step = max(1, CHUNK // (2 * most * net.graph.width))
    for part, where, real in zip(index.split(step), chosen.split(step), valid.split(step), strict=True):
        lines = relax_relu(nodes.low[part, span], nodes.high[part, span])
        begin, rows, constant = _unit(net, position, where - start)
        both = torch.cat([rows, -rows], 1)
        top = upper(space, net, nodes.point[part], both, lines, begin) + torch.cat([constant, -constant], 1)
        high, low = top.chunk(2, 1)
        at = (part[:, None].expand_as(where)[real], where[real])
        nodes.high[at] = torch.minimum(nodes.high[at], high[real])
        nodes.low[at] = torch.maximum(nodes.low[at], -low[real])


def _unit(net: Net, position: int, where: Tensor) -> tuple[int, Tensor, Tensor]:
    node = net.graph.nodes[position]
    if isinstance(node.op, Linear) and len(node.shape) == 1:
        bias = node.op.bias
        constant = torch.zeros_like(where, dtype=net.graph.dtype) if bias is None else bias[where]
        return node.parents[0], node.op.weight[where], constant
    unique, inverse = where.unique(return_inverse=True)
    start, rows, constant = unit_rows(net.graph, position, unique)
    return start, rows[inverse], constant[inverse]


def _margins(space: Space, net: Net, nodes: Nodes, index: Tensor, span: slice) -> None:
    """Bound z_j - z_m, z_m - z_j and z_j - z_k of the likeliest rivals j anew at the nodes `index`; m the reference."""
    eye = torch.eye(space.classes, dtype=net.graph.dtype, device=net.graph.device)
    count = min(RIVALS, space.classes - 1)
    step = max(1, CHUNK // (3 * count * net.graph.width))
    for part in index.split(step):
        here, m, k = part[:, None], nodes.reference[part, None], nodes.k[part, None]
        over_k = nodes.margins[part].gather(2, k[:, :, None].expand(-1, space.classes, 1))[:, :, 0]
        rivals = over_k.scatter(1, k, -torch.inf).topk(count, 1).indices
        over_m = eye[rivals] - eye[m]
        rows = torch.cat([over_m, -over_m, eye[rivals] - eye[k]], 1)
        lines = relax_relu(nodes.low[part, span], nodes.high[part, span])
        tops = upper(space, net, nodes.point[part], rows, lines, None).chunk(3, 1)
        for top, one, two in zip(tops, (rivals, m, rivals), (m, rivals, k), strict=True):
            nodes.margins[here, one, two] = torch.minimum(nodes.margins[here, one, two], top)


def upper(
    space: Space, net: Net, points: Tensor, rows: Tensor, lines: Relaxation, start: int | None
) -> Float[Tensor, "m r"]:
    """Largest value of each row over each node's ball, rounding included."""
    walk = walk_back(net, points, rows, lines, None, start)
    return space.region.at(points).maximum(walk.rows, walk.constant)
