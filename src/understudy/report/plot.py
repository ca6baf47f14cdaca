"""The frame of a chart: scales, ticks, axes, and the SVG element with its title and description."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.report.markup import Markup, Number, el
from understudy.report.words import radius

Tick = tuple[Number, str]
UNIT: list[Tick] = [(0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1, "1")]
SHARE: list[Tick] = [(0, "0%"), (0.25, "25%"), (0.5, "50%"), (0.75, "75%"), (1, "100%")]


@dataclass(frozen=True)
class Frame:
    """Data ranges and the box they are drawn in, in SVG units (about a CSS pixel in the page)."""

    x_range: tuple[Number, Number]
    y_range: tuple[Number, Number]
    width: int = 400
    height: int = 270
    left: int = 40
    right: int = 14
    top: int = 26
    bottom: int = 40

    def x(self, value: Number) -> float:
        """Horizontal place of a value."""
        low, high = self.x_range
        return self.left + (self.width - self.left - self.right) * _share(value, low, high)

    def y(self, value: Number) -> float:
        """Vertical place of a value (SVG counts downwards)."""
        low, high = self.y_range
        return self.height - self.bottom - (self.height - self.top - self.bottom) * _share(value, low, high)


def _share(value: Number, low: Number, high: Number) -> float:
    return 0.5 if high == low else (value - low) / (high - low)


def nice_ticks(low: Number, high: Number, about: int = 5) -> list[Tick]:
    """Round values that cover [low, high], about `about` of them, with equal decimals."""
    span = high - low
    if not span > 0:
        return [(low, f"{low:g}")]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(k * step, f"{k * step:.10g}") for k in range(first, last + 1)]


def radius_ticks(frame: Frame, radii: Sequence[Number]) -> list[Tick]:
    """The examined radii themselves, without those whose label would run into the one to the right."""
    kept: list[Tick] = []
    for eps in sorted(radii, reverse=True):
        if not kept or frame.x(kept[-1][0]) - frame.x(eps) > 14 + 5 * len(radius(eps)):
            kept.append((eps, radius(eps)))
    return kept


def axes(
    frame: Frame, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_label: str, y_label: str
) -> Markup:
    """Light horizontal rules, tick labels, and both axis names set horizontally."""
    right, floor = frame.width - frame.right, frame.height - frame.bottom
    parts: list[str] = []
    for value, name in y_ticks:
        at = frame.y(value)
        rule = "axis" if abs(at - floor) < 0.5 else "grid"
        parts.append(el("line", x1=frame.left, x2=right, y1=at, y2=at, class_=rule))
        parts.append(el("text", name, x=frame.left - 7, y=at + 4, class_="tick end"))
    for value, name in x_ticks:
        at = frame.x(value)
        parts.append(el("line", x1=at, x2=at, y1=floor, y2=floor + 4, class_="axis"))
        parts.append(el("text", name, x=at, y=floor + 17, class_="tick mid"))
    parts.append(el("text", y_label, x=0, y=11, class_="name"))
    middle = (frame.left + right) / 2
    parts.append(el("text", x_label, x=middle, y=frame.height - 5, class_="name mid"))
    return el("g", *parts, class_="axes")


def chart(frame: Frame, title: str, description: str, *marks: str | None) -> Markup:
    """The SVG element. It scales with its column; colours come from the page's style."""
    return el(
        "svg",
        el("title", title),
        el("desc", description),
        *marks,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        class_="chart",
    )


def panel(title: str, drawing: str, caption: str) -> Markup:
    """A titled figure: heading, drawing, caption."""
    return el("figure", el("h3", title), drawing, el("figcaption", caption), class_="panel")
