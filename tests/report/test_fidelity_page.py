"""The page, the words and the table of a measurement of fidelity, where as much as may be is missing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from report.test_page import HOSTILE, check_page, plain
from understudy.auditing.fidelity_record import FidelityPart, FidelityRecord
from understudy.auditing.record import ModelRecord
from understudy.fidelity.floor import FidelityBesideFloor
from understudy.fidelity.information import PredictionInformation
from understudy.fidelity.moments import Estimate
from understudy.fidelity.streaming import Fidelity
from understudy.fidelity.tempered import CalibrationOverTemperature
from understudy.report.fidelity_page import write_fidelity_page
from understudy.report.fidelity_table import fidelity_table
from understudy.report.fidelity_words import ends_of, ends_of_mean, left_out, said_of


def make_part(
    name: str = "test",
    inputs: int = 40,
    others: int = 0,
    temperatures: tuple[float, ...] = (0.5, 1.0, 2.0),
    labels: bool = True,
    said: str = "digits, test",
) -> FidelityPart:
    """What is measured of random logits over five classes."""
    draw = torch.Generator().manual_seed(inputs + others)
    teacher, student, *rest = (2 * torch.randn(inputs, 5, generator=draw) for _ in range(2 + others))
    known = torch.randint(5, (inputs,), generator=draw) if labels else None
    information, over = PredictionInformation(5), CalibrationOverTemperature(temperatures)
    information.update(teacher, student)
    over.update(teacher, student, known)
    alone = Fidelity()
    alone.update(teacher, student, known)
    floors, excess = [], {}
    if rest:
        beside = FidelityBesideFloor(others)
        beside.update(teacher, rest, student, known)
        floors, excess = [one.estimates() for one in beside.result().floors], beside.result().excess
    return FidelityPart(
        name=name,
        said=said,
        examples=inputs,
        classes=5,
        pair=alone.result().estimates(),
        floors=floors,
        excess=excess,
        answers=information.answers(),
        confidences=information.confidences(),
        temperatures=over.result(),
    )


def make_record(*parts: FidelityPart, skipped: dict[str, str] | None = None) -> FidelityRecord:
    teacher, student = (ModelRecord(f"runs/{name}", "a3" * 32, 100) for name in ("teacher", "student"))
    return FidelityRecord(
        teacher=teacher,
        student=student,
        others=[teacher] * len(parts[0].floors),
        data="digits",
        settings={"on": [one.name for one in parts], "noise": None},
        parts=list(parts),
        skipped=skipped or {},
        said=said_of(parts),
        environment={"understudy": "0.1.0", "seconds": 1.5},
    )


def page_of(record: FidelityRecord, folder: Path) -> str:
    write_fidelity_page(folder / "report.html", record)
    page = (folder / "report.html").read_text(encoding="utf-8")
    check_page(page)
    return plain(page)


def shown(record: FidelityRecord, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(fidelity_table(record))
    return out.getvalue()


@pytest.mark.parametrize("inputs", [1, 40])
@pytest.mark.parametrize("others", [0, 1, 2])
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("temperatures", [(2.0,), (0.5, 1.0, 2.0)])
def test_the_page_is_whole(
    inputs: int, others: int, labels: bool, temperatures: tuple[float, ...], tmp_path: Path
) -> None:
    part = make_part(inputs=inputs, others=others, labels=labels, temperatures=temperatures)
    record = make_record(part)
    page, terminal = page_of(record, tmp_path), " ".join(shown(record).split())
    for said in record.said:
        assert said in page
        assert said in terminal
        assert "interval )" not in said
        assert "nan" not in said
    words = " ".join(record.said)
    assert ("accuracy" in words) == ("the ECE is" in words) == labels
    assert ("the likelihood of the labels is best" in words) == (labels and len(temperatures) > 1)
    assert ("at temperature 2" in words) == (temperatures == (2.0,))


def test_of_one_input_a_difference_has_no_interval(tmp_path: Path) -> None:
    """Neither a width of 0 nor an empty one: of one value no spread can be told."""
    one, many = make_record(make_part(inputs=1, others=1)), make_record(make_part(others=1))
    assert "95% interval" not in one.said[1]
    assert one.said[1].endswith(" nats).")
    assert "cannot be told from that one’s" in one.said[1]
    assert "95% interval" in many.said[1]
    rows = []
    for record in (one, many):
        page = page_of(record, tmp_path)
        rows.append(page[page.index("farther than other teachers by") :].split("</tr>")[0])
    assert 'class="iv"' not in rows[0]
    assert rows[1].count('class="iv"') == len(many.parts[0].excess)


def test_a_difference_of_agreements_has_the_interval_of_a_mean() -> None:
    """It may lie below 0, where a share's interval knows nothing."""
    gap = Estimate(-0.2, 0.05, 40)
    assert ends_of_mean(gap) == pytest.approx((-0.298, -0.102))
    assert ends_of("agreement", Estimate(0.5, None, 1)) is not None
    assert ends_of("kl", Estimate(0.5, None, 1)) is None


def test_names_are_escaped(tmp_path: Path) -> None:
    part = make_part(said=HOSTILE, others=1)
    record = make_record(part, make_part("shifted", 9, 1), skipped={"training": HOSTILE})
    hostile = ModelRecord(HOSTILE, "7c" * 32, 5)
    record = replace(
        record, teacher=hostile, student=hostile, others=[hostile], data=HOSTILE, said=[HOSTILE, HOSTILE]
    )
    write_fidelity_page(tmp_path / "report.html", record)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    check_page(page)
    assert "alert(1)</script>" not in page
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert "alert(1)" in shown(replace(record, said=["[bold]alert(1)[/nonsense]"]))


def test_what_was_left_out_is_said_in_both(tmp_path: Path) -> None:
    part = replace(make_part(labels=False), answers=None)
    skipped = {
        "training": "there is none",
        "test: labels": "some examples bear none",
        "test: answers": "too many classes",
    }
    record = make_record(part, skipped=skipped)
    said = left_out(skipped)
    assert said == [
        "Not measured on training data: there is none.",
        "On test data the labels were left out: some examples bear none.",
        "On test data the information of the answers was left out: too many classes.",
    ]
    page, terminal = page_of(record, tmp_path), " ".join(shown(record).split())
    assert all(one in page and one in terminal for one in said)
    assert "Test, confidences" in page
    assert "Test, answers" not in page
