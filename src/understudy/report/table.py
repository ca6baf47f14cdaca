"""Terminal tables: an audit by radius, a comparison by method. Readable at 80 columns and without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.auditing.record import AuditRecord
from understudy.report.markup import Number
from understudy.report.words import (
    SHARES,
    count,
    interval,
    metric_label,
    metric_parts,
    metric_value,
    norm_name,
    number,
    percent,
    present,
    radius,
    same_radius,
)


def audit_table(record: AuditRecord) -> RenderableType:
    """A row a radius: EmpLB, FaithUB and its maximum, certified agreement, agreement, accuracies."""
    heads = ("EmpLB\nmean", "FaithUB\nmean", "FaithUB\nmax", "certified\nsame", "agree", "teacher\naccuracy")
    table = _table("ε", *heads, "student\naccuracy")
    for row in record.summary:
        table.add_row(
            radius(row.eps),
            _cell(_short(row.lower_mean), _dots(row.lower_mean_interval)),
            _cell(_short(row.upper_mean), _dots(row.upper_mean_interval)),
            _short(row.upper_max),
            _cell(_share(row.certified_agreement), _ends(row.certified_agreement_interval)),
            _cell(_share(row.agreement), _ends(row.agreement_interval)),
            _share(row.accuracy_teacher),
            _share(row.accuracy_student),
        )
    counted = sum(point.counted for point in record.points)
    note = (
        f"{norm_name(record.norm)} balls around {count(len(record.points), 'point')} of {record.data.name} "
        f"({record.data.split}), {counted} counted. Intervals are at 95%; – is not measured."
    )
    return Group(table, Text(note))


def _short(value: Number | None) -> str:
    return number(value) if present(value) else "–"


def _share(value: Number | None) -> str:
    return percent(value) if present(value) else "–"


def _dots(ends: Sequence[Number | None] | None) -> str:
    """An interval of differences, short: .136–.181."""
    return "–".join(part.removeprefix("0") for part in interval(ends).split("–"))


def _ends(ends: Sequence[Number | None] | None) -> str:
    """An interval of shares, short: 31–51%."""
    known = [end for end in ends or () if end is not None and present(end)]
    if len(known) != 2:
        return ""
    return f"{100 * known[0]:.0f}{' to ' if known[0] < 0 else '–'}{100 * known[1]:.0f}%"


def _cell(value: str, ends: str) -> str:
    return f"{value}\n{ends}" if ends else value


_MARKS = {"better": " +", "not better": " –", "worse": " –", "inconclusive": " ?"}
SHOWN = 5  # radii that fit 80 columns; the page has them all
_COLUMNS = (
    "lower_mean",
    "upper_mean",
    "certified_agreement",
    "agreement",
    "accuracy_student",
)


def compare_table(compare: Mapping[str, Any]) -> RenderableType:
    """A row a method at the training radius (else the largest): means, intervals beneath, the verdict's sign
    (+ better, – not better, ? inconclusive); then EmpLB to FaithUB at every radius. `compare`: the content of
    compare.json; a metric at a radius is called `name@eps`."""
    summary = compare.get("summary") or []
    methods = list(dict.fromkeys(str(row["method"]) for row in summary))
    metrics = list(dict.fromkeys(str(row["metric"]) for row in summary))
    found = {(str(row["method"]), str(row["metric"])): row for row in summary}
    radii = sorted({eps for metric in metrics if (eps := metric_parts(metric)[1]) is not None})
    wanted = (compare.get("settings") or {}).get("train_eps")
    focus = next(
        (eps for eps in radii if wanted is not None and same_radius(eps, wanted)),
        radii[-1] if radii else None,
    )
    here = {metric_parts(m)[0]: m for m in metrics if metric_parts(m)[1] in (None, focus)}
    shown = [here[name] for name in _COLUMNS if name in here] or metrics[:5]
    table = _table("", *(_HEADS.get(metric_parts(m)[0], metric_label(m).replace(" ", "\n")) for m in shown))
    for method in methods:
        table.add_row(Text(method), *(_entry(m, found.get((method, m))) for m in shown))
    at = "" if focus is None else f"At ε = {radius(focus)}. "
    parts: list[RenderableType] = [
        table,
        Text(f"{at}Means over seeds, 95% intervals beneath; + better, – not better, ? inconclusive."),
    ]
    if len(radii) > 1:
        names = {(metric_parts(m)): m for m in metrics}
        bounds = _table("EmpLB–FaithUB", *(f"ε {radius(eps)}" for eps in radii[-SHOWN:]))
        for method in methods:
            row = [[found.get((method, names.get((n, e), ""))) for n in _COLUMNS[:2]] for e in radii[-SHOWN:]]
            bounds.add_row(Text(method), *("–".join(_point(one) for one in pair) for pair in row))
        parts.append(bounds)
    return Group(*parts)


_HEADS = {
    "lower_mean": "EmpLB\nmean",
    "upper_mean": "FaithUB\nmean",
    "certified_agreement": "same class\ncertified",
    "agreement": "agree",
    "accuracy_student": "student’s\naccuracy",
}


def _table(first: str, *heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True, min_width=max(5, len(first)))
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _point(row: Mapping[str, Any] | None) -> str:
    return number(row["mean"]).removeprefix("0") if row is not None and present(row.get("mean")) else "?"


def _entry(metric: str, row: Mapping[str, Any] | None) -> Text:
    if row is None or not present(row.get("mean")):
        return Text("–")
    name, ends = metric_parts(metric)[0], (row.get("low"), row.get("high"))
    verdict = row.get("verdict")
    sign = _MARKS.get(str(verdict), f" {verdict}") if verdict else "  "
    under = _ends(ends) if name in SHARES else _dots(ends)
    return Text(_cell(metric_value(name, row["mean"]) + sign, f"{under}  " if under else ""))
