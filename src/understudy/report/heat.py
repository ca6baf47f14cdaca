"""A heat map: a number a cell, its colour one hue from light to strong, so that it reads without telling hues apart."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.report.markup import Markup, el, join
from understudy.report.words import number

_WIDTH, _RIGHT, _TOP, _LOW = 420, 4, 22, 44  # of the drawing; room on the right, above, and below for names
_LETTER = 5.6  # of a name, about
_STEPS = 5  # of the legend


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    soft: Sequence[Sequence[bool]],
    row_label: str,
    column_label: str,
) -> Markup:
    """Values in [0, 1] (below 0 drawn as 0, null as absent) with their rows' and columns' names.

    `soft`: cells whose number is no more than chance, set in brackets.
    """
    left = min(150.0, 14 + _LETTER * max(len(name) for name in rows))
    wide = (_WIDTH - left - _RIGHT) / len(columns)
    tall = min(34.0, max(22.0, 220 / len(rows)))
    base = _TOP + tall * len(rows)
    slanted = max(len(name) for name in columns) * _LETTER + 8 > wide
    low = _LOW if not slanted else 34 + 0.72 * min(150.0, 14 + _LETTER * max(len(name) for name in columns))
    cells = [
        _cell(rows[i], columns[j], value, soft[i][j], left + wide * j, _TOP + tall * i, wide, tall)
        for i, row in enumerate(values)
        for j, value in enumerate(row)
    ]
    height = base + low
    names = [
        el("text", name, x=left - 8, y=_TOP + tall * (i + 0.5) + 4, class_="tick end")
        for i, name in enumerate(rows)
    ]
    for j, name in enumerate(columns):
        at = f"translate({left + wide * (j + 0.5):.1f} {base + 16:.1f})"
        turned = f"{at} rotate(-45)" if slanted else at
        names.append(el("text", name, transform=turned, class_="tick end" if slanted else "tick mid"))
    known = [v for row in values for v in row if v is not None]
    told = f"{len(rows)} by {len(columns)} values"
    told += f", from {number(min(known), 2)} to {number(max(known), 2)}." if known else ", none measured."
    return el(
        "svg",
        el("title", title),
        el("desc", told),
        el("text", row_label, x=0, y=11, class_="name"),
        *cells,
        *names,
        el("text", column_label, x=(left + _WIDTH - _RIGHT) / 2, y=height - 5, class_="name mid"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height:.0f}",
        role="img",
        class_="chart",
    )


def _cell(
    row: str, column: str, value: float | None, soft: bool, x: float, y: float, wide: float, tall: float
) -> Markup:
    size = {"x": x + 0.75, "y": y + 0.75, "width": wide - 1.5, "height": tall - 1.5}
    middle = {"x": x + wide / 2, "y": y + tall / 2 + 4}
    read = f"{row} and {column}: {number(value, 2)}{', no more than chance' if soft else ''}"
    if value is None:
        inside = join(el("rect", class_="cell", **size), el("text", "–", class_="mid tick", **middle))
        return el("g", el("title", read), inside, class_="pt")
    strength = min(1.0, max(0.0, value))
    shade = "on-full" if strength > 0.8 else "on-middle" if strength > 0.6 else "on-pale"
    shown = f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")
    return el(
        "g",
        el("title", read),
        el("rect", class_="cell", **size),
        el("rect", class_="heat", fill_opacity=strength, **size),
        el("text", f"({shown})" if soft else shown, class_=f"mid {'soft' if soft else shade}", **middle),
        class_="pt",
    )


def heat_key(low: str, high: str) -> Markup:
    """What light and strong mean: the scale in steps from 0 to 1."""
    steps = [
        el("rect", x=16 * i, y=1, width=16, height=10, class_="heat", fill_opacity=i / (_STEPS - 1))
        for i in range(_STEPS)
    ]
    bar = el(
        "svg",
        el("title", f"from {low} to {high}"),
        el("rect", x=0.5, y=1, width=16 * _STEPS - 1, height=10, class_="cell"),
        *steps,
        viewBox=f"0 0 {16 * _STEPS} 12",
        role="img",
        class_="heat-key",
    )
    return el("p", el("span", low, class_="key"), bar, el("span", high, class_="key"), class_="keys")
