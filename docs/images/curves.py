"""Draw docs/images/curves.svg: what was found and what is proved over eps, for each method of a kept comparison.

python docs/images/curves.py digits
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from understudy.report.marks import band, dot, line
from understudy.report.markup import Markup, el
from understudy.report.plot import Frame, axes
from understudy.report.words import metric_parts, number, radius

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "benchmarks" / "results"
NAMES = {"sd": "SD", "ard": "ARD", "rslad": "RSLAD", "iad": "IAD", "adaad": "AdaAD", "fd": "FD"}
PANEL, TOP = 232, 58
STYLE = """
svg { --paper: #fdfcfa; --ink: #1b1d21; --soft: #5c6067; --rule: #e3e0d9; --open: #e9e6df; --low: #0a63a8;
  --up: #c2480a; font-family: -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper: #14161a; --ink: #e8e6e1; --soft: #a2a6ad; --rule: #30343b;
  --open: #2c3037; --low: #6cb2ee; --up: #f2935c; } }
text { fill: var(--ink); font-size: 12px; } .tick, .name { fill: var(--soft); font-size: 11px; }
.title { font-size: 15px; font-weight: 600; } .end { text-anchor: end; } .mid { text-anchor: middle; }
.low { --c: var(--low); } .up { --c: var(--up); } text.low, text.up { fill: var(--c); font-weight: 600; }
.grid, .axis { stroke: var(--rule); } .line { fill: none; stroke: var(--c); stroke-width: 2; }
.line.dashed { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 3; opacity: .8; }
.band { fill: var(--open); stroke: none; } .dot { fill: var(--c); } .hit { fill: none; }
"""
Values = list[tuple[float, float]]


def curve(kept: dict[str, Any], method: str, metric: str) -> Values:
    """(eps, mean over seeds) of a metric, ascending."""
    rows = [(metric_parts(row["metric"]), row) for row in kept["summary"] if row["method"] == method]
    return sorted((eps, row["mean"]) for (name, eps), row in rows if name == metric and eps is not None)


def panel(kept: dict[str, Any], method: str, place: int, reference: str) -> Markup:
    """One method: the lower and the upper curve, what is open between them, and the first method's dashed."""
    low, up = curve(kept, method, "lower_mean"), curve(kept, method, "upper_mean")
    frame = Frame((0.0, low[-1][0]), (0.0, 0.8), width=PANEL, height=250, left=34, right=48, top=34)
    ticks = [(share / 10, f"{share / 10:g}") for share in range(0, 9, 2)]
    ends = [(0.0, "0"), (low[-1][0] / 2, radius(low[-1][0] / 2)), (low[-1][0], radius(low[-1][0]))]
    marks = [
        axes(frame, ends, ticks, "radius ε, l∞", ""),
        band(frame, [(eps, a, b) for (eps, a), (_, b) in zip(low, up, strict=True)], "open"),
    ]
    if method != reference:
        marks += [
            line(frame, curve(kept, reference, name), "reference", True)
            for name in ("lower_mean", "upper_mean")
        ]
    for values, look, name in ((low, "low", "EmpLB"), (up, "up", "FaithUB")):
        marks.append(line(frame, values, look))
        marks += [
            dot(frame.x(e), frame.y(v), look, f"{name} at {radius(e)}: {number(v)}", size=0.7)
            for e, v in values
        ]
        eps, value = values[-1]
        marks.append(el("text", number(value), x=frame.x(eps) + 7, y=frame.y(value) + 4, class_=look))
    title = el("text", NAMES.get(method, method), x=frame.left, y=18, class_="title")
    return el("g", title, *marks, transform=f"translate({PANEL * place} {TOP})")


def picture(kept: dict[str, Any]) -> str:
    """The whole picture as an SVG file."""
    settings = kept["settings"]
    methods = settings["methods"]
    width = PANEL * len(methods)
    said = "How far may the student's confidence lie from the teacher's, at worst, within ε of a test image?"
    legend = [
        ("proved, never exceeded: FaithUB", "up", 34),
        ("found by attack: EmpLB", "low", 250),
        (f"dashed: {NAMES.get(methods[0], methods[0])} again", "name", 412),
    ]
    parts = [
        el("title", "The worst difference in confidence over the radius, by method"),
        el("desc", "; ".join(_spoken(kept, method) for method in methods)),
        el("style", Markup(STYLE)),
        el("rect", width=width, height=TOP + 256, style="fill: var(--paper)"),
        el("text", said, x=34, y=24, class_="title"),
        *(el("text", text, x=x, y=46, class_=look) for text, look, x in legend),
        *(panel(kept, method, place, methods[0]) for place, method in enumerate(methods)),
    ]
    return (
        el("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {TOP + 256}", role="img")
        + "\n"
    )


def _spoken(kept: dict[str, Any], method: str) -> str:
    low, up = curve(kept, method, "lower_mean")[-1], curve(kept, method, "upper_mean")[-1]
    name = NAMES.get(method, method)
    return f"{name} at {radius(low[0])}: found {number(low[1])}, proved at most {number(up[1])}"


if __name__ == "__main__":
    source = RESULTS / f"compare-{sys.argv[1] if len(sys.argv) > 1 else 'digits'}.json"
    (HERE / "curves.svg").write_text(
        picture(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8"
    )
