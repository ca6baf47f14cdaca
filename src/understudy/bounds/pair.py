"""Both networks over one region: bounds of the differences of their logits, and of their confidences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from understudy.bounds import crown
from understudy.bounds.crown import Pass, backward, difference_rows
from understudy.bounds.interval import interval_margins
from understudy.bounds.linearise import Lines, lowered, raised
from understudy.bounds.region import Region, finite
from understudy.bounds.rounding import CLOSED_FORM
from understudy.bounds.shared.odds import odds_gaps
from understudy.bounds.softmax import Range, joint, log_odds, separate, shifts

AT_ONCE = (
    16  # classes examined together; more than that many are taken in order of what they could still raise
)


@dataclass(eq=False)
class Differences:
    """Upper bounds at [:, j, k] of t_j - t_k (`teacher`), s_j - s_k (`student`), and of this minus that."""

    teacher: Float[Tensor, "b c c"]
    student: Float[Tensor, "b c c"]
    between: Float[Tensor, "b c c"]

    @property
    def odds(self) -> tuple[Range, Range]:
        """Ranges of both networks' log-odds."""
        return log_odds(self.teacher), log_odds(self.student)


@dataclass(frozen=True, eq=False)
class Gaps:
    """Upper bounds of |p_t,k - p_s,k|, one a way of proof and class, and what they were made from."""

    ways: Float[Tensor, "b w c"]
    differences: Differences

    def worst(self) -> tuple[Float[Tensor, " b"], Int[Tensor, " b"]]:
        """Per point the largest class's best bound in [0, 1], and which way gave it. NaN counts as 1."""
        widened = self.ways + CLOSED_FORM
        best, way = widened.nan_to_num(nan=1.0, posinf=1.0, neginf=1.0).clamp(0, 1).min(1)
        upper, top = best.max(1)
        return upper, way.gather(1, top[:, None])[:, 0]


def interval_gaps(teacher: Pass, student: Pass) -> Gaps:
    """UB1 from the margins that interval arithmetic gives."""
    differences = _start(teacher, student)
    return Gaps(separate(*differences.odds)[:, None], differences)


def crown_gaps(teacher: Pass, student: Pass, region: Region) -> Gaps:
    """UB1, UB2, UB3 of every class that could be the worst; UB1 alone of those that cannot."""
    differences = _start(teacher, student)
    classes = differences.teacher.shape[-1]
    likely = torch.zeros(0, dtype=torch.long, device=region.center.device)
    if classes > AT_ONCE:
        _meet_logits(differences, teacher, student, region)
        likely = torch.cat([run.graph(region.center).argmax(1) for run in (teacher, student)]).unique()
    first = separate(*differences.odds)
    ways = torch.stack([first, *[torch.full_like(first, torch.inf)] * 2], 1)
    gaps = Gaps(ways, differences)
    examined = torch.zeros(classes, dtype=torch.bool, device=first.device)
    while not bool(examined.all()):
        chosen = _next(gaps, examined, likely)
        if len(chosen) == 0:
            break
        _refine(differences, teacher, student, region, chosen, examined)
        examined[chosen] = True
        odds = differences.odds
        ways[:, 0] = separate(*odds)
        ways[:, 1] = torch.where(examined, joint(*odds, *shifts(differences.between)), torch.inf)
        ways[:, 2, chosen] = _third(differences, teacher, student, region, chosen)
    return gaps


def met(gaps: Gaps, between: Float[Tensor, "b c c"]) -> Gaps:
    """Gaps with other bounds of the differences of both networks' margins, and one way more that rests on them."""
    d = gaps.differences
    tighter = torch.where(between.isfinite(), torch.minimum(d.between, between), d.between)
    differences = Differences(d.teacher, d.student, tighter)
    fine = torch.minimum(
        odds_gaps(d.teacher, d.student, tighter),
        joint(*differences.odds, *shifts(tighter)).nan_to_num(nan=1.0),
    )
    return Gaps(torch.cat([gaps.ways, fine[:, None]], 1), differences)


def same_class(
    gaps: Gaps, upper: Float[Tensor, " b"], teacher: Float[Tensor, "b c"], student: Float[Tensor, "b c"]
) -> Bool[Tensor, " b"]:
    """Where both networks are proved to predict one class on the whole ball; their logits at the point given.

    The class is the teacher's at the point. It stays the teacher's when all its rivals' margins are negative,
    the student's when they are for the student (directly, or as the teacher's plus the difference), or when
    the teacher's confidence leads by more than twice the gap, as a confidence p leads by at least 2 p - 1.
    """
    label = teacher.argmax(1)
    column = label[:, None, None].expand(-1, teacher.shape[1], 1)
    ours, theirs, between = (
        margins.gather(2, column)[:, :, 0].scatter(1, label[:, None], -torch.inf)
        for margins in (gaps.differences.teacher, gaps.differences.student, gaps.differences.between)
    )
    kept = (torch.minimum(theirs, ours + between) < 0).all(1)
    lead = 2 * log_odds(gaps.differences.teacher)[0].sigmoid().gather(1, label[:, None])[:, 0] - 1
    return (label == student.argmax(1)) & (((ours < 0).all(1) & kept) | (lead > 2 * upper))


def _start(teacher: Pass, student: Pass) -> Differences:
    """What the nodes' intervals alone give."""
    ours = finite(interval_margins(teacher.graph, teacher.bounds))
    theirs = ours.clone() if student is teacher else finite(interval_margins(student.graph, student.bounds))
    return Differences(ours, theirs, theirs + ours.mT)


def _next(gaps: Gaps, examined: Bool[Tensor, " c"], likely: Int[Tensor, " p"]) -> Int[Tensor, " m"]:
    """Classes to examine: all of few, else the open ones that bound highest; none where none matters."""
    best = gaps.ways.nan_to_num(nan=1.0, posinf=1.0).amin(1)
    open_ = (~examined).nonzero()[:, 0]
    if len(examined) <= AT_ONCE:
        return open_
    if not bool(examined.any()):
        # the classes predicted at the points come first: the proof that they stay needs their margins
        score = best.amax(0)
        score[likely] = torch.inf
        return score.topk(max(AT_ONCE, len(likely))).indices
    reached = best[:, examined].amax(1, keepdim=True)
    excess = (best[:, open_] - reached).amax(0)
    order = excess.argsort(descending=True)[:AT_ONCE]
    return open_[order[excess[order] > 0]]


def _meet_logits(differences: Differences, teacher: Pass, student: Pass, region: Region) -> None:
    """Meet the margins with differences of single logits' bounds, for pairs without rows of their own."""
    for run, margins in ((teacher, differences.teacher), (student, differences.student)):
        ones = torch.eye(run.graph.classes, dtype=run.graph.dtype, device=run.graph.device)
        rows = torch.cat([ones, -ones])[None]
        high, low = region.maximum(*_back(run, rows)).chunk(2, dim=1)
        loose = high[:, :, None] + low[:, None, :]
        margins.copy_(torch.minimum(margins, loose))
        margins.diagonal(dim1=1, dim2=2).clamp_(min=0)
    differences.between.copy_(
        torch.minimum(differences.between, differences.student + differences.teacher.mT)
    )


def _back(run: Pass, rows: Tensor) -> tuple[Tensor, Tensor]:
    return backward(run.graph, run.relaxations, len(run.graph.nodes) - 1, rows, run.sizes)


def _refine(
    differences: Differences,
    teacher: Pass,
    student: Pass,
    region: Region,
    chosen: Int[Tensor, " m"],
    examined: Bool[Tensor, " c"],
) -> None:
    """CROWN on z_j - z_k for every ordered pair with a chosen class: each net, and their lines added up."""
    count = len(examined)
    wanted = torch.zeros(count, count, dtype=torch.bool, device=chosen.device)
    wanted[chosen], wanted[:, chosen] = True, True
    wanted[examined], wanted[:, examined] = False, False  # done before
    wanted.fill_diagonal_(False)
    pairs = wanted.nonzero()
    step = max(
        1, crown.ROWS_BUDGET // (max(1, len(region.center)) * max(teacher.graph.width, student.graph.width))
    )
    for part in pairs.split(step):
        j, k = part.unbind(1)
        # the student's line for s_j - s_k and the teacher's for t_k - t_j, whose sum bounds the difference
        ours, our_constant = _back(teacher, difference_rows(k, j, count, teacher.graph.dtype))
        theirs, their_constant = _back(student, difference_rows(j, k, count, student.graph.dtype))
        for margins, first, second, top in (
            (differences.teacher, k, j, region.maximum(ours, our_constant)),
            (differences.student, j, k, region.maximum(theirs, their_constant)),
            (differences.between, j, k, region.maximum(ours + theirs, our_constant + their_constant)),
        ):
            margins[:, first, second] = torch.minimum(margins[:, first, second], top)
    together = differences.student + differences.teacher.mT
    differences.between.copy_(torch.minimum(differences.between, together))


def _third(
    differences: Differences, teacher: Pass, student: Pass, region: Region, chosen: Int[Tensor, " m"]
) -> Float[Tensor, "b m"]:
    """UB3: a line above one net's p_k minus a line below the other's, walked back to the input together."""
    odds = differences.odds
    sides: list[tuple[Lines, Lines]] = []
    for net, margins in zip(odds, (differences.teacher, differences.student), strict=True):
        above, below = raised(net, margins), lowered(margins)
        negated = (-below[0][:, chosen], -below[1][:, chosen])
        sides.append(((above[0][:, chosen], above[1][:, chosen]), negated))
    (our_above, our_below), (their_above, their_below) = sides
    ours, our_constant = _back(teacher, torch.cat([our_above[0], our_below[0]], 1))
    theirs, their_constant = _back(student, torch.cat([their_below[0], their_above[0]], 1))
    constant = torch.cat([our_above[1] + their_below[1], our_below[1] + their_above[1]], 1)
    top = region.maximum(ours + theirs, our_constant + their_constant + constant)
    return torch.maximum(*top.chunk(2, dim=1))
