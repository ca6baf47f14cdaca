"""How close lower and upper bounds came: point by point, and over the seconds of a search."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.auditing.record import History
from understudy.report.marks import dot, line
from understudy.report.markup import Markup, el
from understudy.report.plot import UNIT, Frame, Tick, axes, chart, nice_ticks
from understudy.report.words import number

MOST = 150  # points drawn side by side; of more, every second, third, ... is left
TICKS = 120  # places at which the mean gap is drawn
_HEIGHTS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6)


@dataclass(frozen=True)
class Enclosed:
    """One point's bounds; `closed`: they meet, up to the tolerance."""

    index: int
    lower: float
    upper: float
    closed: bool


def every(points: int) -> int:
    """Which part of so many points is drawn: 1 is all of them, 2 every second."""
    return -(-points // MOST)


def bounds_by_point(title: str, rows: Sequence[Enclosed]) -> Markup:
    """A bar a point from lower to upper, the smallest upper first; closed points are diamonds."""
    ordered = sorted(rows, key=lambda row: (row.upper, row.lower))[:: -every(len(rows))][::-1]
    top = _top(max((row.upper for row in ordered), default=1.0))
    frame = Frame((0, max(len(ordered), 1)), (0.0, top))
    step = frame.x(1) - frame.x(0)
    half = min(4.0, max(0.8, 0.34 * step))
    size = min(1.0, max(0.35, 0.11 * step))
    marks: list[str] = [axes(frame, [], _ticks(top), "points, the smallest proved bound first", "difference")]
    for rank, row in enumerate(ordered):
        x, low, high = frame.x(rank + 0.5), frame.y(row.lower), frame.y(row.upper)
        hit = el(
            "rect", x=x - step / 2, y=frame.top, width=step, height=frame.height - frame.bottom - frame.top,
            class_="hit",
        )  # fmt: skip
        if row.closed:
            drawn = [_shape(x, high, size)]
        else:
            drawn = [
                el("line", x1=x, x2=x, y1=low, y2=high, class_="reach"),
                el("line", x1=x - half, x2=x + half, y1=high, y2=high, class_="ceiling"),
                el("circle", cx=x, cy=low, r=max(1.2, 2.6 * size), class_="mark"),
            ]
        marks.append(el("g", el("title", said(row)), hit, *drawn, class_="pt s2" if row.closed else "pt s0"))
    closed = sum(row.closed for row in rows)
    return chart(frame, title, f"{closed} of {len(rows)} points are closed.", *marks)


def said(row: Enclosed) -> str:
    """One point's bounds in words."""
    if row.closed:
        return f"Point {row.index}: {number(row.upper, 4)}, closed"
    return f"Point {row.index}: between {number(row.lower, 4)} and {number(row.upper, 4)}"


def _shape(x: float, y: float, size: float) -> Markup:
    r = max(2.4, 4.4 * size)
    path = f"M{x:.1f} {y - r:.1f}L{x + r:.1f} {y:.1f}L{x:.1f} {y + r:.1f}L{x - r:.1f} {y:.1f}Z"
    return el("path", d=path, class_="mark")


def gap_over_time(title: str, histories: Sequence[History]) -> Markup:
    """Upper minus lower against the seconds of a point's search: the mean bold, every point faint."""
    gaps = [_Gap(history) for history in histories]
    first = max(min(gap.seconds[0] for gap in gaps), 1e-3)
    last = max(max(gap.seconds[-1] for gap in gaps), 2 * first)
    highest = max(gap.values[0] for gap in gaps)
    top = _top(highest)
    frame = Frame((math.log10(first), math.log10(last)), (0.0, top))
    said = ("seconds into a point’s search", "upper − lower")
    marks: list[str] = [axes(frame, _decades(first, last), _ticks(top), *said)]
    for gap in gaps[:: every(len(gaps))]:
        marks.append(line(frame, gap.steps(first, last), "s0 faint"))
    times = [first * (last / first) ** (k / (TICKS - 1)) for k in range(TICKS)]
    means = [sum(gap.at(t) for gap in gaps) / len(gaps) for t in times]
    marks.append(line(frame, [(math.log10(t), mean) for t, mean in zip(times, means, strict=True)], "s0"))
    for k in range(0, TICKS, 17):
        read = f"after {_seconds(times[k])}: mean gap {number(means[k], 4)}"
        marks.append(dot(frame.x(math.log10(times[k])), frame.y(means[k]), "s0", read))
    spoken = f"The mean gap falls from {number(means[0], 4)} to {number(means[-1], 4)} in {_seconds(last)}."
    return chart(frame, title, spoken, *marks)


class _Gap:
    """One point's gap as a function of time that only falls."""

    def __init__(self, history: History) -> None:
        self.seconds = [row[0] for row in history]
        self.values = [max(row[2] - row[1], 0.0) for row in history]

    def at(self, seconds: float) -> float:
        return self.values[max(bisect_right(self.seconds, seconds) - 1, 0)]

    def steps(self, first: float, last: float) -> list[tuple[float, float]]:
        """The corners of the stairs, over the logarithm of time; drawn only as long as the search ran."""
        corners: list[tuple[float, float]] = [(math.log10(first), self.values[0])]
        for seconds, value in zip(self.seconds, self.values, strict=True):
            x = math.log10(min(max(seconds, first), last))
            corners += [(x, corners[-1][1]), (x, value)]
        return corners


def _top(highest: float) -> float:
    return next((height for height in _HEIGHTS if highest <= height), 1.0)


def _ticks(top: float) -> list[Tick]:
    return UNIT if top == 1.0 else nice_ticks(0.0, top, 4)


def _decades(first: float, last: float) -> list[Tick]:
    """Powers of ten between, or 1, 2, 5 of each where there are few."""
    low, high = math.floor(math.log10(first)), math.ceil(math.log10(last))
    steps = (1,) if last / first > 200 else (1, 2, 5)
    found = [m * 10.0**k for k in range(low, high + 1) for m in steps]
    return [(math.log10(t), f"{t:g}") for t in found if first * 0.999 <= t <= last * 1.001]


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
