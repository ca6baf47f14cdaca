"""An examination as audit.json's rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from understudy.auditing.examine import AtRadius, Examination
from understudy.auditing.record import History, PointRecord, RadiusRecord
from understudy.bounds.engine import PairBound, Status
from understudy.objectives.divergences import kl, total_variation

HISTORY = 40  # rows of a search's course that are kept


def point_records(
    found: Examination,
    start: int,
    tolerance: float = 1e-4,
    certificates: Mapping[tuple[int, float], str] | None = None,
) -> list[PointRecord]:
    """One record a point, in file order.

    Args:
        start: the first point's row in the split.
        tolerance: upper - lower that counts as exact.
        certificates: the file of a (point's place, radius), by its name in the audit's folder.
    """
    clean = found.radii[0]
    divergence = [kl(at.teacher, at.student).tolist() for at in found.radii]
    variation = [total_variation(at.teacher, at.student).tolist() for at in found.radii]
    points = []
    for row in range(len(found.inputs)):
        counted = bool(found.counted[row])
        radii = [
            _radius_record(
                at,
                row,
                counted,
                (divergence[i][row], variation[i][row]),
                tolerance,
                (certificates or {}).get((row, at.eps)),
            )
            for i, at in enumerate(found.radii)
        ]
        label = None if found.labels is None else int(found.labels[row])
        said = int(clean.teacher[row].argmax()), int(clean.student[row].argmax())
        points.append(PointRecord(start + row, label, *said, counted, radii))
    return points


def _radius_record(
    at: AtRadius,
    row: int,
    counted: bool,
    there: tuple[float, float],
    tolerance: float,
    certificate: str | None,
) -> RadiusRecord:
    bound = at.bounds[row]
    lower = float(at.lower[row])
    proved = bound is not None and bound.same_class
    searched = bound is not None and len(bound.history) > 0
    return RadiusRecord(
        eps=at.eps,
        lower=lower if counted else None,
        upper=None if bound is None else bound.upper,
        status="skipped" if bound is None else _status(bound, lower, tolerance),
        same_class=False if bool(at.split[row]) else True if proved else None,
        seconds=at.seconds[row],
        used=None if bound is None else bound.used,
        kl=there[0],
        total_variation=there[1],
        nodes=bound.nodes if bound is not None and searched else None,
        history=thinned(_course(bound, lower)) if bound is not None and searched else None,
        certificate=certificate,
    )


def _course(bound: PairBound, lower: float) -> list[tuple[float, float, float, int]]:
    """The search's course up to its end, nowhere better than the bounds that are written down."""
    rows = [
        (seconds, min(low, lower), max(high, bound.upper), nodes)
        for seconds, low, high, nodes in bound.history
    ]
    end = (bound.seconds, lower, bound.upper, bound.nodes)
    if rows and rows[-1][1:] == end[1:]:
        return rows
    return [*rows, (max(end[0], rows[-1][0] if rows else 0.0), *end[1:])]


def _status(bound: PairBound, lower: float, tolerance: float) -> Status:
    """The bound's status, held against the lower bound that is written beside it."""
    if bound.status == "skipped" or (bound.status == "exact" and bound.used == "clean"):
        return bound.status
    if bound.upper - lower <= tolerance:
        return "exact"
    return "bounded" if bound.status == "exact" else bound.status


def thinned(history: Sequence[tuple[float, float, float, int]], most: int = HISTORY) -> History:
    """At most `most` rows of (seconds, lower, upper, nodes): first and last, and between them, where the clock
    ticks evenly in its logarithm, the last row before each tick."""
    if len(history) <= most:
        return tuple((float(s), float(low), float(high), int(nodes)) for s, low, high, nodes in history)
    first = max(history[0][0], 1e-3)
    span = math.log(max(history[-1][0], 2 * first) / first)
    kept = {0, len(history) - 1}
    place = 0
    for tick in range(1, most - 1):
        until = first * math.exp(span * tick / (most - 1))
        while place + 1 < len(history) and history[place + 1][0] <= until:
            place += 1
        kept.add(place)
    return thinned([history[i] for i in sorted(kept)], most)
