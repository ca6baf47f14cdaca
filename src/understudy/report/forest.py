"""Methods side by side on one metric: every seed as a small mark, the mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.report.marks import dot
from understudy.report.markup import Markup, el
from understudy.report.plot import Frame, chart, nice_ticks
from understudy.report.words import SHARES, interval, metric_value, present


@dataclass(frozen=True)
class Entry:
    """One method on one metric: its seeds' values, their mean, its interval, the verdict."""

    method: str
    colour: str
    shape: int
    seeds: list[tuple[int, float]]
    mean: float | None
    low: float | None
    high: float | None
    verdict: str | None


def forest(title: str, metric: str, entries: Sequence[Entry]) -> Markup:
    """A row a method. The scale covers what was seen and need not start at 0: positions are compared."""
    values = [v for e in entries for v in (e.mean, e.low, e.high, *(s for _, s in e.seeds)) if v is not None]
    values = [value for value in values if present(value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.01
    if (
        metric in SHARES
    ):  # an interval of a few seeds may reach past what a share can be; the drawing does not
        low, high = max(low, 0.0), min(high, 1.0)
    step, longest = 36, max(len(e.method) for e in entries)
    frame = Frame(
        (low - pad, high + pad),
        (0, 1),
        left=min(170, 14 + 7 * longest),
        right=66,
        top=8,
        height=step * len(entries) + 38,
        bottom=24,
    )
    floor = frame.height - frame.bottom
    marks: list[str] = []
    ticks = nice_ticks(low - pad, high + pad, 4)
    for value, name in ticks:
        at = frame.x(value)
        name = f"{100 * value:.10g}%" if metric in SHARES else name
        marks.append(el("line", x1=at, x2=at, y1=frame.top, y2=floor, class_="grid"))
        marks.append(el("text", name, x=at, y=floor + 16, class_="tick mid"))
    said = []
    for row, e in enumerate(entries):
        y = frame.top + step * row + step / 2
        marks.append(el("text", e.method, x=frame.left - 10, y=y + 4, class_=f"direct end {e.colour}"))
        for seed, value in e.seeds:
            read = f"{e.method}, seed {seed}: {metric_value(metric, value)}"
            marks.append(dot(frame.x(value), y + 10, f"{e.colour} faint", read, e.shape, 0.75))
        if e.mean is None or not present(e.mean):
            marks.append(el("text", "not measured", x=frame.left + 6, y=y + 4, class_="name"))
            continue
        if e.low is not None and e.high is not None:
            marks.append(
                el(
                    "line",
                    x1=frame.x(max(e.low, low)),
                    x2=frame.x(min(e.high, high)),
                    y1=y,
                    y2=y,
                    class_=f"whisker {e.colour}",
                )
            )
        ends = interval((e.low, e.high), metric in SHARES)
        mean = metric_value(metric, e.mean)
        read = f"{e.method}, mean {mean}" + (f" ({ends})" if ends else "")
        marks.append(dot(frame.x(e.mean), y, e.colour, read, e.shape, 1.35))
        marks.append(el("text", mean, x=frame.width - 2, y=y + 4, class_="value end"))
        said.append(read + (f", {e.verdict}" if e.verdict else ""))
    return chart(frame, title, "; ".join(said) or "Nothing was measured.", *marks)
