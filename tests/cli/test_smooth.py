"""`understudy smooth`: the record, the words beside it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy import api
from understudy.auditing.smoothing_record import read_smoothing, smoothing_json
from understudy.errors import InputError

Cli = Callable[..., Any]


def given(teacher: object, student: object, *more: object) -> tuple[object, ...]:
    return ("smooth", "--teacher", teacher, "--student", student, "--data", "digits", *more)


def test_the_record_and_the_words(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    done = cli(*given(teacher, student, "--sigma", "1/4", "--eps", ".05,.25", "--points", 3, "--start", 2,
                      "--samples", 500, "--confidence", 0.99, "--out", tmp_path / "a"))  # fmt: skip
    assert done.code == 0, done.err
    assert done.err == ""
    words = " ".join(done.out.split())
    assert "Shown statistically: within an l₂ radius of 0.25 of each of 3 points" in words
    assert "confidence of 99.0% for each point by itself, and at 97.0% for all points at once" in words
    assert "leaves the valid range [0, 1]" in words
    record = read_smoothing(tmp_path / "a")
    assert json.loads((tmp_path / "a" / "smooth.json").read_text()) == json.loads(
        json.dumps(smoothing_json(record))
    )
    assert [p.index for p in record.points] == [2, 3, 4]
    assert [row.eps for row in record.summary] == [0.0, 0.05, 0.25]
    assert [row.rho for row in record.summary] == [0.0, 0.05, 0.25]
    assert record.sigma == 0.25
    assert record.joint_confidence == pytest.approx(0.97)
    assert record.statement in words
    for point in record.points:
        assert 0 <= point.mean < point.upper[0] < point.upper[1] < point.upper[2] <= 1
        assert point.undefined == 0
    for i, row in enumerate(record.summary):
        assert row.upper_max == max(p.upper[i] for p in record.points)
        assert row.upper_mean == pytest.approx(sum(p.upper[i] for p in record.points) / 3)


def test_linf_goes_by_the_square_root_of_the_dimension(teacher: Path, student: Path) -> None:
    def run(**more: Any) -> Any:
        return api.smooth(teacher, student, "digits", sigma=0.5, points=2, samples=200, **more).record

    wide, box = run(eps=0.08), run(eps=0.01, norm="linf")
    assert box.summary[1].rho == pytest.approx(0.08)
    assert box.summary[1].upper_max == pytest.approx(wide.summary[1].upper_max)
    assert [row.eps for row in run().summary] == [0.0, 0.125, 0.25, 0.5]
    assert run(norm="linf").summary[-1].rho == pytest.approx(0.5)
    one = api.smooth(teacher, student, "digits", sigma=0.5, points=1, samples=50, eps=0)
    assert "Shown statistically: at the point, " in one.record.statement
    assert "all points" not in one.record.statement


def test_ones_own_modules_in_double_precision_are_left_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = torch.nn.Linear(4, 3).double().train()
    two = torch.nn.Linear(4, 3)
    done = api.smooth(one, two, (torch.randn(5, 4), None), sigma=0.1, samples=64, out=tmp_path / "s")
    assert done.folder == tmp_path / "s"
    assert done.record.environment["precision"] == "float64"
    assert "no declared range" in done.record.statement
    assert done.record.data.low is None
    assert done.record.points[0].label is None
    assert one.training
    assert one.weight.dtype == torch.float64
    assert two.weight.dtype == torch.float32
    assert [len(at.upper) for at in done.found] == [3] * 5
    again = api.smooth(one, two, (torch.randn(5, 4), None), sigma=0.1, samples=64, points=5, confidence=0.5)
    assert again.record.joint_confidence is None


def test_what_is_refused(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for more, said in [
        (("--sigma", 0), "sigma must be a finite number above 0, found 0"),
        (("--sigma", "x"), "--sigma must be a number"),
        (("--sigma", 0.1, "--confidence", 1), "confidence must lie between 0 and 1"),
        (("--sigma", 0.1, "--samples", 1), "samples must be 2 or more"),
        (("--sigma", 0.1, "--eps", -1), "eps must be a finite number"),
        (("--sigma", 0.1, "--eps", 2, "--norm", "linf"), "larger than the whole input range"),
        (("--sigma", 0.1, "--points", 10**6), "the split has"),
        (("--sigma", 0.1, "--bound", "hoeffding"), "hoeffding"),
        (("--sigma", 0.1, "--seed", -1), "seed must be 0 or more"),
    ]:
        done = cli(*given(teacher, student, *more, "--out", out))
        assert done.code == 2, (more, done)
        assert said in " ".join(done.err.split()), (more, done.err)
        assert not out.exists()
    assert cli(*given(teacher, student, "--sigma", 0.1, "--points", 1, "--samples", 20, "--quiet",
                      "--out", out)) == (0, "", "")  # fmt: skip
    assert cli(*given(teacher, student, "--sigma", 0.1, "--out", out)).code == 2


def test_records_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_smoothing(tmp_path)
    for text in ("[]", '{"schema": 2}', '{"schema": 1}'):
        (tmp_path / "smooth.json").write_text(text)
        with pytest.raises(InputError, match="of schema 1"):
            read_smoothing(tmp_path)
