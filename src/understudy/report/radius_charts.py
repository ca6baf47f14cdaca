"""Charts over the radius: what was found, what was proved, and what is known point by point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.auditing.record import AuditRecord
from understudy.report.marks import band, dot, end_labels, line
from understudy.report.markup import Markup, Number, el
from understudy.report.plot import SHARE, UNIT, Frame, axes, chart, nice_ticks, radius_ticks
from understudy.report.words import interval, number, percent, present, radius


@dataclass(frozen=True)
class Curve:
    """One quantity over the radius: rows of (eps, value, low, high), value null where not measured."""

    name: str
    colour: str
    rows: list[tuple[float, float | None, float | None, float | None]]
    dashed: bool = False
    shape: int = 0

    @property
    def measured(self) -> list[tuple[float, float, float | None, float | None]]:
        """The rows that have a value."""
        return [(eps, v, low, high) for eps, v, low, high in self.rows if v is not None and present(v)]


def over_radius(
    title: str,
    y_label: str,
    curves: Sequence[Curve],
    *,
    norm: str,
    share: bool = False,
    fill_between: bool = False,
    margin: int = 92,
) -> Markup:
    """Curves over eps with interval bands and names at their ends. `fill_between` shades what lies open
    between the first two curves. The vertical axis starts at 0 and ends at 1 or, for small values, below."""
    shown = [curve for curve in curves if curve.measured]
    radii = sorted({eps for curve in curves for eps, *_ in curve.rows})
    highest = max((high or v for c in shown for _, v, _, high in c.measured), default=1.0)
    top = 1.0 if share or highest > 0.6 else next(t for t in (0.1, 0.2, 0.3, 0.4, 0.6) if highest <= t)
    frame = Frame((radii[0], radii[-1]), (0.0, top), right=margin)
    ticks = SHARE if share else UNIT if top == 1.0 else nice_ticks(0.0, top, 4)
    marks: list[str | None] = [axes(frame, radius_ticks(frame, radii), ticks, f"radius ε, {norm}", y_label)]
    if fill_between and len(shown) == 2:
        uppers = {eps: v for eps, v, *_ in shown[1].measured}
        between = [(eps, v, uppers.get(eps)) for eps, v, *_ in shown[0].measured]
        marks.append(band(frame, between, "open"))
    for curve in shown:
        marks.append(band(frame, [(eps, low, high) for eps, _, low, high in curve.measured], curve.colour))
    for curve in shown:
        marks.append(line(frame, [(eps, v) for eps, v, *_ in curve.rows], curve.colour, curve.dashed))
    for curve in shown:
        for eps, v, low, high in curve.measured:
            ends = interval((low, high), share)
            read = f"{curve.name}, ε = {radius(eps)}: {percent(v) if share else number(v)}"
            read += f" ({ends})" if ends else ""
            marks.append(dot(frame.x(eps), frame.y(v), curve.colour, read, curve.shape))
    labels = [(curve.measured[-1][1], curve.name, curve.colour) for curve in shown]
    marks += end_labels(frame, labels)
    return chart(frame, title, _spoken(shown, share), *marks)


def _spoken(curves: Sequence[Curve], share: bool) -> str:
    if not curves:
        return "Nothing was measured."
    said = []
    for curve in curves:
        values = ", ".join(
            f"{percent(v) if share else number(v)} at {radius(eps)}" for eps, v, *_ in curve.measured
        )
        said.append(f"{curve.name}: {values}.")
    return " ".join(said)


def class_counts(record: AuditRecord) -> list[tuple[float, int, int, int]]:
    """An eps a row: how many counted points are proved the same class, open, and shown different."""
    counted = [point for point in record.points if point.counted]
    rows = []
    for position, row in enumerate(record.summary):
        says = [point.radii[position].same_class for point in counted]
        rows.append((row.eps, says.count(True), says.count(None), says.count(False)))
    return rows


def class_bars(title: str, rows: Sequence[tuple[float, int, int, int]]) -> Markup:
    """A bar an eps: counted points whose class is proved the same, open, or shown different by a witness."""
    step = min(44, max(20, 190 // max(len(rows), 1)))
    frame = Frame((0, 1), (0, 1), left=52, right=24, height=step * len(rows) + 68)
    width = frame.width - frame.left - frame.right
    marks: list[str] = [
        el("text", "radius ε", x=0, y=11, class_="name"),
    ]
    for name, look, x in [
        ("proved the same", "proved", 0.0),
        ("open", "open", 124.0),
        ("shown different", "different", 184.0),
    ]:
        at = frame.left + x
        y = frame.height - 12
        marks.append(el("rect", x=at, y=y - 9, width=10, height=10, class_=f"part {look}"))
        marks.append(el("text", name, x=at + 15, y=y, class_="name"))
    for place, (eps, *parts) in enumerate(rows):
        y = 24 + step * place
        marks.append(el("text", radius(eps), x=frame.left - 9, y=y + step / 2 + 2, class_="tick end"))
        start, total = 0, max(sum(parts), 1)
        for amount, look in zip(parts, ("proved", "open", "different"), strict=True):
            x0, x1 = frame.left + width * start / total, frame.left + width * (start + amount) / total
            start += amount
            if amount == 0:
                continue
            read = f"ε = {radius(eps)}: {amount} of {total} points {_SAID[look]}"
            bar = el("rect", x=x0, y=y, width=max(x1 - x0 - 1.5, 0.5), height=step - 8, class_=f"part {look}")
            at, colour = (x0 + 6, f"inbar {look}") if x1 - x0 > 9 + 7 * len(str(amount)) else (x1 + 4, "tick")
            # a segment too narrow for its number has it to the right, if nothing follows there
            written = at == x0 + 6 or start == total
            text = el("text", str(amount), x=at, y=y + step / 2 + 1, class_=colour) if written else None
            marks.append(el("g", el("title", read), bar, text, class_="pt"))
    spoken = " ".join(f"At {radius(e)}: {a} proved, {b} open, {c} different." for e, a, b, c in rows)
    return chart(frame, title, spoken, *marks)


_SAID = {
    "proved": "are proved to keep one class in the whole ball",
    "open": "are open",
    "different": "have a witness on which the classes differ",
}


def within_delta(title: str, lowers: Sequence[Number], uppers: Sequence[Number], points: int) -> Markup:
    """Share of points whose worst difference is at most delta: proved (FaithUB) and possible (EmpLB)."""
    frame = Frame((0, 1), (0, 1), right=92)
    marks: list[str | None] = [axes(frame, UNIT, SHARE, "difference δ", "share of counted points")]
    possible, proved = _steps(lowers, points), _steps(uppers, points)
    if lowers and uppers:
        marks.append(_between(frame, possible, proved))
    labels: list[tuple[Number, str, str]] = []
    for name, values, steps, dashed in (
        ("EmpLB ≤ δ", lowers, possible, False),
        ("FaithUB ≤ δ", uppers, proved, True),
    ):
        if values:
            marks.append(line(frame, steps, "s0", dashed))
            labels.append((steps[-1][1], name, "s0"))
    marks += end_labels(frame, labels)
    for delta in (0.1, 0.25, 0.5, 0.75):
        for name, values in (("possible", lowers), ("proved", uppers)):
            if values:
                share = sum(v <= delta for v in values) / points
                read = f"δ = {delta:g}: {name} at {percent(share)} of {points} points"
                marks.append(dot(frame.x(delta), frame.y(share), "s0", read))
    return chart(frame, title, f"Over {points} points, for differences from 0 to 1.", *marks)


def _steps(values: Sequence[Number], points: int) -> list[tuple[float, float]]:
    steps = [(0.0, 0.0)]
    for rank, value in enumerate(sorted(min(max(float(v), 0.0), 1.0) for v in values)):
        steps += [(value, steps[-1][1]), (value, (rank + 1) / points)]
    return [*steps, (1.0, steps[-1][1])]


def _between(
    frame: Frame, above: Sequence[tuple[float, float]], below: Sequence[tuple[float, float]]
) -> Markup:
    ring = [*above, *reversed(below)]
    path = "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in ring) + "Z"
    return el("path", d=path, class_="band open")
