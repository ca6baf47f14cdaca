"""The tables of a comparison: means with verdicts, method against method, and every value behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.report.comparison import Comparison
from understudy.report.layout import section
from understudy.report.marks import slot
from understudy.report.markup import Markup, el
from understudy.report.tables import cell, table
from understudy.report.words import (
    SHARES,
    count,
    interval,
    metric_label,
    metric_parts,
    metric_value,
    number,
    present,
    radius,
    same_radius,
    sentence,
)

_CONTRASTED = ("lower_mean", "upper_mean")


def summary_section(c: Comparison) -> Markup:
    """Means, intervals and verdicts at the focus radius; the other radii folded."""
    metrics = list(dict.fromkeys(str(row["metric"]) for row in c.rows))
    here = [m for m in metrics if (e := metric_parts(m)[1]) is None or same_radius(e, c.focus)]
    others = [m for m in metrics if m not in here]
    more = (
        el(
            "details",
            el("summary", f"The other radii, {count(len(others), 'metric')}"),
            _metric_table(c, others, "All other metrics"),
        )
        if others
        else None
    )
    return section(
        "Table",
        _metric_table(c, here or metrics, "Methods by metric"),
        more,
        lead=f"At ε = {radius(c.focus)}. Beneath each mean its 95% interval and the verdict, where one "
        "was given.",
    )


def _metric_table(c: Comparison, metrics: Sequence[str], label: str) -> Markup:
    head = ["", *(el("span", method, class_=f"method {slot(i)}") for i, method in enumerate(c.methods))]
    rows = []
    for metric in metrics:
        name, eps = metric_parts(metric)
        title = sentence(metric_label(name))
        title += f", ε = {radius(eps)}" if eps is not None and not same_radius(eps, c.focus) else ""
        cells = [el("th", title, scope="row")]
        for e in c.entries(metric):
            ends = interval((e.low, e.high), name in SHARES)
            cells.append(cell(metric_value(name, e.mean), ends, e.verdict))
        rows.append(cells)
    return table(label, head, rows)


def contrast_section(c: Comparison, contrasts: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Paired differences between methods on EmpLB and FaithUB at the focus radius; None where there are none.

    `contrasts`: rows of metric, a, b, difference (a minus b, paired by seed), low, high, verdict (for a).
    """
    parts: list[Markup] = []
    for name in _CONTRASTED:
        here = {(r["a"], r["b"]): r for r in contrasts if r["metric"] == c.key(name)}
        if not here:
            continue
        methods = [method for method in c.methods if any(method in pair for pair in here)]
        title = f"{sentence(metric_label(name))}, ε = {radius(c.focus)}"
        names = {m: el("span", m, class_=f"method {slot(c.methods.index(m))}") for m in methods}
        rows = [
            [el("th", names[a], scope="row"), *(_contrast(here.get((a, b)), a == b) for b in methods)]
            for a in methods
        ]
        parts += [el("h3", title), table(title, ["row minus column", *names.values()], rows)]
    if not parts:
        return None
    lead = (
        "Differences paired by seed, with 95% intervals. Below 0 the row’s method is closer to the teacher; "
    )
    return section("Method against method", *parts, lead=lead + "the verdict is on the row’s method.")


def _contrast(row: Mapping[str, Any] | None, same: bool) -> Markup:
    if row is None or not present(row.get("difference")):
        return cell("–" if same else "not measured")
    low, high = row.get("low"), row.get("high")
    ends = f"{_signed(low)} to {_signed(high)}" if present(low) and present(high) else ""
    return cell(_signed(row["difference"]), ends, row.get("verdict"))


def _signed(value: float | int | None) -> str:
    text = number(value)
    return text.replace("-", "−") if text.startswith((">", "-")) or not present(value) else f"+{text}"


def rows_section(c: Comparison) -> Markup:
    """Every measured value, folded."""
    rows = []
    for row in c.rows:
        name, eps = metric_parts(str(row["metric"]))
        at = radius(eps) if eps is not None else "any"
        rows.append(
            [
                el("th", str(row["method"]), scope="row"),
                cell(str(row["seed"])),
                metric_label(name),
                cell(at),
                cell(metric_value(name, row["value"])),
            ]
        )
    return section(
        "Seed by seed",
        el(
            "details",
            el("summary", f"All {count(len(rows), 'measurement')}"),
            table("All measurements", ["Method", "Seed", "Metric", "ε", "Value"], rows, sortable=True),
        ),
        lead="Every number behind the means.",
    )
