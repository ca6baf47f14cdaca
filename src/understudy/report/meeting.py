"""The section on how close the bounds came: point by point, over time, and what is certain about classes."""

from __future__ import annotations

from understudy.auditing.record import AuditRecord
from understudy.report.layout import panels, section
from understudy.report.markup import Markup, el
from understudy.report.meeting_charts import Enclosed, bounds_by_point, every, gap_over_time
from understudy.report.plot import panel
from understudy.report.radius_charts import Curve, class_counts, over_radius
from understudy.report.words import count, norm_name, number, percent, radius

Rows = list[tuple[float, float | None, float | None, float | None]]
_OPEN = 3  # radii whose panels are open; those of smaller ones are folded away


def meeting_section(record: AuditRecord) -> Markup | None:
    """The section, or None where no upper bound was asked for."""
    places = [i for i, row in enumerate(record.summary) if row.eps > 0 and enclosed(record, i)]
    if not places:
        return None
    shown = [_at(record, place) for place in reversed(places)]
    folded = None
    if len(shown) > _OPEN:
        rest = f"{len(shown) - _OPEN} smaller {'radius' if len(shown) == _OPEN + 1 else 'radii'}"
        inner = panels(*(one for pair in shown[_OPEN:] for one in pair))
        folded = el("details", el("summary", rest), inner)
    return section(
        "How close the bounds came",
        panels(*(one for pair in shown[:_OPEN] for one in pair)),
        folded,
        _certain(record) if len(record.summary) > 1 else None,
        lead="Point by point: what an input was found for, and what is proved that none exceeds. Where the two "
        "meet, the largest difference is known.",
    )


def enclosed(record: AuditRecord, place: int) -> list[Enclosed]:
    """The counted points with both bounds at one radius."""
    rows = [(point.index, point.radii[place]) for point in record.points if point.counted]
    return [
        Enclosed(index, one.lower, one.upper, one.status == "exact")
        for index, one in rows
        if one.lower is not None and one.upper is not None
    ]


def tolerance(record: AuditRecord) -> float:
    """The gap that counts as closed."""
    return float(record.settings.get("tolerance") or 0.0)


def _at(record: AuditRecord, place: int) -> list[Markup]:
    """One radius: bounds by point and, after a search, the gap over time."""
    rows, eps = enclosed(record, place), radius(record.summary[place].eps)
    closed = sum(row.closed for row in rows)
    gap = sum(row.upper - row.lower for row in rows) / len(rows)
    part = every(len(rows))
    drawn = f" One of every {part} points is drawn." if part > 1 else ""
    title = f"Found and proved at ε = {eps}"
    parts = [
        panel(
            title,
            bounds_by_point(title, rows),
            f"Bars: from the largest difference found (dot) to the proved bound (tick); the truth lies on the bar. "
            f"Diamonds: closed, known to within {tolerance(record):g}: {closed} of {count(len(rows), 'point')}. "
            f"Mean gap {number(gap, 4)}.{drawn}",
        )
    ]
    here = [point.radii[place] for point in record.points if point.counted]
    histories = [one.history for one in here if one.history]
    if histories:
        title = f"The gap over time at ε = {eps}"
        nodes = sum(one.nodes or 0 for one in here)
        parts.append(
            panel(
                title,
                gap_over_time(title, histories),
                f"Bold: mean over {count(len(histories), 'point')}. Faint: each of them. A search may be stopped at "
                f"any moment; what it has then is sound. {nodes:,} nodes in all.",
            )
        )
    return parts


def _certain(record: AuditRecord) -> Markup:
    """Certified agreement and closed points over the radius."""
    rows = {row.eps: row for row in record.summary}
    counts = class_counts(record)
    proved: Rows = []
    possible: Rows = []
    for eps, same, _, different in counts:
        total = max(rows[eps].counted, 1)
        ends = rows[eps].certified_agreement_interval or (None, None)
        proved.append((eps, same / total, *ends))
        possible.append((eps, 1 - different / total, None, None))
    closed: Rows = [(row.eps, row.closed_fraction, None, None) for row in record.summary]
    first, second = "Certified agreement", "Points closed"
    last = record.summary[-1]
    norm = norm_name(record.norm)
    return panels(
        panel(
            first,
            over_radius(
                first,
                f"share of {count(last.counted, 'counted point')}",
                [Curve("possible", "st", possible, shape=1), Curve("proved", "s0", proved, dashed=True)],
                norm=norm,
                share=True,
                fill_between=True,
            ),
            f"Dashed: proved that both name one class in the whole ball, {percent(last.certified_agreement)} at "
            f"ε = {radius(last.eps)}; its band is the 95% interval. Solid: not refuted by a witness. The truth lies "
            "between them.",
        ),
        panel(
            second,
            over_radius(
                second, "share closed", [Curve("closed", "s2", closed, shape=3)], norm=norm, share=True
            ),
            f"Share of counted points whose largest difference is known to within {tolerance(record):g}.",
        ),
    )
