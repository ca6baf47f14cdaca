"""What the page of `attention_and_fidelity` shows beyond numbers: accuracy against overlap, and maps side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float

from understudy.experiments.base import Result
from understudy.experiments.parts.attention_looks import NAMES
from understudy.experiments.rows import Row
from understudy.fidelity.attention_compare import THRESHOLD, rescaled
from understudy.report.images import picture
from understudy.report.layout import panels, section
from understudy.report.marks import dot, line, slot
from understudy.report.markup import Markup, el
from understudy.report.plot import Frame, axes, chart, nice_ticks, panel
from understudy.report.tables import table
from understudy.report.words import sentence

_ORANGE, _BLUE, _WHITE = np.array([0.93, 0.55, 0.16]), np.array([0.20, 0.52, 0.88]), np.ones(3)
_CAPTION = "Each mark is a setting less the weak/weak one of its group; means over seeds."


def against_overlap(groups: Mapping[str, Sequence[str]], result: Result) -> Markup:
    """What a change of the teachers' overlap comes with: a ray a setting, from the first one of its group."""
    drawn = {
        "student_accuracy": "Change of the student’s accuracy, points",
        "agreement": "Change of the agreement, points",
    }
    return section(
        "Against the overlap",
        panels(
            *(panel(title, _rays(metric, title, groups, result), _CAPTION) for metric, title in drawn.items())
        ),
        lead="The paper expects rays to the upper left for accuracy and to the lower left for agreement. Where rays "
        "point elsewhere, or as far up for maps that were driven apart as for maps drawn together, overlap alone does "
        "not say how good a student becomes.",
    )


def _rays(metric: str, title: str, groups: Mapping[str, Sequence[str]], result: Result) -> Markup:
    means = {(one.setting, one.metric): one.mean for one in result.summary}
    rays = [
        (place, name, [means[name, each] - means[first, each] for each in ("iou", metric)])
        for place, (first, *others) in enumerate(groups.values())
        for name in others
    ]
    (left, right), (low, high) = (_padded([0.0, *(place[i] for *_, place in rays)]) for i in (0, 1))
    frame = Frame((left, right), (low, high), height=330, top=38 + 17 * math.ceil(len(groups) / 2))
    y_ticks = [(value, f"{100 * value:+.10g}".replace("-", "−")) for value, _ in nice_ticks(low, high, 5)]
    x_ticks = [(value, f"{value:+.10g}".replace("-", "−")) for value, _ in nice_ticks(left, right, 4)]
    marks: list[str] = [axes(frame, x_ticks, y_ticks, "change of the overlap of the teachers’ maps", "")]
    floor = frame.height - frame.bottom
    marks.append(el("line", x1=frame.x(0), x2=frame.x(0), y1=frame.top, y2=floor, class_="axis"))
    marks.append(
        el("line", x1=frame.left, x2=frame.width - frame.right, y1=frame.y(0), y2=frame.y(0), class_="axis")
    )
    for at, name, (x, y) in rays:
        read = f"{name}: overlap {x:+.3f}, {100 * y:+.1f} points"
        marks.append(line(frame, [(0.0, 0.0), (x, y)], slot(at)))
        marks.append(dot(frame.x(x), frame.y(y), slot(at), read, at))
    return chart(frame, title, "A ray a setting.", *marks, *_key(list(groups)))


def _key(names: Sequence[str]) -> list[Markup]:
    """The groups' names, each behind its mark, above the drawing."""
    marks = []
    for i, name in enumerate(names):
        x, y = 8 + 196 * (i % 2), 8 + 17 * (i // 2)
        marks += [dot(x, y, slot(i), name, i), el("text", name, x=x + 10, y=y + 4, class_="tick")]
    return marks


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.01
    return low - pad, high + pad


def gallery(side: int, count: int, settings: Sequence[str], result: Result) -> Markup:
    """For the first seed, the maps of both teachers and the student on the same images, and the teachers' overlap."""
    rows = {row["setting"]: row for row in result.rows if row["seed"] == result.seeds[0]}
    tables = []
    for name in settings:
        body = [[el("td", one) for one in _views(rows[name], i, count, side)] for i in range(count)]
        heads = ["Image", *(sentence(who) for who in NAMES), "Both teachers"]
        tables += [el("h3", sentence(name)), table(f"Maps, {name}", heads, body, fit=True)]
    return section(
        "Where they look",
        *tables,
        lead=f"Seed {result.seeds[0]}: the same test images under four pairs of teachers. Brighter, over the "
        "faint image, is where the evidence for a model’s own answer lies. Last column: where a map exceeds "
        f"{THRESHOLD:g} of its range, teacher 1 alone in orange, teacher 2 alone in blue, both in white. Their "
        "overlap is white over all that is coloured.",
    )


def _views(row: Row, which: int, count: int, side: int) -> list[Markup]:
    """The pictures of one image."""
    shown = np.array(row["shown"], dtype=float).reshape(count, -1, side, side)[which] / 255
    grey = shown.mean(0)
    maps = {name: _enlarged(row[name], which, count, side) for name in NAMES}
    above = [maps[name] > THRESHOLD for name in NAMES[:2]]
    colours = np.zeros((side, side, 3))
    for where, colour in (
        (above[0] & ~above[1], _ORANGE),
        (above[1] & ~above[0], _BLUE),
        (above[0] & above[1], _WHITE),
    ):
        colours[where] = colour
    tinted = {name: 0.35 * grey + 0.65 * one for name, one in maps.items()}
    return [
        picture(shown, 0.0, 1.0, f"image {which + 1}"),
        *(picture(one, 0.0, 1.0, f"image {which + 1}, {name}’s map") for name, one in tinted.items()),
        picture(np.moveaxis(colours, -1, 0), 0.0, 1.0, f"image {which + 1}, where the teachers’ maps lie"),
    ]


def _enlarged(values: Sequence[float], which: int, count: int, side: int) -> Float[np.ndarray, "h w"]:
    cells = len(values) // count
    grid = math.isqrt(cells)
    maps = torch.tensor(values, dtype=torch.float64).reshape(count, grid, grid)
    found: Float[np.ndarray, "h w"] = rescaled(maps, (side, side))[which].numpy()
    return found
