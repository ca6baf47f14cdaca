"""Draw the pictures of docs/when-fidelity-helps.md from the kept claims of the experiments.

python docs/images/laboratory.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from understudy.report.forest import Entry, forest
from understudy.report.markup import Markup, el

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "benchmarks" / "results"
WIDTH, TOP, ROW = 400, 64, 36
STYLE = """
svg { --paper: #fdfcfa; --ink: #1b1d21; --soft: #5c6067; --rule: #e3e0d9; --s0: #0a63a8; --st: #74787f;
  font-family: -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper: #14161a; --ink: #e8e6e1; --soft: #a2a6ad; --rule: #30343b;
  --s0: #6cb2ee; --st: #9a9fa8; } }
text { fill: var(--ink); font-size: 12px; } .tick, .name { fill: var(--soft); font-size: 11px; }
.title { font-size: 15px; font-weight: 600; } .end { text-anchor: end; } .mid { text-anchor: middle; }
.s0 { --c: var(--s0); } .st { --c: var(--st); } text.s0, text.st { fill: var(--c); font-weight: 600; }
.value { font-weight: 600; } .grid { stroke: var(--rule); } .whisker { stroke: var(--c); stroke-width: 2; }
.dot { fill: var(--c); } .faint .dot { opacity: .45; } .hit { fill: none; }
"""


class Row(NamedTuple):
    """One line of a panel: its name, the setting and the metric that it shows, whether it is there to compare with."""

    name: str
    setting: str
    metric: str
    beside: bool = False


class Panel(NamedTuple):
    """A title, whether the numbers are shares, the rows."""

    title: str
    share: bool
    rows: tuple[Row, ...]


class Picture(NamedTuple):
    """An experiment's picture: what it asks, and one or two panels."""

    experiment: str
    asked: str
    panels: tuple[Panel, ...]


def _same(settings: dict[str, str], metric: str) -> tuple[Row, ...]:
    return tuple(Row(name, setting, metric) for name, setting in settings.items())


_LEVELS = {name: name for name in ("labels alone", "smoothed labels", "relations", "sureness", "all it says")}
_WRONG = {name: f"{name}, 20% wrong" for name in _LEVELS}
_TEACHERS = {
    name: name for name in ("weak/weak", "strong/strong", "maps together", "maps apart")
}  # augmented, steered
_ROBUST = {name: name for name in ("SD", "ARD", "RSLAD", "FD")}
_COPIES = {
    "300 inputs": "like its teacher", "100 inputs": "100 inputs", "1347 inputs": "1347 inputs",
    "shifted inputs": "shift", "mixed inputs": "mixup", "start at λ = 0.1": "λ = 0.1",
}  # fmt: skip
PICTURES = {
    "copied": Picture(
        "does_kd_really_work",
        "How often does a copy answer as its teacher?",
        (
            Panel(
                "Agreement on test inputs",
                True,
                (
                    *_same(_COPIES, "test_agreement"),
                    Row("another teacher", "like its teacher", "floor_agreement", True),
                ),
            ),
            Panel("Agreement on what it was shown", True, _same(_COPIES, "shown_agreement")),
        ),
    ),
    "levels": Picture(
        "understanding_kd",
        "How often is the student right, by what it learns from beside the labels?",
        (
            Panel("All labels right", True, _same(_LEVELS, "student_accuracy")),
            Panel("A fifth of the labels wrong", True, _same(_WRONG, "student_accuracy")),
        ),
    ),
    "looks": Picture(
        "attention_and_fidelity",
        "Do teachers whose maps differ have better students?",
        (
            Panel(
                "Overlap of the two teachers’ maps",
                False,
                (
                    *_same(_TEACHERS, "iou"),
                    Row("other images, weak/weak", "weak/weak", "iou_chance", True),
                ),
            ),
            Panel("Student’s accuracy", True, _same(_TEACHERS, "student_accuracy")),
        ),
    ),
    "beside": Picture(
        "faithful_kd",
        "How far are the student’s confidences from its teacher’s?",
        (
            Panel("On the inputs themselves, mean", False, _same(_ROBUST, "clean_gap")),
            Panel(
                "At worst within ε = 0.1: found (EmpLB), mean",
                False,
                (*_same(_ROBUST, "lower"), Row("another teacher", "SD", "floor", True)),
            ),
        ),
    ),
}


def load(name: str) -> dict[str, Any]:
    """The kept claim behind a picture."""
    path = RESULTS / f"experiment-{PICTURES[name].experiment}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _panel(kept: dict[str, Any], of: Panel, place: int) -> Markup:
    found = {(one["setting"], one["metric"]): one for one in kept["summary"]}
    entries = []
    for row in of.rows:
        one = found[row.setting, row.metric]
        seeds = list(zip(kept["seeds"], one["seeds"], strict=True))
        colour, shape = ("st", 1) if row.beside else ("s0", 0)
        entries.append(Entry(row.name, colour, shape, seeds, one["mean"], one["low"], one["high"], None))
    drawn = forest(of.title, "agreement" if of.share else "value", entries)
    x, height = 20 + (WIDTH + 30) * place, ROW * len(of.rows) + 38
    placed = drawn.replace(
        "<svg ", f'<svg x="{x}" y="{TOP}" width="{WIDTH}" height="{height}" overflow="visible" ', 1
    )  # inside another one
    return Markup(el("text", of.title, x=x, y=TOP - 8, class_="name") + placed)


def picture(name: str, kept: dict[str, Any]) -> str:
    """The whole picture as an SVG file."""
    of = PICTURES[name]
    width = 20 + (WIDTH + 30) * len(of.panels)
    height = TOP + 38 + ROW * max(len(panel.rows) for panel in of.panels)
    parts = [
        el("title", of.asked),
        el("style", Markup(STYLE)),
        el("rect", width=width, height=height, style="fill: var(--paper)"),
        el("text", of.asked, x=20, y=28, class_="title"),
        *(_panel(kept, panel, place) for place, panel in enumerate(of.panels)),
    ]
    return (
        el("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img")
        + "\n"
    )


if __name__ == "__main__":
    for name in PICTURES:
        (HERE / f"{name}.svg").write_text(picture(name, load(name)), encoding="utf-8")
