"""What to split: every relaxation's slack at the bound's maximiser, in units of the bound."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.search.joint import Parameters, Problem, Value
from understudy.bounds.search.net import true_values
from understudy.bounds.search.nodes import MARGIN, RAISED, STUDENT, TEACHER

WEAK = 24  # ReLU inputs a node whose intervals are bounded anew after a split below them
NEVER_NOTHING, WIDE = 1e-12, 1e-6  # score of what is open without slack; margins wider than this are open
ODDS_SHARE = 0.02  # a sigmoid's slack counts this much
MARGIN_SHARE = 0.4  # a margin's slack counts this much, a split of it closes only part of its chord


class Choice(NamedTuple):
    """What to split in each node, what to bound anew then, and the difference reached at the maximiser."""

    choice: Tensor
    cut: Tensor
    weak: Tensor
    reached: Tensor  # (N,) largest |difference of confidences| of any class at the maximiser
    useful: Tensor  # (N,) whether anything is there to split


def choose(problem: Problem, parameters: Parameters, value: Value, inside: Float[Tensor, "m d"]) -> Choice:
    """Attribute the slack at `inside`, the bounds' maximisers clipped into their balls."""
    nodes, space = problem.nodes, problem.space
    logits, scores = [], []
    for i, net in enumerate(problem.nets):
        z_logits, z = true_values(net, inside)
        logits.append(z_logits)
        line, met = value.lines[i], net.flat(value.met[i], z)
        span = problem.spans[i]
        z = torch.minimum(torch.maximum(z, nodes.low[:, span]), nodes.high[:, span])
        h = z.clamp(min=0)
        slack = torch.where(met > 0, met * (line.upper * z + line.intercept - h), met * (line.lower * z - h))
        scores.append(torch.where(problem.unstable[i], slack.clamp(min=0) * value.weights[i][:, None], 0.0))
    reached = (logits[0].softmax(1) - logits[1].softmax(1)).abs().amax(1)
    # slack can be 0 at a maximiser that breaks the node's splits: something open is then split all the same
    open_ = torch.cat(list(problem.unstable), 1)
    relu = torch.cat(scores, 1) + NEVER_NOTHING * open_
    margin = _margins(problem, parameters, value, logits)
    odds, odds_cut = _odds(problem, value, logits)
    table = torch.cat([relu, margin, odds], 1)
    table = table.nan_to_num(nan=0.0)
    place = table.argmax(1)
    width, free = relu.shape[1], margin.shape[1]
    rows = torch.arange(len(nodes), device=place.device)
    is_odds = place >= width + free
    is_margin = (place >= width) & ~is_odds
    slot = (place - width).clamp(0, max(free - 1, 0))
    kind = torch.where(place < space.teacher.width, TEACHER, STUDENT).masked_fill(is_margin, MARGIN)
    first, other, cut = place, torch.zeros_like(place), torch.zeros_like(nodes.bound)
    if free:
        low, high = problem.box.low[rows, slot], problem.box.high[rows, slot]
        first = torch.where(is_margin, problem.box.others[rows, slot], place)
        other = torch.where(is_margin, nodes.reference, 0)
        cut = torch.where(is_margin & ~((low < 0) & (high > 0)), (low + high) / 2, cut)
    kind = torch.where(is_odds, RAISED + (place - width - free), kind)
    cut = torch.where(is_odds, odds_cut[rows, (place - width - free).clamp(min=0)], cut)
    deep = relu * space.deep
    best, weak = deep.topk(min(WEAK, deep.shape[1]), 1)
    weak = torch.where(best > 0, weak, -1)
    return Choice(torch.stack([kind, first, other], 1), cut, weak, reached, table.amax(1) > 0)


def _margins(problem: Problem, parameters: Parameters, value: Value, logits: list[Tensor]) -> Tensor:
    """Slack of the lowered network's log-sum-exp, shared out by each margin's chord."""
    nodes, box = problem.nodes, problem.box
    z = torch.where(problem.up[:, None], logits[1], logits[0])
    d = z.gather(1, box.others) - z.gather(1, nodes.reference[:, None])
    d = torch.minimum(torch.maximum(d, box.low), box.high)
    total = torch.cat([d, d.new_zeros(len(d), 1)], 1).logsumexp(1, keepdim=True)
    rest = (d - total).exp()
    low = torch.log1p((box.low - total).exp() - rest)
    high = torch.log1p((box.high - total).exp() - rest)
    width = box.high - box.low
    share = torch.where(width > 0, (d - box.low) / width.clamp(min=1e-300), 0.0)
    gap = ((1 - share) * low + share * high).clamp(min=0)
    weight = problem.swap(*value.weights)[1]
    slack = ((parameters.v * d).sum(1) + value.c_top - total[:, 0]).clamp(min=0)
    scale = weight * slack / gap.sum(1).clamp(min=1e-300)
    return MARGIN_SHARE * gap * scale[:, None] + 0.1 * NEVER_NOTHING * (width > WIDE)


def _odds(problem: Problem, value: Value, logits: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Slack of the two sigmoids' lines, and where each range would be cut: in the middle of its sigmoid."""
    k = problem.nodes.k[:, None]
    z_t, z_r = problem.swap(*logits)
    t = z_t.gather(1, k)[:, 0] - z_t.scatter(1, k, -torch.inf).logsumexp(1)
    r = z_r.scatter(1, k, -torch.inf).logsumexp(1) - z_r.gather(1, k)[:, 0]
    low, high = torch.stack(value.lows, 1), torch.stack([value.t_top, value.r_top], 1)
    # where the maximiser breaks what the node knows, the nearest value that does not
    t, r = torch.minimum(torch.maximum(torch.stack([t, r], 1), low), high).unbind(1)
    q = value.q
    slack = torch.stack(
        [q[:, 0] * t + value.tops[0] - t.sigmoid(), q[:, 1] * r + value.tops[1] - r.sigmoid()], 1
    )
    cut = torch.logit((low.sigmoid() + high.sigmoid()) / 2)
    inside = (cut > low) & (cut < high) & (high.sigmoid() - low.sigmoid() > 1e-3)
    return torch.where(inside, slack.clamp(min=0) * ODDS_SHARE, 0.0), cut
