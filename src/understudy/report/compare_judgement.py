"""The head of a comparison's page: its table of all methods, its verdicts, and what is not in it and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.report.comparison import Comparison
from understudy.report.judgement import AT_FOCUS, Judgement
from understudy.report.layout import section
from understudy.report.marks import slot
from understudy.report.markup import Markup, el
from understudy.report.tables import cell, table
from understudy.report.words import (
    SHARES,
    interval,
    metric_label,
    metric_parts,
    metric_value,
    present,
    radius,
    sentence,
)

_PLAIN = ("train_seconds", "peak_megabytes")


def judgement_section(found: Judgement, c: Comparison) -> Markup:
    """A row a method, the teacher's first: every column of the judgement with its interval and verdict."""
    head = ["Method", *(_head(metric, found.focus) for metric in found.columns)]
    rows: list[list[str]] = []
    if found.teacher:
        own = [
            metric_value(metric_parts(m)[0], found.teacher[m]) if m in found.teacher else "–"
            for m in found.columns
        ]
        rows.append(
            [el("th", el("span", "teacher", class_="method st"), scope="row"), *(cell(v) for v in own)]
        )
    for method in found.methods:
        colour = slot(c.methods.index(method)) if method in c.methods else "si"
        name = el("th", el("span", method, class_=f"method {colour}"), scope="row")
        rows.append([name, *(_cell(metric, found.cells.get((method, metric))) for metric in found.columns)])
    held = found.content.get("settings") or {}
    against = f" against {held['reference']}" if held.get("reference") else ""
    return section(
        "All methods",
        el("div", table("Methods", head, rows, sortable=True), class_="stacked"),
        el("p", "Press a column’s name to sort by it.", class_="hint"),
        *(el("p", line) for line in found.absences()),
        lead="Means over seeds with 95% intervals, which count the examples as a sample too where a column is a mean "
        f"over them. The verdict is on the difference{against}, paired by seed and example.",
    )


def _head(metric: str, focus: float | None) -> str:
    name = metric_parts(metric)[0]
    title = sentence(metric_label(name)).removesuffix(", mean")
    return f"{title}, ε = {radius(focus)}" if name in AT_FOCUS and focus is not None else title


def _cell(metric: str, row: Mapping[str, Any] | None) -> Markup:
    if row is None or not present(row.get("mean")):
        return cell("–")
    name = metric_parts(metric)[0]
    if name in _PLAIN:
        return cell(f"{row['mean']:.1f}")
    ends: Sequence[float | None] = (row.get("low"), row.get("high"))
    return cell(metric_value(name, row["mean"]), interval(ends, name in SHARES), row.get("verdict"))
