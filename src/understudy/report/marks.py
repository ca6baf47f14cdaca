"""What is drawn inside a frame: lines, bands, points with read-outs, labels at the ends of lines.

Colour is a class: "s0" to "s7" for methods, "st" for the teacher, "si" for ink. Shapes differ as well:
nothing depends on colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from understudy.report.markup import Markup, Number, el
from understudy.report.plot import Frame

Point = tuple[Number, Number | None]
SLOTS = 8
_SHAPES = (
    "M-3.4 0A3.4 3.4 0 1 0 3.4 0A3.4 3.4 0 1 0-3.4 0Z",
    "M-3-3H3V3H-3Z",
    "M0-4L3.9 3H-3.9Z",
    "M0-4.4L4.4 0L0 4.4L-4.4 0Z",
    "M0 4L3.9-3H-3.9Z",
    "M-3.8-1.2H-1.2V-3.8H1.2V-1.2H3.8V1.2H1.2V3.8H-1.2V1.2H-3.8Z",
    "M-3.8-2.2L-2.2-3.8L0-1.6L2.2-3.8L3.8-2.2L1.6 0L3.8 2.2L2.2 3.8L0 1.6L-2.2 3.8L-3.8 2.2L-1.6 0Z",
)


def slot(position: int) -> str:
    """Colour class of the method at `position` in the list."""
    return f"s{position % SLOTS}"


def line(frame: Frame, points: Sequence[Point], colour: str, dashed: bool = False) -> Markup:
    """A line through the points; it breaks where a value is absent."""
    steps: list[str] = []
    pen = "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        steps.append(f"{pen}{frame.x(x):.1f} {frame.y(y):.1f}")
        pen = "L"
    return el("path", d="".join(steps), class_=f"line {colour}{' dashed' if dashed else ''}")


def band(
    frame: Frame, rows: Sequence[tuple[Number, Number | None, Number | None]], colour: str
) -> Markup | None:
    """The area between low and high; None where fewer than two rows have both."""
    whole = [(x, low, high) for x, low, high in rows if low is not None and high is not None]
    if len(whole) < 2:
        return None
    there = [f"{frame.x(x):.1f} {frame.y(high):.1f}" for x, _, high in whole]
    back = [f"{frame.x(x):.1f} {frame.y(low):.1f}" for x, low, _ in reversed(whole)]
    return el("path", d="M" + "L".join(there + back) + "Z", class_=f"band {colour}")


def dot(x: Number, y: Number, colour: str, read: str, shape: int = 0, size: float = 1.0) -> Markup:
    """A marker at a place in SVG units, with a larger invisible target that shows `read`."""
    scale = "" if size == 1.0 else f" scale({size:.2f})"
    return el(
        "g",
        el("title", read),
        el("circle", cx=0, cy=0, r=9, class_="hit"),
        el("path", d=_SHAPES[shape % len(_SHAPES)], transform=scale.strip() or None, class_="dot"),
        transform=f"translate({x:.1f} {y:.1f})",
        class_=f"pt {colour}",
    )


def whisker(frame: Frame, x: Number, low: Number, high: Number, colour: str) -> Markup:
    """A vertical interval."""
    at = frame.x(x)
    return el("line", x1=at, x2=at, y1=frame.y(low), y2=frame.y(high), class_=f"whisker {colour}")


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved as little as needed to lie `gap` apart, in their order, inside [low, high]."""

    def centre(group: list[int]) -> float:
        """Middle of a block of labels: their mean place, kept inside."""
        half = gap * (len(group) - 1) / 2
        return min(max(sum(places[i] for i in group) / len(group), low + half), high - half)

    groups: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        groups.append([i])
        # neighbours that overlap become one block
        while len(groups) > 1:
            needed = gap * (len(groups[-1]) + len(groups[-2])) / 2
            if centre(groups[-1]) - centre(groups[-2]) >= needed - 1e-9:
                break
            groups[-2:] = [groups[-2] + groups[-1]]
    out = [0.0] * len(places)
    for group in groups:
        first = centre(group) - gap * (len(group) - 1) / 2
        for rank, i in enumerate(group):
            out[i] = first + gap * rank
    return out


def end_labels(
    frame: Frame,
    labels: Sequence[tuple[Number, str, str]],
    gap: float = 14.0,
    starts: Sequence[Number] | None = None,
) -> list[Markup]:
    """Names at the right ends of lines: (value there, name, colour), moved apart where they would overlap.
    `starts`: where each line ends on the horizontal axis, if not at the right edge."""
    places = spread(
        [frame.y(value) for value, _, _ in labels], gap, frame.top + 2.0, frame.height - frame.bottom - 2.0
    )
    x = frame.width - frame.right
    ends = [x + 3.0] * len(labels) if starts is None else [frame.x(start) + 6 for start in starts]
    out: list[Markup] = []
    for (value, name, colour), at, end in zip(labels, places, ends, strict=True):
        true = frame.y(value)
        path = f"M{end:.1f} {true:.1f}L{max(end, x + 3):.1f} {true:.1f}L{x + 11} {at:.1f}"
        out.append(el("path", d=path, class_=f"leader {colour}"))
        out.append(el("text", name, x=x + 14, y=at + 4, class_=f"direct {colour}"))
    return out
