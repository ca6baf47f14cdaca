from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import understudy as us
from understudy.errors import InputError
from understudy.jobs.worst import MOST, WORST, most_points, read_worst, save_worst, worst_cases


def test_the_largest_gaps_come_first_with_what_both_models_say(
    teacher: Path, student: Path, tmp_path: Path
) -> None:
    done = us.audit(teacher, student, "digits", eps=0.05, points=20, certify="none", out=tmp_path / "a")
    found = read_worst(tmp_path / "a" / "worst.safetensors")
    cases = worst_cases(done.record, found)
    counted = [p for p in done.record.points if p.counted]
    ranked = sorted(counted, key=lambda p: -(p.radii[-1].lower or 0))
    assert [case.index for case in worst_cases(done.record, found, None)] == [p.index for p in ranked]
    assert len(ranked) > WORST
    expected = ranked[:WORST]
    assert [case.index for case in cases] == [p.index for p in expected]
    inputs = us.load_data("digits", "test").inputs(slice(0, 20)).double()
    models = [us.load(folder).module.double() for folder in (teacher, student)]
    for case, point in zip(cases, expected, strict=True):
        assert case.lower == point.radii[-1].lower
        assert case.label == str(point.label)
        assert np.array_equal(case.original, inputs[case.index].numpy())
        assert np.array_equal(case.perturbed, done.witnesses[case.index, -1].numpy())
        with torch.no_grad():
            said = [m(done.witnesses[case.index, -1:]).softmax(1)[0].numpy() for m in models]
        assert case.teacher_attacked == pytest.approx(said[0])
        assert case.student_attacked == pytest.approx(said[1])
        assert np.abs(case.teacher_attacked - case.student_attacked).max() == pytest.approx(case.lower)


def test_none_counted_is_none_shown_and_a_missing_file_is_named(
    tmp_path: Path, teacher: Path, student: Path
) -> None:
    save_worst(tmp_path / "w.safetensors", {})
    record = us.audit(teacher, student, "digits", eps=0.0, points=2, certify="none").record
    assert worst_cases(record, read_worst(tmp_path / "w.safetensors")) == []
    with pytest.raises(InputError, match=r"none\.safetensors cannot be read"):
        read_worst(tmp_path / "none.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"\x80\x04K")
    with pytest.raises(InputError, match="cannot be read"):
        read_worst(tmp_path / "w.safetensors")


def test_large_inputs_are_fewer() -> None:
    assert [most_points(values) for values in (0, 64, 3072, 10_000, 40_000, 150_528)] == [
        MOST, MOST, MOST, MOST, 25, WORST,
    ]  # fmt: skip
