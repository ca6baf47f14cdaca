"""Draw docs/images/copies.svg: accuracy over agreement with the teacher, a point a method, on two kept comparisons.

python docs/images/copies.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import spearmanr

from understudy.report.marks import dot
from understudy.report.markup import Markup, el
from understudy.report.plot import Frame, Tick, axes
from understudy.report.words import percent

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "benchmarks" / "results"
WIDTH, TOP = 400, 58
STYLE = """
svg { --paper: #fdfcfa; --ink: #1b1d21; --soft: #5c6067; --rule: #e3e0d9; --low: #0a63a8; --up: #c2480a;
  font-family: -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper: #14161a; --ink: #e8e6e1; --soft: #a2a6ad; --rule: #30343b;
  --low: #6cb2ee; --up: #f2935c; } }
text { fill: var(--ink); font-size: 12px; } .tick, .name { fill: var(--soft); font-size: 11px; }
.title { font-size: 15px; font-weight: 600; } .end { text-anchor: end; } .mid { text-anchor: middle; }
.low { --c: var(--low); } .up { --c: var(--up); } text.up { fill: var(--c); font-weight: 600; }
.grid, .axis { stroke: var(--rule); } .dot { fill: var(--c); } .hit { fill: none; }
.teacher { stroke: var(--up); stroke-width: 1.5; stroke-dasharray: 5 4; }
"""


class Panel(NamedTuple):
    """One comparison: its title, both axes, and the methods whose names are written: which way, and how far up."""

    name: str
    title: str
    agreement: tuple[float, float]
    accuracy: tuple[float, float]
    named: dict[str, tuple[str, float]]


PANELS = (
    Panel(
        "digits",
        "Digits: a teacher better than any student",
        (0.85, 0.99),
        (0.84, 0.98),
        {
            "kd": ("left", -8.0),
            "ard": ("right", 4.0),
            "trades": ("left", -8.0),
            "label_smoothing": ("left", -6.0),
            "at": ("right", 12.0),
            "wakd": ("right", 10.0),
            "pcoreset_activekd": ("left", -8.0),
        },
    ),
    Panel(
        "fashion_mnist",
        "Fashion-MNIST: a robust teacher, weak on clean",
        (0.81, 0.95),
        (0.66, 0.82),
        {
            "kd": ("left", 15.0),
            "ce": ("left", -5.0),
            "label_smoothing": ("right", -4.0),
            "ps_kd": ("left", 4.0),
            "pld": ("left", -7.0),
            "ofa_kd": ("right", -3.0),
            "wakd": ("right", 12.0),
        },
    ),
)


def points(kept: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Method -> (agreement, accuracy), means over seeds."""
    found: dict[str, dict[str, float]] = {}
    for row in kept["summary"]:
        found.setdefault(row["method"], {})[row["metric"]] = row["mean"]
    return {m: (one["agreement"], one["accuracy"]) for m, one in found.items() if "agreement" in one}


def correlation(kept: dict[str, Any]) -> float:
    """Spearman's, of agreement and accuracy over all methods."""
    agreement, accuracy = zip(*points(kept).values(), strict=True)
    return float(spearmanr(agreement, accuracy).statistic)


def _ticks(low: float, high: float, step: int) -> list[Tick]:
    first, last = round(100 * low), round(100 * high)
    return [(k / 100, f"{k}%") for k in range(first, last + 1) if k % step == 0]


def panel(kept: dict[str, Any], of: Panel, place: int) -> Markup:
    """The methods of one comparison, and the teacher's own accuracy."""
    frame = Frame(of.agreement, of.accuracy, width=WIDTH, height=300, left=44, right=20, top=26)
    teacher = float(kept["teacher"]["measured"]["accuracy"])
    at = frame.y(teacher)
    found = points(kept)
    inside = {
        m: (x, y)
        for m, (x, y) in found.items()
        if of.agreement[0] <= x <= of.agreement[1] and of.accuracy[0] <= y <= of.accuracy[1]
    }
    marks = [
        axes(
            frame,
            _ticks(*of.agreement, 4),
            _ticks(*of.accuracy, 4),
            "agreement with the teacher",
            "student’s accuracy",
        ),
        el("line", x1=frame.left, x2=WIDTH - frame.right, y1=at, y2=at, class_="teacher"),
        el("text", f"the teacher: {percent(teacher)}", x=frame.left + 4, y=at - 6, class_="up"),
    ]
    for method, (x, y) in inside.items():
        read = f"{method}: agreement {percent(x)}, accuracy {percent(y)}"
        marks.append(dot(frame.x(x), frame.y(y), "low", read, size=0.9))
        if method in of.named:
            side, up = of.named[method]
            shift = 8 if side == "right" else -8
            look = "tick" if side == "right" else "tick end"
            marks.append(el("text", method, x=frame.x(x) + shift, y=frame.y(y) + up, class_=look))
    out = len(found) - len(inside)
    said = f"{len(found)} methods{f', {out} outside the picture' if out else ''}; rank correlation "
    said += f"{correlation(kept):+.2f}".replace("-", "−")
    return el(
        "g",
        el("text", of.title, x=0, y=14, class_="title"),
        el("text", said, x=0, y=31, class_="name"),
        el("g", *marks, transform="translate(0 38)"),
        transform=f"translate({20 + (WIDTH + 30) * place} {TOP})",
    )


def picture(kept: dict[str, dict[str, Any]]) -> str:
    """The whole picture as an SVG file; `kept`: a comparison by the name of its panel."""
    width, height = 2 * WIDTH + 60, TOP + 350
    spoken = "; ".join(
        f"{one.name}: rank correlation of agreement and accuracy {correlation(kept[one.name]):+.2f}"
        for one in PANELS
    )
    parts = [
        el("title", "Is a student that agrees more with its teacher also more accurate?"),
        el("desc", spoken),
        el("style", Markup(STYLE)),
        el("rect", width=width, height=height, style="fill: var(--paper)"),
        el(
            "text",
            "Is a student that agrees more with its teacher also more accurate? Each point is a method.",
            x=20,
            y=28,
            class_="title",
        ),
        *(panel(kept[one.name], one, place) for place, one in enumerate(PANELS)),
    ]
    return (
        el("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img")
        + "\n"
    )


def kept() -> dict[str, dict[str, Any]]:
    """The comparisons that are drawn."""
    return {
        one.name: json.loads((RESULTS / f"catalogue-{one.name}.json").read_text(encoding="utf-8"))
        for one in PANELS
    }


if __name__ == "__main__":
    (HERE / "copies.svg").write_text(picture(kept()), encoding="utf-8")
