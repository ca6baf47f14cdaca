"""What the page says a student copied: every number, every absence with its reason, and nothing more than is so."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from report.test_page import check_page, plain
from understudy.auditing.copied_record import CopiedRecord, Mean
from understudy.auditing.record import AuditRecord
from understudy.report.attention_section import attention_section
from understudy.report.copied_section import copied_section
from understudy.report.copied_words import copied_sentences, nearest, short_names, versus
from understudy.report.heat import heat_map
from understudy.report.map_images import BOTH, STUDENT, TEACHER, looked, shared
from understudy.report.page import write_audit_page
from understudy.report.representation_section import representation_section
from understudy.report.temperature_chart import over_temperature

Maker = Callable[..., tuple[CopiedRecord, dict[str, np.ndarray]]]


def page_of(path: Path, record: AuditRecord, worst: Any, maps: dict[str, np.ndarray] | None = None) -> str:
    write_audit_page(path / "report.html", record, worst, maps)
    return (path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("teachers", [1, 2])
def test_the_page_is_whole_and_holds_what_was_measured(
    record: AuditRecord, worst_maker: Callable[..., Any], copied_maker: Maker, tmp_path: Path, teachers: int
) -> None:
    copied, maps = copied_maker(teachers)
    bare = page_of(tmp_path, record, worst_maker(record, 2))
    page = page_of(tmp_path, replace(record, copied=copied), worst_maker(record, 2), maps)
    check_page(page)
    assert len(page) - len(bare) < 200_000
    text = plain(page)
    for said in (
        "95.1%",
        "0.210",
        "0.083",
        "0.123",
        "93.0–97.0%",
        "61.0%",
        "31.0%",
        "0.550",
        "10 without a value",
    ):
        assert said in text, said
    for heading in ("What the student copied", "Where both look", "What the layers hold"):
        assert f">{heading}</h2>" in page
        assert f">{heading}</h2>" not in bare
    assert page.count("<article") - bare.count("<article") == 4
    assert "Agreement by the teacher’s confidence" in bare
    assert "Agreement by the teacher’s confidence" not in page  # drawn once, of more examples
    assert page.count("Reliability against the labels</h3>") == 1


def test_an_audit_without_it_says_so_and_an_old_one_nothing(record: AuditRecord, tmp_path: Path) -> None:
    old = page_of(tmp_path, record, [])
    assert "copied" not in plain(old)
    left_out = replace(record, settings={**record.settings, "copied": False})
    assert "Not measured: this audit left it out." in page_of(tmp_path, left_out, [])


def test_what_was_skipped_is_named_with_its_reason(
    record: AuditRecord, copied_maker: Maker, tmp_path: Path
) -> None:
    copied, _ = copied_maker(1, labels=False)
    why = {"attention": "the teacher is <b>, which sees nothing", "layers": "there are none"}
    bare = replace(copied, attention=None, layers=[], skipped=why)
    page = page_of(tmp_path, replace(record, copied=bare), [])
    check_page(page)
    assert plain(page).count("Not measured: the teacher is <b>, which sees nothing.") == 2
    assert plain(page).count("Not measured: there are none.") == 2
    assert "where the teacher is wrong" not in page
    assert page.count("Reliability against the labels</h3>") == 0


def test_without_the_maps_the_comparison_stays(
    record: AuditRecord, copied_maker: Maker, tmp_path: Path
) -> None:
    copied, _ = copied_maker()
    page = page_of(tmp_path, replace(record, copied=copied), [])
    check_page(page)
    assert "maps.safetensors is missing" in page
    assert "On the same input" in page


def test_sentences_count_mistakes_and_never_claim_more(copied_maker: Maker) -> None:
    copied, _ = copied_maker()
    said = dict(copied_sentences(copied))
    assert "On the 20 that the teacher gets wrong it makes the same mistake 10 times." in said["Its answers."]
    assert "8.3% (7.0–10.0%)" in said["Its confidences."]
    assert "They look at the same places more than chance would have it." in said["Where it looks."]
    assert "between 0.78 (fc) and 0.93 (relu)" in said["Its layers."]
    assert "no proof of copying" in said["What this does not say."]
    always = replace(copied, answers=replace(copied.answers, agreement_where_wrong=None))
    assert "The teacher is right on all of them." in dict(copied_sentences(always))["Its answers."]


def test_more_than_chance_is_said_only_where_the_intervals_lie_apart() -> None:
    chance = Mean(0.3, 0.25, 0.35, 20)
    assert "more than chance" in versus(Mean(0.6, 0.51, 0.7, 20), chance)
    assert "share less than half" in versus(Mean(0.4, 0.36, 0.45, 20), chance)
    assert "less than chance" in versus(Mean(0.1, 0.05, 0.2, 20), chance)
    assert "cannot be told" in versus(Mean(0.33, 0.28, 0.4, 20), chance)


def test_of_few_examples_nothing_is_told(copied_maker: Maker) -> None:
    chance = Mean(0.3, 0.25, 0.35, 450)
    assert "cannot be told from 19 examples" in versus(Mean(0.6, 0.51, 0.7, 19), chance)
    assert "cannot be told from 1 example" in versus(Mean(0.6, None, None, 1), chance)
    copied, _ = copied_maker()
    alone = replace(copied, answers=replace(copied.answers, total_variation=Mean(0.25, None, None, 1)))
    assert "it places 25.0% of the probability" in dict(copied_sentences(alone))["Its confidences."]
    assert "None" not in copied_section(alone)


def test_rows_and_labels_that_were_left_out_are_named(copied_maker: Maker) -> None:
    copied, _ = copied_maker(1, labels=False)
    lost = replace(copied, left_out=[5, 9], skipped={"labels": "3 of the 450 examples have none"})
    drawn = plain(copied_section(lost))
    assert "rows 3 to 454 of the split, but for 2 rows where a model’s logits are not finite." in drawn
    assert "Nothing is held against the labels: 3 of the 450 examples have none." in drawn


def test_the_table_of_maps_counts_its_examples(copied_maker: Maker) -> None:
    copied, maps = copied_maker()
    assert copied.attention is not None
    assert ">440<" in attention_section(copied, maps, None, (0.0, 1.0))
    assert "most overlap among 450." in attention_section(copied, maps, None, (0.0, 1.0))
    even = replace(copied.attention.shown[0], overlaps=[None])
    (pair,) = copied.attention.pairs
    iou = replace(pair.measures["iou@0.4"], undefined=30)
    fewer = replace(copied.attention, pairs=[replace(pair, measures={**pair.measures, "iou@0.4": iou})])
    said = replace(copied, attention=fewer)
    assert "most overlap among those of 450 that have one." in attention_section(said, maps, None, (0.0, 1.0))
    assert "inputs where neither map is even" in dict(copied_sentences(said))["Where it looks."]
    some = replace(copied.attention, shown=[even, *copied.attention.shown[1:]])
    drawn = attention_section(replace(copied, attention=some), maps, None, (0.0, 1.0))
    assert "overlap none, a map is even" in drawn


def test_layers_are_named_shortly_and_the_nearest_is_found(copied_maker: Maker) -> None:
    (layers,) = copied_maker()[0].layers
    assert short_names(layers.rows, layers.row_kinds) == ["conv", "0 Block", "head"]
    assert short_names(["1", "3"], ["ReLU", "Linear"]) == ["1 ReLU", "3 Linear"]
    assert short_names(["a" * 40], ["ReLU"])[0] == "…" + "a" * 23
    assert nearest(layers) == [(0.934, 0, 0), (0.777, 1, 2)]


def test_a_heat_map_has_a_number_a_cell_and_brackets_for_chance(copied_maker: Maker) -> None:
    copied, _ = copied_maker()
    drawn = representation_section(copied)
    for shown in (">.93<", ">.41<", ">(.02)<", ">.30<", ">.78<", ">–<"):
        assert shown in drawn, shown
    assert 'fill-opacity="0.93"' in drawn
    assert "no two layers reach more than 0.04 (99 orders)" in drawn
    long = heat_map("t", ["a"], ["x" * 30, "y" * 30, "z"], [[1.0, -0.5, 0.1]], [[False] * 3], "r", "c")
    assert "rotate(-45)" in long
    assert ">1.00<" in long
    assert ">−.50<" in long
    assert 'fill-opacity="0"' in long


def pixels(markup: str) -> np.ndarray:
    found = re.search(r"base64,([^\"]+)", markup)
    assert found is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB"))


def test_maps_lie_where_they_were_measured() -> None:
    white = np.ones((1, 8, 8))
    where = np.array([[True, False], [True, False]])
    other = np.array([[True, True], [False, False]])
    seen = pixels(shared(white, 0.0, 1.0, where, other, "alt"))
    side = len(seen)
    corners = seen[:: side - 1, :: side - 1]
    assert corners[0, 0].tolist() == BOTH.tolist()
    assert corners[0, 1].tolist() == STUDENT.tolist()
    assert corners[1, 0].tolist() == TEACHER.tolist()
    assert len(set(corners[1, 1].tolist())) == 1  # grey
    strong = pixels(looked(white, 0.0, 1.0, np.array([[1.0, 0.0]]), "alt"))
    assert np.ptp(strong[0, 0]) > 200
    assert np.ptp(strong[0, -1]) == 0
    dark = pixels(looked(np.zeros((3, 8, 8)), 0.0, 1.0, np.array([[1.0]]), "alt"))
    assert 0 < dark[0, 0, 0] < strong[0, 0, 0]  # the input decides how bright
    large = pixels(looked(np.ones((3, 224, 224)), 0.0, 1.0, np.array([[1.0]]), "alt"))
    assert max(large.shape) <= 192


def test_large_inputs_do_not_make_a_large_page(copied_maker: Maker) -> None:
    copied, maps = copied_maker()
    noise = np.random.default_rng(0).random((6, 3, 224, 224)).astype(np.float32)  # nothing to compress
    assert copied.attention is not None
    six = replace(copied.attention, shown=[copied.attention.shown[0]] * 6)
    large = {"inputs": noise, "maps": np.repeat(maps["maps"][:1], 6, 0)}
    assert len(attention_section(replace(copied, attention=six), large, None, (0.0, 1.0))) < 1_000_000


def test_every_picture_is_described(copied_maker: Maker) -> None:
    copied, maps = copied_maker(2)
    drawn = attention_section(copied, maps, list("abcdefghij"), (0.0, 1.0))
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', drawn)
    assert len(alts) == 4 * (1 + 3 + 1)
    assert all(alts)
    assert "point 7, where teacher 2 looks; it says b" in alts
    assert "point 7, where both look: overlap 25.0%, 25.0%" in alts
    assert "labelled b" in drawn


def test_the_temperature_panel_goes_without_labels(copied_maker: Maker) -> None:
    whole = over_temperature(copied_maker()[0].answers.temperatures)
    assert (
        "any two models to 0, so compare it at T = 1, where it is 0.050. "
        "Lowest: teacher 0.025 at T = 0.25; student 0.030 at T = 0.25." in whole
    )
    assert "The dotted line is T = 1" in whole
    without = over_temperature(copied_maker(1, labels=False)[0].answers.temperatures)
    assert "Lowest" not in without


def test_one_is_drawn_only_within_the_temperatures(copied_maker: Maker) -> None:
    rows = [row for row in copied_maker()[0].answers.temperatures if row.temperature > 1]
    rows.append(replace(rows[-1], temperature=4.0))
    drawn = over_temperature(rows)
    assert "The dotted line" not in drawn
    assert "ideal" not in drawn
    assert "compare it at T = 1. " in drawn


def test_the_section_names_its_rows(copied_maker: Maker) -> None:
    assert "450 examples as they are, without any attack: rows 3 to 452" in copied_section(copied_maker()[0])
