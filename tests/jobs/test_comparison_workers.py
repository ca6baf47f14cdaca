"""Processes of their own: the same bits however many, and what becomes of a run that fails, dies or is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import understudy as us
from understudy.errors import InputError

OWN = """
import multiprocessing, os, signal
from dataclasses import dataclass
from pathlib import Path
import understudy as us

class Base(us.CrossEntropy):
    def _apart(self):
        return multiprocessing.parent_process() is not None

@dataclass(frozen=True)
class DiesOnce(Base):
    def terms(self, student, teacher, batch):
        if self._apart() and batch.epoch == 1 and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().terms(student, teacher, batch)

@dataclass(frozen=True)
class Dies(Base):
    def terms(self, student, teacher, batch):
        if self._apart():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().terms(student, teacher, batch)

@dataclass(frozen=True)
class Breaks(Base):
    def terms(self, student, teacher, batch):
        if batch.epoch == 1 and batch.labels is not None and len(batch.labels) == 60:
            raise RuntimeError("broken\\n  on purpose")
        return super().terms(student, teacher, batch)

@dataclass(frozen=True)
class Slow(Base):
    def terms(self, student, teacher, batch):
        if self._apart():
            Path("begun").touch()
            import time; time.sleep(0.2)
        return super().terms(student, teacher, batch)
"""
SMALL: dict[str, Any] = {
    "train_eps": 0.05, "eps": [0.05], "points": 3, "certify": "none", "epochs": 2, "examples": 60,
    "batch_size": 60, "device": "cpu",
}  # fmt: skip


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_workers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("own_workers", None)
    return tmp_path


def without_costs(content: dict[str, Any]) -> dict[str, Any]:
    costs = ("train_seconds", "peak_megabytes")
    parts = {part: [r for r in content[part] if r["metric"] not in costs] for part in ("rows", "summary")}
    return {**content, **parts}


def files(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("model.safetensors", "answers.safetensors")}


def test_the_results_do_not_depend_on_the_number_of_workers(teacher: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"methods": ["rkd"], "seeds": [0, 1], **SMALL}
    found = {
        n: us.compare(teacher, "mlp[6]", "digits", out=tmp_path / str(n), workers=n, **given) for n in (0, 2)
    }
    one, two = (json.loads(json.dumps(without_costs(found[n].content))) for n in (0, 2))
    attacked = [row for row in one["rows"] if "@" in row["metric"]]  # here the attack is a short one
    for content in (one, two):
        for part in ("rows", "summary", "contrasts"):
            content[part] = [row for row in content[part] if "@" not in row["metric"]]
        del content["teacher"]
    assert attacked
    assert one == two
    for method in ("rkd", "kd", "ce", "label_smoothing"):
        for seed in ("0", "1"):
            assert files(tmp_path / "0" / method / seed) == files(tmp_path / "2" / method / seed)
    measured = [row["value"] for row in found[2].rows if row["metric"] == "peak_megabytes"]
    assert len(measured) == 8
    assert all(value >= 0 for value in measured)
    assert not [row for row in found[0].rows if row["metric"] == "peak_megabytes"]


def test_methods_and_seeds_can_be_added(teacher: Path, tmp_path: Path) -> None:
    us.compare(teacher, "mlp[6]", "digits", methods="rkd", seeds=[0], out=tmp_path / "c", **SMALL)
    before = (tmp_path / "c" / "rkd" / "0" / "model.safetensors").stat().st_mtime_ns
    more: dict[str, Any] = {"methods": "relations, pld", "seeds": [0, 1], **SMALL}
    found = us.compare(teacher, "mlp[6]", "digits", out=tmp_path / "c", **more)
    assert set(found.audits) == {"rkd", "pld", "kd", "ce", "label_smoothing"}
    assert all(len(audits) == 2 for audits in found.audits.values())
    assert (tmp_path / "c" / "rkd" / "0" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"request\.methods: relations, pld|request\.methods"):
        us.compare(teacher, "mlp[6]", "digits", methods="rkd", seeds=[0, 1], out=tmp_path / "c", **SMALL)


def test_a_run_that_fails_is_a_row_that_says_so(own: Path, teacher: Path) -> None:
    found = us.compare(
        teacher, "mlp[6]", "digits", methods=["own_workers:Breaks"], seeds=[0, 1], out=own / "c", **SMALL
    )
    wanted = {"method": "own_workers:Breaks", "reason": "RuntimeError: broken on purpose"}
    assert found.content["failed"] == [{**wanted, "seed": 0}, {**wanted, "seed": 1}]
    assert set(found.audits) == {"kd", "ce", "label_smoothing"}
    assert (own / "c" / "report.html").exists()
    assert "RuntimeError: broken on purpose" in (own / "c" / "report.html").read_text(encoding="utf-8")


def test_a_process_that_is_killed_goes_on_and_one_that_always_dies_is_a_row(own: Path, teacher: Path) -> None:
    given: dict[str, Any] = {"seeds": [0], **SMALL}
    methods = ["own_workers:DiesOnce", "own_workers:Dies"]
    found = us.compare(teacher, "mlp[6]", "digits", methods=methods, out=own / "c", workers=2, **given)
    assert (own / "died").exists()
    (failed,) = found.content["failed"]
    assert failed["method"] == "own_workers:Dies"
    assert "killed" in failed["reason"]
    alone = us.compare(teacher, "mlp[6]", "digits", methods=methods[:1], out=own / "d", **given)
    assert set(alone.audits) == {*found.audits}
    assert files(own / "c" / "own_workers.DiesOnce" / "0") == files(own / "d" / "own_workers.DiesOnce" / "0")


def compare_slowly(own: Path, teacher: Path) -> subprocess.Popen[str]:
    """A comparison in a process of its own, waited for until its runs have begun."""
    command = [sys.executable, "-m", "understudy", "compare", "--teacher", str(teacher), "--model", "mlp[6]"]
    command += [
        "--data",
        "digits",
        "--methods",
        "own_workers:Slow",
        "--seeds",
        "0,1",
        "--epochs",
        "400",
        "--out",
        "c",
    ]
    command += [
        "--examples",
        "60",
        "--train-eps",
        ".05",
        "--eps",
        ".05",
        "--certify",
        "none",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        command, cwd=own, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(own)}
    )
    until(lambda: (own / "begun").exists(), process)
    return process


def until(true: Any, process: subprocess.Popen[str] | None = None) -> None:
    for _ in range(1200):
        if true():
            return
        assert process is None or process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.1)
    raise AssertionError("waited for two minutes")


def at_work(own: Path) -> bool:
    """Whether a run still writes: the slow method touches its file at every step."""
    before = (own / "begun").stat().st_mtime_ns
    time.sleep(1.5)
    return (own / "begun").stat().st_mtime_ns != before


def test_ctrl_c_saves_every_run(own: Path, teacher: Path) -> None:
    process = compare_slowly(own, teacher)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not at_work(own)
    assert list(own.glob("c/own_workers.Slow/*/checkpoint/step-*"))


def test_runs_end_with_their_parent(own: Path, teacher: Path) -> None:
    process = compare_slowly(own, teacher)
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not at_work(own))
    assert process.returncode == -signal.SIGKILL


def test_where_no_run_succeeds_there_is_no_table(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken for all")

    monkeypatch.setattr("understudy.jobs.comparison_workers.perform", broken)
    with pytest.raises(InputError, match="no run succeeded; kd with seed 0: RuntimeError: broken for all"):
        us.compare(teacher, "mlp[6]", "digits", methods="kd", seeds=[0], out=tmp_path / "c", **SMALL)
    assert not (tmp_path / "c" / "compare.json").exists()


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_travel(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use workers=0"):
        us.compare(us.load(teacher), "mlp[6]", "digits", methods="kd", out=tmp_path / "c", workers=1, **SMALL)
    with pytest.raises(InputError, match="workers must be 0"):
        us.compare(teacher, "mlp[6]", "digits", methods="kd", out=tmp_path / "c", workers=-1, **SMALL)
    assert not list(tmp_path.iterdir())
