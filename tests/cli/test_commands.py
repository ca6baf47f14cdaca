"""What each command does when all is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import understudy as us
from understudy.version import __version__

Cli = Callable[..., Any]


def test_train_and_distill(cli: Cli, tmp_path: Path) -> None:
    small = ("--examples", 150, "--epochs", 2)
    done = cli("train", "--data", "digits", "--model", "mlp[8]", "--robust", "pgd", "--eps", "8/255", *small,
               "--set", "steps=2", "--seed", 4, "--batch-size", 50, "--lr", 0.01, "--out", tmp_path / "t")  # fmt: skip
    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith(f"{tmp_path / 't'}: epoch 2, loss ")
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    assert config["command"] == "train"
    assert config["method"]["eps"] == 8 / 255
    assert config["method"]["steps"] == 2
    assert config["training"]["batch_size"] == 50
    assert config["training"]["lr"] == 0.01
    assert config["student"]["spec"] == "mlp[8]"
    done = cli("distill", "--teacher", tmp_path / "t", "--model", "mlp[4]", "--data", "digits", "--method", "rslad",
               "--norm", "l2", "--augment", "shift", *small, "--out", tmp_path / "s")  # fmt: skip
    assert done.code == 0
    assert "agreement with the teacher" in done.out
    config = json.loads((tmp_path / "s" / "config.json").read_text())
    assert config["method"]["norm"] == "l2"
    assert config["method"]["eps"] == 0.1
    assert config["request"]["augment"] == "shift"


def test_resume_needs_no_other_option_and_takes_the_same_ones(
    cli: Cli, teacher: Path, tmp_path: Path
) -> None:
    given = ("distill", "--teacher", teacher, "--model", "mlp[4]", "--data", "digits", "--method", "sd",
             "--examples", 100, "--epochs", 2, "--seed", 3)  # fmt: skip
    first = cli(*given, "--out", tmp_path / "s")
    (tmp_path / "s" / "model.safetensors").unlink()
    for args in (("distill",), given):
        again = cli(*args, "--resume", tmp_path / "s")
        assert again.code == 0
        assert again.out.split(",")[:2] == first.out.split(",")[:2]
    for args, said in [
        (("--epochs", 3), "training.epochs: 2, now 3"),
        (("--seed", 4), "training.seed: 3, now 4"),
        (("--augment", "shift"), "augment: none, now shift"),
        (("--out", tmp_path / "b"), "give --out DIR for a new run, or --resume"),
    ]:
        done = cli("distill", "--resume", tmp_path / "s", *args)
        assert done.code == 2
        assert said in done.err
    done = cli("train", "--resume", tmp_path / "s")
    assert done.code == 2
    assert "was not started by `understudy train`" in done.err


def test_audit_and_report(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    given = ("audit", "--teacher", teacher, "--student", student, "--data", "digits",
             "--points", 4, "--start", 2)  # fmt: skip
    done = cli(*given, "--eps", "0,1/255,.03", "--eps", "0.05", "--out", tmp_path / "a")
    assert done.code == 0
    assert done.err == ""
    assert "EmpLB" in done.out
    assert f"page: {tmp_path / 'a' / 'report.html'}" in done.out
    content = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert content["settings"]["eps"] == [0.0, 1 / 255, 0.03, 0.05]
    assert [p["index"] for p in content["points"]] == [2, 3, 4, 5]
    page = (tmp_path / "a" / "report.html").read_text()
    (tmp_path / "a" / "report.html").unlink()
    again = cli("report", tmp_path / "a")
    assert again.code == 0
    assert (tmp_path / "a" / "report.html").read_text() == page
    assert again.out == done.out


def test_audit_without_eps_takes_the_customary_grid(
    cli: Cli, teacher: Path, student: Path, tmp_path: Path
) -> None:
    given = ("audit", "--teacher", teacher, "--student", student, "--data", "digits", "--points", 2)
    assert cli(*given, "--certify", "none", "--all-points", "--out", tmp_path / "a").code == 0
    content = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert content["settings"]["eps"] == [0.0, 0.025, 0.05, 0.1]
    assert all(p["counted"] for p in content["points"])


def test_the_gate(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    given = ("audit", "--teacher", teacher, "--student", student, "--data", "digits",
             "--points", 4, "--eps", ".05")  # fmt: skip
    assert cli(*given, "--fail-above", 1, "--out", tmp_path / "a").code == 0
    failed = cli(*given, "--fail-above", 0.001, "--out", tmp_path / "b")
    assert failed.code == 1
    assert "understudy: the upper bound is above 0.001 at point" in failed.err
    assert "EmpLB" in failed.out  # the table is shown all the same
    assert (tmp_path / "b" / "report.html").exists()
    silent = cli(*given, "--fail-above", 0.001, "--quiet", "--out", tmp_path / "c")
    assert silent.code == 1
    assert silent.out == ""
    empty = cli(*given, "--fail-above", 0.5, "--certify", "none", "--out", tmp_path / "d")
    assert empty.code == 2
    assert not (tmp_path / "d").exists()


def test_bounds_that_contradict_each_other_end_with_3(
    cli: Cli, teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from understudy.bounds.engine import PairBounds

    real = PairBounds.bound
    monkeypatch.setattr(PairBounds, "bound", lambda *a, **k: [replace(b, upper=0.0) for b in real(*a, **k)])
    given = ("audit", "--teacher", teacher, "--student", student, "--data", "digits",
             "--points", 3, "--eps", ".05")  # fmt: skip
    done = cli(*given, "--fail-above", 0.5, "--out", tmp_path / "a")
    assert done.code == 3
    assert "contradict each other" in done.err
    assert (tmp_path / "a" / "unsound.safetensors").exists()
    assert (tmp_path / "a" / "audit.json").exists()


def test_compare_and_report(cli: Cli, teacher: Path, tmp_path: Path) -> None:
    given = ("compare", "--teacher", teacher, "--model", "mlp[4]", "--data", "digits", "--methods", "sd, fd",
             "--seeds", "1", "--schedule", "constant", "--train-eps", "1/20", "--eps", ".05", "--points", 3,
             "--epochs", 1, "--examples", 60)  # fmt: skip
    done = cli(*given, "--out", tmp_path / "c")
    assert done.code == 0
    assert f"page: {tmp_path / 'c' / 'report.html'}" in done.out
    content = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert {row["method"] for row in content["rows"]} == {"sd", "fd", "ce", "at", "label_smoothing"}
    assert content["settings"]["schedule"] == "constant"
    assert {row["metric"] for row in content["rows"]} >= {"accuracy", "kl", "train_seconds", "peak_megabytes"}
    assert (tmp_path / "c" / "fd" / "1" / "model.safetensors").exists()
    assert cli(*given, "--out", tmp_path / "c").out == done.out
    (tmp_path / "c" / "report.html").unlink()
    assert cli("report", tmp_path / "c").code == 0
    assert (tmp_path / "c" / "report.html").exists()
    other = cli(*given, "--eps", ".04", "--out", tmp_path / "c")
    assert other.code == 2
    assert "audit.eps" in other.err
    one = cli("distill", "--resume", tmp_path / "c" / "fd" / "1")  # a run of a comparison is a run
    assert one.code == 0


def test_a_method_that_asks_no_teacher_needs_none(cli: Cli, tmp_path: Path) -> None:
    given = ("distill", "--model", "mlp[4]", "--data", "digits", "--epochs", 2, "--examples", 60)
    done = cli(*given, "--method", "ps_kd", "--schedule", "constant", "--out", tmp_path / "a")
    assert done.code == 0
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["teacher"] is None
    assert config["training"]["schedule"] == "constant"
    assert cli("distill", "--resume", tmp_path / "a").code == 0
    assert cli(*given, "--method", "label_smoothing", "--out", tmp_path / "b").code == 0
    for more in ((), ("--set", "alpha=0.5")):
        refused = cli(*given, "--method", "kd", *more, "--out", tmp_path / "c")
        assert refused.code == 2
        assert "understudy distill needs --teacher" in refused.err
    assert not (tmp_path / "c").exists()


def test_methods(cli: Cli) -> None:
    listed = cli("methods")
    assert listed.code == 0
    for name in ("kd (sd)", "ard", "rslad", "iad", "adaad", "faithful_kd (fd)", "ce", "at", "trades"):
        assert any(line.startswith(name) for line in listed.out.splitlines()), name
    card = cli("methods", "fd")
    assert card.code == 0
    assert "Lamb" in card.out
    assert "hard_weight = 0.0" in card.out
    assert cli("methods", "faithful_kd").out == card.out
    unknown = cli("methods", "fidelity")
    assert unknown.code == 2
    assert "unknown method 'fidelity'" in unknown.err


def test_export(cli: Cli, student: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    done = cli("export", student, "--onnx", tmp_path / "s.onnx")
    assert done.code == 0
    assert "parameters, inputs (batch, 1, 8, 8)" in done.out
    x = us.load_data("digits", "test").inputs(slice(0, 7))
    session = onnxruntime.InferenceSession(str(tmp_path / "s.onnx"))
    (said,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        assert np.abs(said - us.load(student).module(x).numpy()).max() < 1e-4
    opened = cli("audit", "--teacher", tmp_path / "s.onnx", "--student", student, "--data", "digits", "--points", 2,
                 "--eps", ".01", "--certify", "none", "--quiet", "--out", tmp_path / "a")  # fmt: skip
    assert opened.code == 0
    lower = [
        r["lower"]
        for p in json.loads((tmp_path / "a" / "audit.json").read_text())["points"]
        for r in p["radii"]
    ]
    assert max(v for v in lower if v is not None) < 1e-5


def test_models_and_methods_of_ones_own_are_found_in_the_working_folder(
    cli: Cli, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minecode.py").write_text(
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "import understudy as us\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Squares(us.Method):\n"
        "    weight: float = 1.0\n"
        "    def terms(self, student, teacher, batch):\n"
        "        return {'square': self.weight * (student.logits - teacher.logits).square().mean(1)}\n"
    )
    monkeypatch.chdir(tmp_path)
    done = cli("distill", "--teacher", teacher, "--model", "minecode:make", "--data", "digits", "--method",
               "minecode:Squares", "--set", "weight=1/2", "--examples", 60, "--epochs", 1, "--out", "s")  # fmt: skip
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "s" / "config.json").read_text())
    assert config["method"] == {"class": "minecode:Squares", "weight": 0.5}
    for who in ("s", "minecode:make"):
        args = ("audit", "--teacher", teacher, "--student", who, "--data", "digits", "--points", 2, "--quiet")
        assert cli(*args, "--eps", 0, "--student-normalize" if who != "s" else "--seed",
                   ".5:.5" if who != "s" else 1, "--out", f"a-{who[0]}").code == 0  # fmt: skip
    assert cli("methods", "minecode:Squares").code == 0


def test_quiet_prints_nothing(cli: Cli, teacher: Path, student: Path, audited: Path, tmp_path: Path) -> None:
    models = ("--teacher", teacher, "--data", "digits")
    for args in [
        (
            "train",
            "--data",
            "digits",
            "--model",
            "mlp[4]",
            "--epochs",
            1,
            "--examples",
            50,
            "--out",
            tmp_path / "t",
        ),
        (
            "distill",
            *models,
            "--model",
            "mlp[4]",
            "--method",
            "sd",
            "--epochs",
            1,
            "--examples",
            50,
            "--out",
            tmp_path / "s",
        ),
        (
            "audit",
            *models,
            "--student",
            student,
            "--points",
            2,
            "--eps",
            0,
            "--certify",
            "none",
            "--out",
            tmp_path / "a",
        ),
        ("report", audited),
    ]:
        done = cli(*args, "--quiet")
        assert done == (0, "", ""), args


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.code, done.out) == (0, f"understudy {__version__}\n")
