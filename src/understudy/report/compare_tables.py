"""The tables of a comparison: means with verdicts, method against method, and every value behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.report.comparison import FEW, Comparison
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

WHOLE = ("accuracy", "agreement", "kl", "total_variation")  # also measured by the audit, over its points
_CONTRASTED = ("kl", "lower_mean", "upper_mean")


def summary_section(c: Comparison) -> Markup:
    """Means, intervals and verdicts at the focus radius; the other radii folded."""
    metrics = list(dict.fromkeys(str(row["metric"]) for row in c.rows))
    here = [m for m in metrics if (e := metric_parts(m)[1]) is None or same_radius(e, c.focus)]
    others = [m for m in metrics if m not in here]
    every = _metric_table(c, here or metrics, "Methods by metric")
    many = len(c.methods) > FEW
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
        "Metric by metric",
        el("details", el("summary", f"All {count(len(c.methods), 'method')}"), every) if many else every,
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
        title += ", whole split" if eps is None and name in WHOLE else ""
        cells = [el("th", title, scope="row")]
        for e in c.entries(metric):
            ends = interval((e.low, e.high), name in SHARES)
            cells.append(cell(metric_value(name, e.mean), ends, e.verdict))
        rows.append(cells)
    return table(label, head, rows)


def contrast_section(c: Comparison, contrasts: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Paired differences on KL, and on EmpLB and FaithUB at the focus radius; None where there are none.

    `contrasts`: rows of metric, a, b, difference (a minus b, paired by seed), low, high, verdict (for a).
    """
    parts: list[Markup] = []
    for name in _CONTRASTED:
        metric = c.whole(name)
        here = {(r["a"], r["b"]): r for r in contrasts if r["metric"] == metric}
        if not here:
            continue
        sides = [[m for m in c.methods if any(pair[k] == m for pair in here)] for k in (0, 1)]
        methods = [m for m in c.methods if m in (*sides[0], *sides[1])]
        eps = metric_parts(metric or name)[1]
        title = sentence(metric_label(name)) + (f", ε = {radius(eps)}" if eps is not None else "")
        names = {m: el("span", m, class_=f"method {slot(c.methods.index(m))}") for m in methods}
        rows = [
            [el("th", names[a], scope="row"), *(_contrast(here.get((a, b)), a == b) for b in sides[1])]
            for a in sides[0]
        ]
        parts += [el("h3", title), table(title, ["row minus column", *(names[b] for b in sides[1])], rows)]
    if not parts:
        return None
    lead = "Differences paired by seed and example, with 95% intervals. "
    lead += "Below 0 the row’s method is closer to the teacher; the verdict is on the row’s method."
    return section("Method against method", *parts, lead=lead)


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
