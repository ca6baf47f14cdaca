"""Training curves: every loss and every accuracy that the run wrote down, over epochs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.report.marks import dot, end_labels, line
from understudy.report.markup import Markup, Number, el, join
from understudy.report.plot import SHARE, Frame, axes, chart, nice_ticks, panel
from understudy.report.words import number, percent

_LOSS = re.compile(r"loss|(^|_)(kl|ce|nll)($|_)")
_SHARE = re.compile(r"accuracy|agreement|(^|_)acc($|_)")


@dataclass(frozen=True)
class Run:
    """The metrics of one training under the name and look it has on the page."""

    name: str
    colour: str
    rows: Sequence[Mapping[str, Any]]
    shape: int = 0


def _value(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def curve_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that hold a loss or an accuracy, in the order of their first appearance."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [
        key
        for key in keys
        if (_LOSS.search(key) or _SHARE.search(key)) and any(_value(row, key) is not None for row in rows)
    ]


def training_panels(runs: Sequence[Run]) -> Markup | None:
    """A panel a key, all runs in it; None where nothing was recorded."""
    keys = dict.fromkeys(key for run in runs for key in curve_keys(run.rows))
    if not keys:
        return None
    return el("div", *(_panel(key, runs) for key in keys), class_="panels")


def _panel(key: str, runs: Sequence[Run]) -> Markup:
    share = _SHARE.search(key) is not None
    title = key.replace("_", " ").capitalize()
    series = []
    for run in runs:
        points = [(_epoch(row, place), _value(row, key)) for place, row in enumerate(run.rows)]
        if any(value is not None for _, value in points):
            series.append((run, points))
    values = [value for _, points in series for _, value in points if value is not None]
    epochs = [epoch for _, points in series for epoch, _ in points]
    top = 1.0 if share and max(values) <= 1.0 else max(max(values), 1e-9) * 1.04
    low = min(0.0, *values) if len(values) > 1 else min(0.0, values[0])
    frame = Frame((min(epochs), max(epochs)), (low, top), right=92)
    y_ticks = SHARE if share and top == 1.0 else nice_ticks(low, top, 4)
    marks: list[str | None] = [
        axes(frame, _whole(nice_ticks(min(epochs), max(epochs), 5)), y_ticks, "epoch", "")
    ]
    labels: list[tuple[Number, str, str]] = []
    said = []
    for run, points in series:
        known = [(epoch, value) for epoch, value in points if value is not None]
        marks.append(line(frame, points, run.colour))
        for epoch, value in known if len(known) <= 40 else known[-1:]:
            read = f"{run.name}, epoch {epoch:g}: {percent(value) if share else number(value, 4)}"
            marks.append(dot(frame.x(epoch), frame.y(value), run.colour, read, run.shape, 0.7))
        labels.append((known[-1][1], run.name, run.colour))
        last = percent(known[-1][1]) if share else number(known[-1][1], 4)
        said.append(f"{run.name} {last}")
    marks += end_labels(frame, labels)
    lost = sum(value is None for _, points in series for _, value in points)
    caption = join("Last epoch: ", "; ".join(said), ".", f" {lost} values were not measured." if lost else "")
    return panel(title, chart(frame, title, "; ".join(said), *marks), caption)


def _epoch(row: Mapping[str, Any], place: int) -> float:
    epoch = _value(row, "epoch")
    return float(place + 1) if epoch is None else epoch


def _whole(ticks: Sequence[tuple[Number, str]]) -> list[tuple[Number, str]]:
    return [(value, name) for value, name in ticks if float(value).is_integer()]
