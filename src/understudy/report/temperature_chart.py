"""Calibration over the temperature: of both models against the labels, and of the student against the teacher."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from understudy.fidelity.tempered import AtTemperature
from understudy.report.marks import dot, end_labels, line
from understudy.report.markup import Markup, Number
from understudy.report.plot import Frame, axes, chart, nice_ticks, panel
from understudy.report.words import number

_TICKS = (0.25, 0.5, 1, 2, 4, 8)
_TITLE = "Calibration error over the temperature"
_CAPTION = (
    "Both models’ logits divided by T. Dashed: the student’s confidence against the teacher’s in place of the labels "
    "(relative ECE); where it is low, the two are equally sure."
)
_FALLS = "A large T brings the relative error of any two models to 0, so compare it at T = 1"


@dataclass(frozen=True)
class _Curve:
    """One error over the temperature, as (temperature, error), with its look."""

    name: str
    colour: str
    shape: int
    points: list[tuple[float, float]]
    dashed: bool = False


def over_temperature(rows: Sequence[AtTemperature], title: str = _TITLE, caption: str = _CAPTION) -> Markup:
    """The panel; the curves against the labels are missing where there are none. `rows`: by temperature."""
    curves = [
        _Curve("teacher", "st", 1, _known((row.temperature, row.ece_teacher) for row in rows)),
        _Curve("student", "s0", 0, _known((row.temperature, row.ece_student) for row in rows)),
        _Curve("relative", "s1", 3, [(row.temperature, row.relative_ece) for row in rows], dashed=True),
    ]
    curves = [one for one in curves if one.points]
    highest = max(error for one in curves for _, error in one.points)
    top = next(step for step in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if highest <= step)
    ends = rows[0].temperature, rows[-1].temperature
    ticks = [(math.log2(t), f"{t:g}") for t in _TICKS if ends[0] <= t <= ends[1]]
    frame = Frame((math.log2(ends[0]), math.log2(ends[1])), (0, top), right=76)
    marks: list[str | None] = [
        axes(frame, ticks, nice_ticks(0, top, 4), "temperature of both", "expected calibration error")
    ]
    as_they_are = ends[0] <= 1 <= ends[1]
    if as_they_are:
        marks.append(line(frame, [(0, 0), (0, top)], "ideal"))
    labels: list[tuple[Number, str, str]] = []
    lowest = []
    for one in curves:
        places = [(math.log2(t), error) for t, error in one.points]
        marks.append(line(frame, places, one.colour, one.dashed))
        for (x, error), (t, _) in zip(places, one.points, strict=True):
            read = f"{one.name}, T = {t:.2g}: {number(error)}"
            marks.append(dot(frame.x(x), frame.y(error), one.colour, read, one.shape, 0.8))
        labels.append((one.points[-1][1], one.name, one.colour))
        if not one.dashed:  # where the relative error is lowest says nothing: it falls with T for any two
            t, least = min(one.points, key=lambda point: point[1])
            lowest.append(f"{one.name} {number(least)} at T = {t:.2g}")
    marks += end_labels(frame, labels)
    parts = ["The dotted line is T = 1, the models as they are."] if as_they_are else []
    parts += [_FALLS + _at_one(rows)]
    parts += [f"Lowest: {'; '.join(lowest)}."] if lowest else []
    said = " ".join(parts)
    return panel(title, chart(frame, title, said, *marks), f"{caption} {said}")


def _at_one(rows: Sequence[AtTemperature]) -> str:
    """The relative error there, where it was measured."""
    found = next((row.relative_ece for row in rows if row.temperature == 1), None)
    return "." if found is None else f", where it is {number(found)}."


def _known(points: Iterable[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(t, error) for t, error in points if error is not None]
