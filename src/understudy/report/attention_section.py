"""The section on where both models look: the maps of a few inputs side by side, and how much they overlap over all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from understudy.auditing.copied_record import AttentionRecord, CopiedRecord, LookedAt, Mean, the
from understudy.report.images import is_image
from understudy.report.layout import section
from understudy.report.map_images import looked, seen, shared
from understudy.report.markup import Markup, el
from understudy.report.tables import cell, table
from understudy.report.words import interval, number, percent

_MEANING = {
    "iou": ("Overlap", "1 the same places, 0 none shared"),
    "spearman": ("Rank correlation", "1 the same order of places, 0 none"),
    "kl": ("KL of the maps, nats", "0 alike, larger is further apart"),
}


def attention_section(
    record: CopiedRecord,
    maps: Mapping[str, np.ndarray],
    names: list[str] | None,
    ends: tuple[float | None, float | None],
) -> Markup:
    """The maps and their comparison, or the reason why there are none.

    `maps`: "inputs" and "maps" of `record.attention.shown`; `names`: the classes'; `ends`: the data's range.
    """
    title, found = "Where both look", record.attention
    if found is None:
        why = record.skipped.get("attention", "nothing was found to compare")
        return section(title, el("p", f"Not measured: {why}.", class_="absent"))
    kinds = "; ".join(f"{name}: {kind}" for name, kind in zip(found.models, found.maps, strict=True))
    undefined = any(
        one.undefined for pair in found.pairs for name, one in pair.measures.items() if "iou" in name
    )
    among = f"those of {found.examples} that have one" if undefined else f"{found.examples}"
    enlarged = f" Maps of {' and '.join(found.enlarged)} were enlarged to it." if found.enlarged else ""
    return section(
        title,
        _cards(found, maps, names, ends),
        _table(found),
        el("p", f"Maps: {kinds}.{enlarged}", class_="hint"),
        lead="The stronger the colour, the more a place speaks for the class that the teacher names. The inputs "
        f"shown are taken at even steps from the least to the most overlap among {among}.",
    )


def _cards(
    found: AttentionRecord,
    maps: Mapping[str, np.ndarray],
    names: list[str] | None,
    ends: tuple[float | None, float | None],
) -> Markup:
    if "maps" not in maps or len(maps["maps"]) != len(found.shown) or not is_image(maps["inputs"][0]):
        return el(
            "p",
            "The maps themselves are not here: maps.safetensors is missing or shows no images.",
            class_="absent",
        )
    low = float(maps["inputs"].min()) if ends[0] is None else ends[0]
    high = float(maps["inputs"].max()) if ends[1] is None else ends[1]
    cards = [
        _card(found, one, maps["inputs"][i], maps["maps"][i], names, (low, high))
        for i, one in enumerate(found.shown)
    ]
    many = "both" if len(found.models) == 2 else "the student and a teacher"
    keys = [
        ("lb", f"{many} look here"),
        ("lt", "the teacher only" if len(found.models) == 2 else "teachers only"),
    ]
    swatches = [
        el("span", el("span", class_=f"swatch block {look}"), said, class_="key")
        for look, said in (("ll", "where a model looks"), *keys, ("ls", "the student only"))
    ]
    more = (
        f"A place counts as looked at where a map lies above {found.threshold:g}, its least being 0 and its most "
        "1. The overlap is the share of the places looked at by one of them at least that is looked at by both."
    )
    return el(
        "div",
        el("p", *swatches, class_="keys"),
        el("p", more, class_="hint"),
        el("div", *cards, class_="cards"),
    )


def _card(
    found: AttentionRecord,
    one: LookedAt,
    image: np.ndarray,
    maps: np.ndarray,
    names: list[str] | None,
    ends: tuple[float, float],
) -> Markup:
    point = f"point {one.index}"
    label = "" if one.label is None else f", labelled {_class(one.label, names)}"
    views = [(seen(image, *ends, f"{point}, input"), "input")]
    for who, strength, said in zip(found.models, maps, one.classes, strict=True):
        alt = f"{point}, where {the(who)} looks; it says {_class(said, names)}"
        views.append((looked(image, *ends, strength, alt), f"{who}: says {_class(said, names)}"))
    above = maps > found.threshold
    overlap = ", ".join("none, a map is even" if value is None else percent(value) for value in one.overlaps)
    alt = f"{point}, where both look: overlap {overlap}"
    views.append(
        (shared(image, *ends, np.logical_or.reduce(above[:-1]), above[-1], alt), f"overlap {overlap}")
    )
    figures = [el("figure", view, el("figcaption", said)) for view, said in views]
    return el(
        "article",
        el("h4", f"Point {one.index}{label}"),
        el("div", *figures, class_="views looks"),
        class_="card",
    )


def _class(value: int, names: list[str] | None) -> str:
    return names[value] if names and value < len(names) else str(value)


def _table(found: AttentionRecord) -> Markup:
    rows = []
    for pair in found.pairs:
        for measure, one in pair.measures.items():
            name, meaning = _MEANING[measure.partition("@")[0]]
            share = measure.startswith("iou")
            absent = f"{one.undefined} without a value" if one.undefined else ""
            rows.append(
                [
                    el("th", f"{name}, {pair.one} and {pair.other}", scope="row"),
                    _value(one.same, share),
                    _value(one.chance, share),
                    cell(f"{one.same.count:,}" if one.same else "0", absent),
                    cell(meaning),
                ]
            )
    return table(
        "Maps of both",
        ["", "On the same input", "By chance: on different inputs", "Examples", "Meaning"],
        rows,
        fit=True,
    )


def _value(found: Mean | None, share: bool) -> Markup:
    if found is None:
        return cell("not measured")
    return cell(
        percent(found.mean) if share else number(found.mean), interval((found.low, found.high), share)
    )
