"""Calibration, ordinary and relative: four panels, each for one student or for several methods at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from understudy.auditing.record import AuditRecord, Bin
from understudy.report.marks import dot, end_labels, line
from understudy.report.markup import Markup, Number, el
from understudy.report.plot import SHARE, UNIT, Frame, Tick, axes, chart, nice_ticks
from understudy.report.words import count, number, percent

LEAST = 5
Kind = Literal["diagonal", "deviation", "share"]


@dataclass(frozen=True)
class BinSeries:
    """Bins of one model or method under one colour and shape."""

    name: str
    colour: str
    bins: list[Bin]
    shape: int = 0


def pooled(groups: Sequence[Sequence[Bin]]) -> list[Bin]:
    """Bins of several seeds put together; every group must have the same edges."""
    out: list[Bin] = []
    for same in zip(*groups, strict=True):
        total = sum(one.count for one in same)
        out.append(
            Bin(
                same[0].low,
                same[0].high,
                total,
                _weighted([(one.confidence, one.count) for one in same]),
                _weighted([(one.observed, one.count) for one in same]),
            )
        )
    return out


def _weighted(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight > 0]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def reliability(title: str, series: Sequence[BinSeries], x_label: str, y_label: str, kind: Kind) -> Markup:
    """A point a bin; its area grows with the examples in it.

    `kind`: "diagonal" draws what was observed against mean confidence, "deviation" their difference around 0
    (several methods would hide each other on the diagonal), "share" what was observed as a percentage.
    With several series bins of fewer than `LEAST` points are left out, unless there are no others.
    """
    enough = len(series) > 1 and any(one.count >= LEAST for s in series for one in s.bins)
    least = LEAST if enough else 1
    known = [(s, _known([one for one in s.bins if one.count >= least], kind)) for s in series]
    reach = (
        max((abs(y) for _, bins in known for _, y, _ in bins), default=0.1) if kind == "deviation" else 1.0
    )
    reach = next(step for step in (0.05, 0.1, 0.2, 0.4, 0.6, 1.0) if reach <= step)
    floor = -reach if kind == "deviation" else 0.0
    frame = Frame((0, 1), (floor, reach), right=14 if len(series) == 1 else 74)
    y_ticks = {"diagonal": UNIT, "share": SHARE}.get(kind) or _signed(nice_ticks(-reach, reach, 4))
    marks: list[str | None] = [axes(frame, UNIT, y_ticks, x_label, y_label)]
    if kind != "share":
        marks.append(line(frame, [(0, 0), (1, 1 if kind == "diagonal" else 0)], "ideal"))
    labels: list[tuple[Number, str, str]] = []
    starts: list[Number] = []
    largest = max((one.count for s in series for one in s.bins), default=1) or 1
    spread = 1.35 if len(series) == 1 else 0.7
    spoken = []
    for s, bins in known:
        if not bins:
            continue
        marks.append(line(frame, [(x, y) for x, y, _ in bins], f"{s.colour} thin"))
        for x, y, one in bins:
            read = f"{s.name}, ({one.low:.3g}, {one.high:.3g}]: confidence {number(x)}, "
            read += f"{percent(y) if kind == 'share' else number(one.observed)} ({count(one.count, 'point')})"
            size = 0.65 + spread * (one.count / largest) ** 0.5
            marks.append(dot(frame.x(x), frame.y(y), s.colour, read, s.shape, size))
        if len(series) > 1:
            labels.append((bins[-1][1], s.name, s.colour))
            starts.append(bins[-1][0])
        spoken.append(f"{s.name}: {sum(one.count for one in s.bins)} points in {len(bins)} bins.")
    marks += end_labels(frame, labels, starts=starts)
    return chart(frame, title, " ".join(spoken) or "Nothing was measured.", *marks)


def _known(bins: Sequence[Bin], kind: Kind) -> list[tuple[float, float, Bin]]:
    """(confidence, what is drawn, bin) of the bins that hold something."""
    return [
        (one.confidence, one.observed - (one.confidence if kind == "deviation" else 0.0), one)
        for one in bins
        if one.count > 0 and one.confidence is not None and one.observed is not None
    ]


def _signed(ticks: Sequence[Tick]) -> list[Tick]:
    return [(value, name.replace("-", "−")) for value, name in ticks]


@dataclass(frozen=True)
class Histogram:
    """Counts over edges, of one method."""

    name: str
    colour: str
    edges: list[float]
    counts: list[int]
    shape: int = 0


def histogram(title: str, series: Sequence[Histogram], x_label: str) -> Markup:
    """Histograms as shares of their points: one with its axis, several as rows of equal height and scale."""
    many = len(series) > 1
    reach = max((abs(edge) for s in series for edge in s.edges), default=1.0) or 1.0
    tallest = 1.04 * (max((max(_shares(s)) for s in series if s.counts), default=1.0) or 1.0)
    step = 46 if many else 204
    left = min(130, 14 + 7 * max(len(s.name) for s in series)) if many else 40
    whole = Frame((-reach, reach), (0.0, tallest), left=left, height=66 + step * len(series))
    ticks = [] if many else [(v / 100, f"{name}%") for v, name in nice_ticks(0.0, 100 * tallest, 4)]
    y_label = "" if many else "share of points"
    marks: list[str | None] = [axes(whole, _signed(nice_ticks(-reach, reach, 4)), ticks, x_label, y_label)]
    marks.append(line(whole, [(0, 0), (0, tallest)], "ideal"))
    for row, s in enumerate(series):
        base = whole.bottom + step * (len(series) - 1 - row)
        gap = 6 if many else 0
        frame = replace(whole, top=whole.height - base - step + gap, bottom=base)
        marks.append(_outline(frame, s))
        if many:
            at = frame.y(0) - 5
            marks.append(el("text", s.name, x=left - 10, y=at, class_=f"direct end {s.colour}"))
    spoken = " ".join(f"{s.name}: {sum(s.counts)} points." for s in series)
    return chart(whole, title, spoken, *marks)


def _outline(frame: Frame, s: Histogram) -> Markup:
    """The filled outline of one histogram, each occupied bar with its read-out."""
    outline: list[tuple[Number, Number | None]] = [(s.edges[0], 0)]
    hits: list[str] = []
    for low, high, amount, share in zip(s.edges, s.edges[1:], s.counts, _shares(s), strict=False):
        outline += [(low, share), (high, share)]
        if amount:
            read = f"{s.name}, {low:+.2f} to {high:+.2f}: {count(amount, 'point')} ({percent(share)})"
            width, top = frame.x(high) - frame.x(low), frame.y(share)
            bar = el("rect", x=frame.x(low), y=top, width=width, height=frame.y(0) - top, class_="hit")
            hits.append(el("g", el("title", read), bar, class_="pt"))
    return el("g", line(frame, [*outline, (s.edges[-1], 0)], f"{s.colour} filled"), *hits)


def _shares(s: Histogram) -> list[float]:
    total = sum(s.counts) or 1
    return [amount / total for amount in s.counts]


def pooled_histogram(name: str, colour: str, audits: Sequence[AuditRecord], shape: int = 0) -> Histogram:
    """Confidence differences of several seeds of one method put together (same edges)."""
    edges = audits[0].calibration.difference_edges
    counts = [
        sum(column) for column in zip(*(a.calibration.difference_histogram for a in audits), strict=True)
    ]
    return Histogram(name, colour, edges, counts, shape)
