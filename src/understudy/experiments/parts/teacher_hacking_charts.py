"""The page's own section: what became of the two distances over training, and of one against the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from understudy.experiments.base import Result, Setting
from understudy.experiments.rows import Row
from understudy.report.layout import panels, section
from understudy.report.marks import dot, end_labels, line, slot
from understudy.report.markup import Markup
from understudy.report.plot import Frame, Tick, axes, chart, nice_ticks, panel
from understudy.report.words import count, number, percent

LATE = 0.03  # of the steps: before that all paths are one
Points = list[tuple[float, float]]
Drawn = list[tuple[str, str, Points]]  # a curve's name, its colour, its points


def curves(settings: Sequence[Setting], result: Result, turn: float) -> Markup:
    """Golden and proxy distance over steps, golden's rise, and golden against proxy: means over seeds."""
    steps = [float(step) for step in _rows(settings[0], result)[0]["steps"]]
    golden, proxy, rise = ([_mean(one, result, key) for one in settings] for key in ("golden", "proxy", ""))
    look = [(one.name, "si" if not place else slot(place - 1)) for place, one in enumerate(settings)]
    teacher = sum(row["teacher_golden"] for row in result.rows) / len(result.rows)

    def over_steps(values: list[list[float]]) -> Drawn:
        """Logarithmic in the steps; what was measured before the first has no place there."""
        return [
            (name, colour, [(math.log10(at), y) for at, y in zip(steps, ys, strict=True) if at])
            for (name, colour), ys in zip(look, values, strict=True)
        ]

    logs = [[math.log10(max(y, 1e-12)) for y in ys] for ys in proxy]
    late = next(place for place, at in enumerate(steps) if at >= LATE * steps[-1])
    plane: Drawn = [
        (name, colour, [(-x, y) for x, y in zip(xs[late:], ys[late:], strict=True)])
        for (name, colour), xs, ys in zip(look, logs, golden, strict=True)
    ]
    nearer: list[Tick] = [(-at, name) for at, name in _powers([one[late:] for one in logs])]
    decades: list[Tick] = [(k, f"{10**k:,}") for k in range(int(math.log10(steps[-1])) + 1)]
    ends = "; ".join(f"{name} {number(ys[-1])}" for (name, _), ys in zip(look, golden, strict=True))
    falls = "; ".join(f"{name} {number(ys[-1])}" for (name, _), ys in zip(look, proxy, strict=True))
    rises = "; ".join(f"{name} {percent(ys[-1])}" for (name, _), ys in zip(look, rise, strict=True))
    return section(
        "The two distances over training",
        panels(
            _panel(
                "To the truth (golden)", over_steps(golden), decades, None, "step", "nats a symbol",
                f"At the end: {ends}. The dashed line is the teacher itself.", teacher,
            ),
            _panel(
                "To the teacher (proxy)", over_steps(logs), decades, _powers(logs), "step", "nats a symbol",
                f"Both axes are logarithmic. At the end: {falls}.", None,
            ),
            _panel(
                "Golden above its lowest so far", over_steps(rise), decades, _shares(rise), "step", "",
                f"At the end: {rises}. What ends above the dashed line, {percent(turn)}, has turned.", turn,
            ),
            _panel(
                "Golden against proxy", plane, nearer, None, "proxy, falling to the right", "golden, nats a symbol",
                f"From step {steps[late]:,.0f} on; each path begins on the left. Hacking is a path that rises on its "
                "way to the right; one that rises and goes back to the left has overfitted its data.", None,
            ),
        ),
        lead=f"Means over {count(len(result.seeds), 'seed')}, on held-out prompts. Golden rising while proxy falls is "
        "what the paper calls teacher hacking.",
    )  # fmt: skip


def _rows(setting: Setting, result: Result) -> list[Row]:
    return [row for row in result.rows if row["setting"] == setting.name]


def _mean(setting: Setting, result: Result, key: str) -> list[float]:
    """The mean over seeds of a distance at each look; of golden's rise from its lowest so far without a key."""
    found = [row[f"{key or 'golden'}_curve"] for row in _rows(setting, result)]
    if not key:
        found = [[y / min(ys[: i + 1]) - 1.0 for i, y in enumerate(ys)] for ys in found]
    return [sum(values) / len(values) for values in zip(*found, strict=True)]


def _powers(logs: list[list[float]]) -> list[Tick]:
    """Round numbers between the logarithms given, as their places."""
    low, high = min(map(min, logs)), max(map(max, logs))
    ticks = [(math.log10(m) + k, m * 10.0**k) for k in range(-12, 3) for m in (1, 1.5, 2, 3, 5, 7)]
    return [(at, f"{value:.10g}") for at, value in ticks if low <= at <= high]


def _shares(rise: list[list[float]]) -> list[Tick]:
    return [(at, f"{100 * at:.10g}%") for at, _ in nice_ticks(0.0, max(map(max, rise)), 4)]


def _panel(
    title: str,
    drawn: Drawn,
    x_ticks: list[Tick],
    y_ticks: list[Tick] | None,
    x_label: str,
    y_label: str,
    caption: str,
    rule: float | None,
) -> Markup:
    xs = [x for _, _, points in drawn for x, _ in points]
    ys = [y for _, _, points in drawn for _, y in points] + ([] if rule is None else [rule])
    pad = 0.03 * (max(ys) - min(ys)) or 0.01
    frame = Frame((min(xs), max(xs)), (min(ys) - pad, max(ys) + pad), width=440, left=48, right=118)
    heights = nice_ticks(min(ys), max(ys), 6) if y_ticks is None else y_ticks
    marks: list[str | None] = [axes(frame, x_ticks, heights, x_label, y_label)]
    if rule is not None:
        marks.append(line(frame, [(min(xs), rule), (max(xs), rule)], "st", dashed=True))
    for shape, (name, colour, points) in enumerate(drawn):
        marks.append(line(frame, points, colour))
        x, y = points[-1]
        marks.append(dot(frame.x(x), frame.y(y), colour, f"{name}, at the end", shape, 0.9))
    labels = [(points[-1][1], name, colour) for name, colour, points in drawn]
    marks += end_labels(frame, labels, starts=[points[-1][0] for _, _, points in drawn])
    return panel(title, chart(frame, title, caption, *marks), caption)
