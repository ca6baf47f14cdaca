"""From two CROWN passes to a finished search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.attacks.ball import Ball
from understudy.bounds.crown import Pass
from understudy.bounds.pair import Gaps
from understudy.bounds.region import Region
from understudy.bounds.search.joint import Space
from understudy.bounds.search.net import net_of
from understudy.bounds.search.record import Record
from understudy.bounds.search.root import roots
from understudy.bounds.search.search import Effort, Found, Search
from understudy.bounds.search.twins import Twins
from understudy.bounds.shared import Shared


@dataclass(frozen=True, eq=False)
class Start:
    """What is known of a group of points before the search.

    Attributes:
        teacher, student, region, gaps: the CROWN passes and the bounds they gave.
        points: the inputs (P, ...).
        ball: radius and valid range.
        lower, witness: what an attack found (P,), (P, ...).
        shared: the neurons' differences where both networks have one structure and they help, or None.
    """

    teacher: Pass
    student: Pass
    region: Region
    gaps: Gaps
    points: Float[Tensor, "p ..."]
    ball: Ball
    lower: Float[Tensor, " p"]
    witness: Float[Tensor, "p ..."]
    shared: Shared | None


@torch.no_grad()
def searched(
    start: Start,
    tolerance: float,
    effort: Effort,
    branch: bool,
    more: Callable[[Search], bool],
    record: bool = False,
) -> tuple[Found, Record | None]:
    """Optimise the joint bound of every query; with `branch` split until bounds meet or `more` says no.

    With `record` everything is proved by the search itself, nothing by the fast bounds, and kept.
    """
    space = Space(net_of(start.teacher), net_of(start.student), start.region)
    upper = torch.ones_like(start.lower) if record else start.gaps.worst()[0]
    low, high = (side.flatten(1) for side in start.ball.box(start.points))
    found = Found(
        start.lower.clone(),
        upper,
        start.witness.flatten(1).clone(),
        torch.zeros(len(upper), dtype=torch.long, device=upper.device),
    )
    floor = torch.full_like(found.lower, -1.0) if record else found.lower + tolerance
    trees, rest = roots(space, start.teacher, start.student, start.gaps, start.region, floor)
    kept = Record(space) if record else None
    if record:
        trees.bound.fill_(1.0)
    twins = None
    if start.shared is not None and not record:
        twins = Twins(start.shared, start.gaps.differences)
    search = Search(space, (low, high), trees, found, rest, tolerance, effort, kept, twins)
    more(search)
    if branch:
        search.run(lambda: more(search))
    return found, kept
