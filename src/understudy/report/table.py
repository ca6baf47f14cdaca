"""Terminal tables: an audit by radius, a comparison by method. Readable at 80 columns and without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.auditing.record import AuditRecord
from understudy.report.judgement import AT_FOCUS, judgement
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
    if not record.skipped:
        return Group(table, Text(note))
    left_out = [Text(f"Skipped: {name}: {why}.") for name, why in record.skipped.items()]
    return Group(table, Text(note), Text(_as_they_are(record)), *left_out)


def _as_they_are(record: AuditRecord) -> str:
    """Divergence and calibration on the examined points, in one sentence."""
    clean, c = record.summary[0], record.calibration
    against = (
        ""
        if c.ece_student is None
        else f"; ECE teacher {_short(c.ece_teacher)}, student {_short(c.ece_student)}"
    )
    return (
        f"Unperturbed: KL(teacher || student) {_short(clean.kl)} nats, total variation "
        f"{_short(clean.total_variation)}, relative ECE {_short(c.relative_ece)}{against}."
    )


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
COST = ("train_seconds", "peak_megabytes")  # shown without an interval
LONGEST = 13  # characters of a method's name on one line


def compare_table(compare: Mapping[str, Any]) -> RenderableType:
    """A row a method: means, intervals beneath, the verdict's sign (+ better, – not better, ? inconclusive), the
    teacher first; the verdicts in words, what failed or was left out; then EmpLB to FaithUB at every radius.
    `compare`: the content of compare.json; a metric at a radius is called `name@eps`."""
    found = judgement(compare)
    table = _table(
        "", *(_HEADS.get(metric_parts(m)[0], metric_label(m).replace(" ", "\n")) for m in found.columns)
    )
    if found.teacher:
        own = [
            metric_value(metric_parts(m)[0], found.teacher[m]) if m in found.teacher else "–"
            for m in found.columns
        ]
        table.add_row(Text("teacher"), *(Text(f"{value}  ") for value in own))
    for method in found.methods:
        table.add_row(_name(method), *(_entry(m, found.cells.get((method, m))) for m in found.columns))
    at = "" if found.focus is None else f"EmpLB and FaithUB at ε = {radius(found.focus)}. "
    held = (compare.get("settings") or {}).get("reference")
    signs = f"Signs, against {held}" if held else "Signs"
    note = f"{at}Means over seeds, ± 95%. {signs}: + better, – not better, ? inconclusive."
    lines = [note, *found.sentences(), *found.absences()]
    parts: list[RenderableType] = [table, *(Text(line) for line in lines)]
    radii = sorted({eps for _, m in found.cells if (eps := metric_parts(m)[1]) is not None})
    if len(radii) > 1:
        names = {metric_parts(m): m for _, m in found.cells}
        bounds = _table("EmpLB–FaithUB", *(f"ε {radius(eps)}" for eps in radii[-SHOWN:]))
        for method in found.methods:
            row = [
                [found.cells.get((method, names.get((n, e), ""))) for n in AT_FOCUS] for e in radii[-SHOWN:]
            ]
            bounds.add_row(_name(method), *("–".join(_point(one) for one in pair) for pair in row))
        parts.append(bounds)
    return Group(*parts)


def _name(method: str) -> Text:
    """A method's name; a long one goes on in the next line after one of its joints."""
    if len(method) <= LONGEST:
        return Text(method)
    joint = max((method.rfind(sign, 0, LONGEST) for sign in "_.:"), default=-1)
    return Text(method if joint < 1 else f"{method[: joint + 1]}\n{method[joint + 1 :]}")


_HEADS = {
    "lower_mean": "EmpLB",
    "upper_mean": "FaithUB",
    "agreement": "agree",
    "kl": "KL,\nnats",
    "relative_ece": "relative\nECE",
    "train_seconds": "s",
    "peak_megabytes": "MB",
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
    if name in COST:
        return Text(f"{row['mean']:.0f}" if row["mean"] >= 10 else f"{row['mean']:.1f}")
    verdict = row.get("verdict")
    sign = _MARKS.get(str(verdict), f" {verdict}") if verdict else "  "
    under = _half(row["mean"], ends, name in SHARES)
    return Text(_cell(metric_value(name, row["mean"]) + sign, f"{under}  " if under else ""))


def _half(mean: Number, ends: Sequence[Number | None], share: bool) -> str:
    """Half an interval's width, short: ±.012 or ±1.2%; its longer side where the other was cut at a limit."""
    known = [abs(end - mean) for end in ends if end is not None and present(end)]
    if len(known) != 2:
        return ""
    return f"±{100 * max(known):.1f}%" if share else f"±{number(max(known)).removeprefix('0')}"
