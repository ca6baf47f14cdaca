"""The worst inputs found: what they look like and what both models said, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from understudy.report.confidences import confidence_bars
from understudy.report.images import difference, is_image, picture, shown_features, strip, thumbnail
from understudy.report.markup import Markup, el, join
from understudy.report.words import count, number, radius

_OPEN = 6  # more cases than this are folded away


@dataclass(frozen=True)
class WorstCase:
    """One witness of a large difference.

    `index`: row in the split; `label`: its class's name, if known. `original`, `perturbed`: (C, H, W), (H, W)
    or flat, in the data's range. The four probability vectors are (classes,). `lower`, `upper`: the bounds on
    the difference of confidences in the ball of radius `eps`; `closed`: they meet, up to the tolerance.
    """

    index: int
    eps: float
    label: str | None
    original: Float[np.ndarray, "*shape"]
    perturbed: Float[np.ndarray, "*shape"]
    teacher_clean: Float[np.ndarray, " c"]
    student_clean: Float[np.ndarray, " c"]
    teacher_attacked: Float[np.ndarray, " c"]
    student_attacked: Float[np.ndarray, " c"]
    lower: float
    upper: float | None
    closed: bool = False


def worst_cases(
    cases: Sequence[WorstCase],
    class_names: Sequence[str] | None,
    value_range: tuple[float | None, float | None],
    colour: str = "s0",
    opened: int = _OPEN,
    anchors: bool = False,
) -> Markup:
    """A card a case, the first few open and the rest folded.

    `value_range`: the data's, null if unbounded; `anchors`: whether `gallery` links to the cards.
    """
    if not cases:
        return el("p", "No witness was kept: worst inputs not measured.", class_="absent")
    cards = [_card(case, class_names, value_range, colour, anchors) for case in cases]
    rest = cards[opened:]
    more = (
        el(
            "details",
            el("summary", f"{count(len(rest), 'more input')}"),
            el("div", *rest, class_="cards"),
        )
        if rest
        else None
    )
    return join(el("div", *cards[:opened], class_="cards"), more)


def _card(
    case: WorstCase,
    class_names: Sequence[str] | None,
    value_range: tuple[float | None, float | None],
    colour: str,
    anchor: bool,
) -> Markup:
    label = f", labelled {case.label}" if case.label is not None else ""
    bound = f"at most {number(case.upper)} is proved" if case.upper is not None else "no bound was proved"
    if case.closed:
        bound = "no input of the ball does more: closed"
    return el(
        "article",
        el("h4", f"Point {case.index}{label}"),
        el(
            "p",
            el("strong", number(case.lower)),
            f" apart at ε = {radius(case.eps)}; {bound}.",
            class_="said",
        ),
        _views(case, value_range),
        confidence_bars(
            [
                ("original", case.teacher_clean, case.student_clean),
                ("perturbed", case.teacher_attacked, case.student_attacked),
            ],
            class_names,
            colour,
        ),
        id=f"point-{case.index}" if anchor else None,
        class_="card",
    )


def gallery(cases: Sequence[WorstCase], value_range: tuple[float | None, float | None]) -> Markup | None:
    """A link to every card: the witness, small, the point, and both bounds. None for one case or none."""
    if len(cases) < 2:
        return None
    return el(
        "div",
        *(_link(case, value_range) for case in cases),
        class_="gallery",
        role="region",
        tabindex=0,
        aria_label="All examples",
    )


def _link(case: WorstCase, value_range: tuple[float | None, float | None]) -> Markup:
    small = None
    if is_image(case.perturbed):
        small = thumbnail(case.perturbed, *_ends(case, value_range), "")
    upper = "" if case.upper is None else f"–{number(case.upper)}"
    bounds = f"{number(case.lower)} ◆" if case.closed else number(case.lower) + upper
    name = el("span", str(case.index), class_="which")
    return el("a", small, name, el("span", bounds, class_="iv"), href=f"#point-{case.index}")


def _ends(case: WorstCase, value_range: tuple[float | None, float | None]) -> tuple[float, float]:
    """The range to draw in: the data's, else what the input and its witness span."""
    both = np.concatenate([case.original.reshape(-1), case.perturbed.reshape(-1)])
    low, high = value_range
    return float(both.min()) if low is None else low, float(both.max()) if high is None else high


def _views(case: WorstCase, value_range: tuple[float | None, float | None]) -> Markup:
    moved = case.perturbed - case.original
    reach = float(np.abs(moved).max(initial=0.0))
    scale = f"full colour at ±{number(reach)}" if reach > 0 else "nothing moved"
    if is_image(case.original):
        low, high = _ends(case, value_range)
        if reach > 0:
            scale = f"×{(high - low) / reach:.3g}, {scale}"
        views = [
            (picture(case.original, low, high, f"point {case.index}, original"), "original"),
            (picture(case.perturbed, low, high, f"point {case.index}, perturbed"), "perturbed"),
            (difference(moved, reach, f"point {case.index}, difference, {scale}"), f"difference, {scale}"),
        ]
        kind = "views"
    else:
        features = shown_features(moved)
        tall = float(max(np.abs(case.original).max(initial=0.0), np.abs(case.perturbed).max(initial=0.0)))
        all_of = moved.size
        which = (
            f"all {all_of}" if len(features) == all_of else f"the {len(features)} of {all_of} that moved most"
        )
        name = f"point {case.index}"
        views = [
            (
                strip(case.original, features, tall, f"{name}, original", "value"),
                f"original: {which} features",
            ),
            (strip(case.perturbed, features, tall, f"{name}, perturbed", "value"), "perturbed, same scale"),
            (
                strip(moved, features, reach, f"{name}, difference", "moved"),
                f"difference, full height at ±{number(reach)}" if reach > 0 else "difference: nothing moved",
            ),
        ]
        kind = "views flat"
    figures = [el("figure", view, el("figcaption", caption)) for view, caption in views]
    return el("div", *figures, class_=kind)
