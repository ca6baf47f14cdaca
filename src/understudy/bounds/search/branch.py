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
ODDS_SHARE = 0.005  # a sigmoid's slack counts this much
# a margin's slack counts in full beside MANY open ReLUs of its network, by LEAST and more beside fewer
MANY, LEAST = 20, 0.1
CUTS = torch.arange(1, 8) / 8  # where in its range a margin may be cut


class Choice(NamedTuple):
    """What to split in each node, what to bound anew then, and the difference reached at the maximiser."""

    choice: Tensor
    cut: Tensor
    weak: Tensor
    reached: Tensor  # (N,) largest |difference of confidences| of any class at the maximiser
    near: Tensor  # (N, c) the lowered network's logits where its own row is largest
    useful: Tensor  # (N,) whether anything is there to split


def choose(problem: Problem, parameters: Parameters, value: Value, inside: Float[Tensor, "m d"]) -> Choice:
    """Attribute the slack: of the joint row at its maximiser `inside`, of the rows by themselves at their own.

    Args:
        problem, parameters, value: an evaluation without derivatives.
        inside: the maximisers of `value.guide`, clipped into their balls.
    """
    nodes, space, count = problem.nodes, problem.space, len(problem.nodes)
    together, apart, scores = [], [], []
    for i, net in enumerate(problem.nets):
        own = problem.region.maximiser(value.rows[i])
        logits, values = true_values(net, torch.cat([inside, own]))
        together.append(logits[:count])
        apart.append(logits[count:])
        span, line, met = problem.spans[i], value.lines[i], net.flat(value.met[i], values[:count])
        score = torch.zeros_like(met)
        for worth, z in zip((value.held[i], value.alone[i]), values.split(count), strict=True):
            z = torch.minimum(torch.maximum(z, nodes.low[:, span]), nodes.high[:, span])
            h = z.clamp(min=0)
            slack = torch.where(
                met > 0, met * (line.upper * z + line.intercept - h), met * (line.lower * z - h)
            )
            score += slack.clamp(min=0) * worth[:, None]
        scores.append(torch.where(problem.unstable[i], score, 0.0))
    reached = (together[0].softmax(1) - together[1].softmax(1)).abs().amax(1)
    # slack can be 0 at a maximiser that breaks the node's splits: something open is then split all the same
    relu = torch.cat(scores, 1) + NEVER_NOTHING * torch.cat(list(problem.unstable), 1)
    low_together, near = problem.swap(*together)[1], problem.swap(*apart)[1]
    margin, cuts = _margins(problem, parameters, value, low_together, near)
    odds, odds_cut = _odds(problem, value, together)
    table = torch.cat([relu, margin, odds], 1)
    table = table.nan_to_num(nan=0.0)
    place = table.argmax(1)
    width, free = relu.shape[1], margin.shape[1]
    rows = torch.arange(count, device=place.device)
    is_odds = place >= width + free
    is_margin = (place >= width) & ~is_odds
    slot = (place - width).clamp(0, max(free - 1, 0))
    kind = torch.where(place < space.teacher.width, TEACHER, STUDENT).masked_fill(is_margin, MARGIN)
    first, other, cut = place, torch.zeros_like(place), torch.zeros_like(nodes.bound)
    if free:
        first = torch.where(is_margin, problem.box.others[rows, slot], place)
        other = torch.where(is_margin, nodes.reference, 0)
        cut = torch.where(is_margin, cuts[rows, slot], cut)
    kind = torch.where(is_odds, RAISED + (place - width - free), kind)
    cut = torch.where(is_odds, odds_cut[rows, (place - width - free).clamp(min=0)], cut)
    deep = relu * space.deep
    best, weak = deep.topk(min(WEAK, deep.shape[1]), 1)
    weak = torch.where(best > 0, weak, -1)
    return Choice(torch.stack([kind, first, other], 1), cut, weak, reached, near, table.amax(1) > 0)


def _margins(
    problem: Problem, parameters: Parameters, value: Value, together: Tensor, apart: Tensor
) -> tuple[Tensor, Tensor]:
    """What a split of each margin would remove of the log-sum-exp's slack, and where it would be cut.

    ReLUs go first where they are few: splits of them narrow all margins at once, and there is an end to them.
    """
    held, alone = (problem.swap(*each)[1][:, None] for each in (value.held, value.alone))
    slack, rest = _slack(problem, parameters, value.c_top, together)
    slack_apart, rest_apart = _slack(problem, parameters, value.c_top, apart)
    slack, slack_apart = held * slack, alone * slack_apart
    low, high = problem.box.low, problem.box.high
    cuts, share = best_cut(low, high, torch.where(slack > slack_apart, rest, rest_apart))
    open_relus = problem.swap(*(each.sum(1) for each in problem.unstable))[1]
    share = share * (open_relus / MANY).clamp(LEAST, 1.0)[:, None]
    return (slack + slack_apart) * share + 0.1 * NEVER_NOTHING * (high - low > WIDE), cuts


def _slack(problem: Problem, parameters: Parameters, c_top: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Slack of the lowered network's log-sum-exp at its logits z, shared out by each margin's chord; and the log of
    the other rivals' sum, each (N, R)."""
    box = problem.box
    d = z.gather(1, box.others) - z.gather(1, problem.nodes.reference[:, None])
    d = torch.minimum(torch.maximum(d, box.low), box.high)
    total = torch.cat([d, d.new_zeros(len(d), 1)], 1).logsumexp(1, keepdim=True)
    share = (d - total).exp()
    low = torch.log1p((box.low - total).exp() - share)
    high = torch.log1p((box.high - total).exp() - share)
    width = box.high - box.low
    along = torch.where(width > 0, (d - box.low) / width.clamp(min=1e-300), 0.0)
    gap = ((1 - along) * low + along * high).clamp(min=0)
    slack = ((parameters.v * d).sum(1) + c_top - total[:, 0]).clamp(min=0)
    scale = slack / gap.sum(1).clamp(min=1e-300)
    return gap * scale[:, None], total + torch.log1p(-share)


def best_cut(
    low: Float[Tensor, "m r"], high: Float[Tensor, "m r"], rest: Float[Tensor, "m r"]
) -> tuple[Float[Tensor, "m r"], Float[Tensor, "m r"]]:
    """Where to cut ranges of d so that log(exp(rest) + exp(d)) is nearest to its chords on both halves.

    A range that holds 0 is cut there, which says which of two rivals is ahead. The second result is the share of
    the largest distance from the chord that is gone then, in [0, 1].
    """
    ends = low[..., None], high[..., None]
    at = ends[0] + CUTS.to(low) * (ends[1] - ends[0])
    at = torch.where((ends[0] < -WIDE) & (ends[1] > WIDE), 0.0, at)
    halves = torch.maximum(chord_gap(ends[0], at, rest[..., None]), chord_gap(at, ends[1], rest[..., None]))
    left, place = halves.min(-1)
    share = 1 - left / chord_gap(low, high, rest).clamp(min=1e-300)
    return at.gather(-1, place[..., None])[..., 0], share.clamp(0, 1)


def chord_gap(low: Tensor, high: Tensor, rest: Tensor) -> Tensor:
    """Largest distance of log(exp(rest) + exp(d)) from its chord over [low, high]."""
    bottom, top = torch.logaddexp(low, rest), torch.logaddexp(high, rest)
    slope = ((top - bottom) / (high - low).clamp(min=1e-9)).clamp(1e-12, 1 - 1e-12)
    at = torch.minimum(torch.maximum(rest + torch.logit(slope), low), high)
    return (bottom + slope * (at - low) - torch.logaddexp(at, rest)).clamp(min=0)


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
