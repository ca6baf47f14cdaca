"""Numbers as text, escaping, and the geometry of charts."""

from __future__ import annotations

import html
import math

import numpy as np
import pytest
from PIL import Image

from understudy.auditing.record import AuditRecord, Bin
from understudy.report.calibration_charts import pooled
from understudy.report.confidences import chosen_classes
from understudy.report.findings import headlines, proved
from understudy.report.images import difference, picture, shown_features
from understudy.report.marks import spread
from understudy.report.markup import Markup, el, safe
from understudy.report.plot import Frame, nice_ticks, radius_ticks
from understudy.report.training_charts import curve_keys
from understudy.report.words import flatten, interval, metric_parts, number, percent, plain, radius


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2361, "0.236"),
        (0, "0.000"),
        (2e-4, "<0.001"),
        (-2e-4, ">-0.001"),
        (12345.6, "1.235e+04"),
        (1, "1.000"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_absent(value: float | None) -> None:
    assert number(value) == percent(value) == "not measured"
    assert interval((0.0, value)) == ""


def test_radius_in_255ths_only_where_it_is_one() -> None:
    assert [radius(eps) for eps in (0, 0.1, 8 / 255, 1 / 255, 0.2, 51 / 255, 0.0314, 1.0)] == [
        "0", "0.1", "8/255", "1/255", "0.2", "0.2", "0.0314", "1",
    ]  # fmt: skip


def test_metric_parts() -> None:
    assert metric_parts("lower_mean@0.1") == ("lower_mean", 0.1)
    assert metric_parts("kl") == ("kl", None)
    assert metric_parts("user@host") == ("user@host", None)
    assert metric_parts("@0.1") == ("@0.1", None)


def test_settings_are_flat_and_never_none() -> None:
    rows = flatten({"a": {"b": [1, 0.5], "c": None}, "d": True, "e": [], "f": math.nan})
    assert rows == [("a.b", "1, 0.5"), ("a.c", "not set"), ("d", "yes"), ("e", "none"), ("f", "not measured")]
    assert plain("x") == "x"


def test_escaping_is_the_default_and_only_once() -> None:
    bad = "<b a=\"1\" b='2'>&"
    assert el("p", bad, title=bad) == f'<p title="{html.escape(bad)}">{html.escape(bad)}</p>'
    assert safe(el("p", bad)) == el("p", bad)
    assert isinstance(safe("x"), Markup)
    assert "\ud800" not in safe("\ud800")
    assert el("rect", x=1.50, y=2, class_=None) == '<rect x="1.5" y="2"/>'


def test_frame_places_ends_and_survives_a_flat_range() -> None:
    frame = Frame((0.0, 2.0), (0.0, 1.0), width=100, height=100, left=10, right=10, top=10, bottom=10)
    assert [frame.x(v) for v in (0, 1, 2)] == [10, 50, 90]
    assert [frame.y(v) for v in (0, 0.5, 1)] == [90, 50, 10]
    assert Frame((0.1, 0.1), (0, 1)).x(0.1) == pytest.approx((40 + 400 - 14) / 2)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.137, 0.158), (-3, 7.2), (0, 1e-7), (1, 60)])
def test_ticks_are_inside_even_and_few(low: float, high: float) -> None:
    values = [value for value, _ in nice_ticks(low, high)]
    assert 2 <= len(values) <= 8
    assert low - 1e-9 <= values[0]
    assert values[-1] <= high + 1e-9
    assert np.allclose(np.diff(values), values[1] - values[0])
    assert nice_ticks(3, 3) == [(3, "3")]


def test_radius_ticks_do_not_collide() -> None:
    frame = Frame((0.0, 0.1), (0, 1))
    kept = [value for value, _ in radius_ticks(frame, [0, 0.001, 0.002, 0.05, 0.1])]
    assert 0.1 in kept
    assert len(kept) < 5


def test_labels_are_spread_in_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        places = rng.uniform(0, 100, 6).tolist()
        moved = spread(places, 12.0, 0.0, 200.0)
        order = np.argsort(places, kind="stable")
        assert np.diff(np.array(moved)[order]).min() >= 12 - 1e-6
    assert spread([10.0, 90.0], 12.0, 0.0, 100.0) == [10.0, 90.0]
    assert spread([], 12.0, 0.0, 100.0) == []


def test_pooled_bins_equal_one_count_over_all() -> None:
    rng = np.random.default_rng(1)
    confidence, hit = rng.uniform(0, 1, 60), rng.integers(0, 2, 60).astype(float)

    def bins(rows: slice) -> list[Bin]:
        out = []
        for low in (0.0, 0.5):
            inside = (confidence[rows] > low) & (confidence[rows] <= low + 0.5)
            mean = [float(v[rows][inside].mean()) if inside.any() else None for v in (confidence, hit)]
            out.append(Bin(low, low + 0.5, int(inside.sum()), *mean))
        return out

    for got, want in zip(pooled([bins(slice(0, 7)), bins(slice(7, 60))]), bins(slice(0, 60)), strict=True):
        assert got.count == want.count
        assert got.confidence == pytest.approx(want.confidence)
        assert got.observed == pytest.approx(want.observed)
    assert pooled([[Bin(0.0, 1.0, 0, None, None)]] * 2) == [Bin(0.0, 1.0, 0, None, None)]


def pixels(tag: str) -> np.ndarray:
    import base64
    import io
    import re

    data = re.search(r"base64,([^\"]+)", tag)
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))


def test_pictures_hold_the_values() -> None:
    values = np.array([[0.0, 0.5], [1.0, 2.0]])
    drawn = pixels(picture(values[None], 0.0, 1.0, "x"))
    assert drawn.shape == (128, 128, 3)
    assert [int(drawn[y, x, 0]) for y, x in ((0, 0), (0, 127), (127, 0), (127, 127))] == [0, 128, 255, 255]
    moved = pixels(difference(np.array([[[-0.1, 0.0], [0.05, 0.1]]]), 0.1, "x"))
    assert [int(moved[y, x, 3]) for y, x in ((0, 0), (0, 127), (127, 0), (127, 127))] == [255, 0, 128, 255]
    assert moved[0, 0, 2] > moved[0, 0, 0]  # less is blue
    assert moved[127, 127, 0] > moved[127, 127, 2]  # more is orange
    colour = pixels(difference(np.zeros((3, 2, 2)), 0.0, "x"))
    assert {int(v) for v in np.unique(colour)} <= {127, 128}


def test_chosen_features_and_classes() -> None:
    moved = np.zeros(100)
    moved[[3, 50, 99]] = [1.0, -2.0, 0.5]
    assert {3, 50, 99} <= set(shown_features(moved))
    assert len(shown_features(moved)) == 64
    teacher, student = np.linspace(0, 0.02, 100), np.linspace(0, 0.02, 100)
    student[0] = 0.005
    assert 0 in chosen_classes([("a", teacher, student)])
    assert chosen_classes([("a", teacher[:3], student[:3])]) == [0, 1, 2]


def test_curve_keys_are_losses_and_accuracies() -> None:
    rows = [
        {"epoch": 1, "loss": 1.0, "seconds": 2.0, "train_accuracy": 0.5, "lr": 0.1, "note_loss": "x", "kl": 1}
    ]
    assert curve_keys(rows) == ["loss", "train_accuracy", "kl"]


def test_findings_count_what_the_rows_say(record: AuditRecord) -> None:
    counted = [p for p in record.points if p.counted]
    last = [p.radii[-1] for p in counted]
    text = " ".join(proved(record))
    assert f"differ by more than {number(max(r.upper for r in last if r.upper is not None))}" in text
    assert f"at {sum(r.same_class is True for r in last)} of them the two models name one class" in text
    assert f"at {sum(r.same_class is False for r in last)} points an input was found" in text
    empty = sum(r.upper is not None and r.upper >= 0.99 for r in last)
    assert empty > 0
    assert f"at {empty} of {len(counted)} points at ε = 0.1" in text
    assert f"{len(record.points) - len(counted)} examined points are not counted" in text
    shown = headlines(record)
    assert shown[1].value == number(max(r.lower for r in last if r.lower is not None))
    assert shown[3].value == percent(record.summary[-1].certified_agreement)
