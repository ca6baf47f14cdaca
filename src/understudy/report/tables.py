"""HTML tables inside their own scroll region, reachable by keyboard."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.auditing.record import AuditRecord, PointRecord, RadiusRecord
from understudy.report.markup import Markup, el, join
from understudy.report.words import interval, metric_label, number, percent, radius, sentence

_ROWS = 500  # a longer table of points says that it was cut; audit.json has all


def cell(value: str, ends: str = "", note: str | None = None, kind: str = "num") -> Markup:
    """A table cell with its interval beneath."""
    under = el("span", ends, class_="iv") if ends else None
    said = el("span", note, class_="iv verdict") if note else None
    return el("td", value, under, said, class_=kind)


def table(
    label: str, head: Sequence[str], rows: Sequence[Sequence[str]], sortable: bool = False, fit: bool = False
) -> Markup:
    """A table of cells (each a <td> or <th>, or text) with a header row, in a scroll region called `label`.
    `fit`: only as wide as its content."""
    heads = [el("th", _head(name, sortable), scope="col") for name in head]
    body = [el("tr", *(one if isinstance(one, Markup) else el("td", one) for one in row)) for row in rows]
    inner = el(
        "table", el("thead", el("tr", *heads)), el("tbody", *body), class_="sortable" if sortable else None
    )
    return el(
        "div", inner, class_="scroll fit" if fit else "scroll", role="region", tabindex=0, aria_label=label
    )


def _head(name: str, sortable: bool) -> Markup:
    if not sortable or isinstance(name, Markup):
        return join(name)
    return el("button", name, type="button")


def pairs(label: str, rows: Sequence[tuple[str, str]]) -> Markup:
    """Names and values, two columns."""
    if not rows:
        return el("p", "not measured", class_="absent")
    body = [el("tr", el("th", name, scope="row"), el("td", value, class_="value")) for name, value in rows]
    inner = el("table", el("tbody", *body), class_="pairs")
    return el("div", inner, class_="scroll", role="region", tabindex=0, aria_label=label)


def radius_table(record: AuditRecord) -> Markup:
    """One row an eps: every summary number with its interval."""
    names = ["agreement", "lower_mean", "upper_mean", "upper_max", "closed_fraction", "certified_agreement"]
    names += ["accuracy_teacher", "accuracy_student", "kl", "total_variation"]
    rows = []
    for row in record.summary:
        rows.append(
            [
                el("th", radius(row.eps), scope="row"),
                cell(percent(row.agreement), interval(row.agreement_interval, True)),
                cell(number(row.lower_mean), interval(row.lower_mean_interval)),
                cell(number(row.upper_mean), interval(row.upper_mean_interval)),
                cell(number(row.upper_max)),
                cell(percent(row.closed_fraction)),
                cell(percent(row.certified_agreement), interval(row.certified_agreement_interval, True)),
                cell(percent(row.accuracy_teacher), interval(row.accuracy_teacher_interval, True)),
                cell(percent(row.accuracy_student), interval(row.accuracy_student_interval, True)),
                cell(number(row.kl)),
                cell(number(row.total_variation)),
            ]
        )
    return table("Summary by radius", ["ε", *(sentence(metric_label(name)) for name in names)], rows)


def point_order(point: PointRecord) -> tuple[float, float, int]:
    """Worst first: by the largest proved difference, then the largest found, then the index."""
    uppers = [one.upper for one in point.radii if one.upper is not None]
    lowers = [one.lower for one in point.radii if one.lower is not None]
    return (-max(lowers, default=-1.0), -max(uppers, default=-1.0), point.index)


def points_table(record: AuditRecord) -> Markup:
    """Every point, worst first, folded; columns can be sorted with the buttons in the header."""
    names = record.data.class_names
    points = sorted(record.points, key=point_order)
    head = ["Point", "Label", "Teacher", "Student", "Counted"]
    for row in record.summary:
        at = f"ε {radius(row.eps)}"
        head += [f"EmpLB, {at}", f"FaithUB, {at}", f"Class, {at}"]
    body = []
    for point in points[:_ROWS]:
        cells: list[str] = [
            el("th", str(point.index), scope="row"),
            _class(point.label, names),
            _class(point.teacher_class, names),
            _class(point.student_class, names),
            "yes" if point.counted else "no",
        ]
        for one in point.radii:
            cells += [cell(number(one.lower)), cell(number(one.upper), _status(one)), _same(one.same_class)]
        body.append(cells)
    cut = f" The first {_ROWS} of {len(points):,}; audit.json has all." if len(points) > _ROWS else ""
    return el(
        "details",
        el("summary", f"All {len(points):,} points, the largest difference found first"),
        el("p", "Press a column’s name to sort by it." + cut, class_="hint"),
        table("All points", head, body, sortable=True),
    )


def _status(one: RadiusRecord) -> str:
    return {"exact": "exact", "timeout": "time limit"}.get(one.status, "")


def _class(value: int | None, names: Sequence[str] | None) -> str:
    if value is None:
        return "no label"
    return names[value] if names and value < len(names) else str(value)


def _same(value: bool | None) -> str:
    return {True: "same", False: "different", None: "open"}[value]
