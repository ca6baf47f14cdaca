"""Both models' confidences side by side, class by class, before and after the perturbation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from understudy.report.markup import Markup, el
from understudy.report.words import number, percent

_CLASSES = 10  # more classes than this: only those with the largest confidence or difference are drawn
_ROW, _HEAD = 17, 32

Column = tuple[str, Float[np.ndarray, " c"], Float[np.ndarray, " c"]]


def chosen_classes(columns: Sequence[Column]) -> list[int]:
    """Which classes to draw: all of a few, else the most confident and most different, in class order."""
    classes = len(columns[0][1])
    if classes <= _CLASSES:
        return list(range(classes))
    weight = np.zeros(classes)
    for _, teacher, student in columns:
        weight = np.maximum(weight, np.maximum(teacher, student))
        weight[int(np.argmax(np.abs(teacher - student)))] += 1.0
    return sorted(int(k) for k in np.argsort(-weight, kind="stable")[:_CLASSES])


def confidence_bars(columns: Sequence[Column], class_names: Sequence[str] | None, colour: str) -> Markup:
    """Paired bars a class, teacher above student, a block a column; the class furthest apart is marked.

    `columns`: (name, teacher's (C,), student's (C,) probabilities).
    """
    shown = chosen_classes(columns)
    classes = len(columns[0][1])
    names = [class_names[k] if class_names and k < len(class_names) else str(k) for k in shown]
    short = [name if len(name) <= 11 else name[:10] + "…" for name in names]
    left = 12 + 6.3 * max(len(name) for name in short)
    width, gap = 380.0, 26.0
    block = (width - left - gap * (len(columns) - 1)) / len(columns)
    height = _HEAD + _ROW * len(shown) + (30 if classes > len(shown) else 16)
    marks: list[str] = []
    spoken = []
    for row, name in enumerate(short):
        full = el("title", names[row]) if name != names[row] else None
        at = _HEAD + _ROW * row + 11
        marks.append(el("text", full, name, x=left - 8, y=at, class_="tick end"))
    for place, (title, teacher, student) in enumerate(columns):
        x0 = left + place * (block + gap)
        furthest = int(np.argmax(np.abs(teacher - student)))
        gap_there = float(abs(teacher[furthest] - student[furthest]))
        marks.append(el("text", title, x=x0, y=11, class_="name strong"))
        marks.append(el("text", f"{number(gap_there)} apart", x=x0 + block, y=11, class_="name end"))
        floor = _HEAD + _ROW * len(shown)
        marks.append(el("line", x1=x0, x2=x0, y1=_HEAD - 8, y2=floor, class_="axis"))
        marks.append(el("line", x1=x0 + block, x2=x0 + block, y1=_HEAD - 8, y2=floor, class_="grid"))
        for row, k in enumerate(shown):
            y = _HEAD + _ROW * row
            if k == furthest:
                marks.append(el("rect", x=x0, y=y - 1, width=block, height=_ROW, class_="marked"))
            both = (float(teacher[k]), float(student[k]))
            bars = [
                el(
                    "rect",
                    x=x0,
                    y=y + 1.5 + 6.5 * i,
                    width=max(block * p, 0.4),
                    height=5.5,
                    class_=f"bar {look}",
                )
                for i, (p, look) in enumerate(zip(both, ("st", colour), strict=True))
            ]
            read = f"{names[row]}, {title}: teacher {percent(both[0])}, student {percent(both[1])}"
            hit = el("rect", x=x0, y=y - 1, width=block, height=_ROW, class_="hit")
            marks.append(el("g", el("title", read), *bars, hit, class_="pt"))
        marks.append(el("text", "0", x=x0, y=floor + 12, class_="tick mid small"))
        marks.append(el("text", "1", x=x0 + block, y=floor + 12, class_="tick mid small"))
        spoken.append(
            f"{title}: teacher {percent(float(teacher.max()))} on class {int(teacher.argmax())}, "
            f"student {percent(float(student.max()))} on class {int(student.argmax())}."
        )
    if classes > len(shown):
        note = f"{len(shown)} of {classes} classes: the most confident and most different"
        marks.append(el("text", note, x=left, y=height - 3, class_="name"))
    return el(
        "svg",
        el("title", "Confidences of teacher and student"),
        el("desc", " ".join(spoken)),
        *marks,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        class_="chart bars",
    )
