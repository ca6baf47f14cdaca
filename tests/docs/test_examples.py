"""Every example runs, at a small size."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL: dict[str, list[str]] = {
    "boot.py": ["--epochs", "1", "--noises", "50"],
    "born_again.py": ["--epochs", "1", "--seeds", "1", "--generations", "2"],
    "compare_methods.py": [
        "--epochs",
        "1",
        "--points",
        "4",
        "--seeds",
        "1",
        "--methods",
        "fd",
        "--out",
        "out",
    ],
    "decision_tree_kd.py": ["--splits", "1", "--epochs", "2", "--depths", "2"],
    "distill_and_compare.py": ["--seeds", "1", "--rows", "300", "--bags", "2"],
    "demo.py": ["--epochs", "1", "--points", "4", "--methods", "fd", "--out", "out"],
    "ff_g2m.py": ["--data", "made-up", "--epochs", "2", "--seeds", "0", "--width", "8"],
    "gate.py": ["--epochs", "1"],
    "good_data_augmentation.py": [
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--examples",
        "200",
        "--student",
        "cnn[2,4,8]",
        "--plans",
        "shift",
        "picked",
    ],
    "l2d_multi_label.py": ["--epochs", "1", "--teacher-epochs", "1", "--seeds", "1", "--examples", "256"],
    "lion.py": [
        "--tasks",
        "40",
        "--new",
        "10",
        "--rounds",
        "1",
        "--epochs",
        "1",
        "--seeds",
        "0",
        "--test",
        "8",
    ],
    "redi.py": ["--problems", "64", "--epochs", "1", "--seeds", "0", "--test", "32"],
    "leaf.py": ["--epochs", "2", "--seeds", "1"],
    "own_method.py": ["--epochs", "1"],
    "own_model_and_tensors.py": [],
    "pcoreset_activekd.py": ["--epochs", "1", "--seeds", "1", "--rounds", "1"],
    "reinforced_multi_teacher.py": ["--epochs", "1", "--seeds", "0"],
    "tgeo_kd.py": ["--epochs", "1", "--seeds", "0"],
    "retain_while_acquiring.py": ["--epochs", "1", "--seeds", "0"],
    "bd_kd.py": ["--epochs", "1", "--seeds", "1"],
    "dho.py": ["--epochs", "1", "--seeds", "1"],
    "e2kd.py": ["--data", "digits", "--examples", "200", "--epochs", "1", "--seeds", "1"],
    "ofa_kd.py": ["--data", "digits", "--examples", "200", "--epochs", "1", "--seeds", "0"],
    "meal_v2.py": ["--data", "digits", "--examples", "200", "--epochs", "1", "--seeds", "1"],
    "sparse_logit_sampling.py": [
        "--made-up",
        "--words",
        "600",
        "--vocabulary",
        "40",
        "--epochs",
        "1",
        "--seeds",
        "1",
    ],
    "wakd.py": ["--epochs", "5", "--seeds", "1", "--examples", "60"],
    "teacher_assistant.py": ["--epochs", "1", "--seeds", "1"],
    "gkd.py": [
        "--file",
        str(EXAMPLES.parent / "README.md"),
        "--examples",
        "64",
        "--epochs",
        "1",
        "--seeds",
        "1",
    ],
    "uld.py": [
        "--file",
        str(EXAMPLES.parent / "README.md"),
        "--examples",
        "64",
        "--epochs",
        "1",
        "--seeds",
        "1",
    ],
}


def play(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a script as `python examples/NAME ...` would; its exit code."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_every_example_is_in_the_table() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert play(name, SMALL[name], monkeypatch) == 0
    assert capsys.readouterr().out
    if name == "own_model_and_tensors.py":
        assert sorted(path.name for path in (tmp_path / "own-audit").iterdir()) == [
            "audit.json", "report.html", "witnesses.safetensors", "worst.safetensors",
        ]  # fmt: skip
    if name in ("demo.py", "compare_methods.py"):
        assert list(tmp_path.glob("out/*/report.html"))


def test_the_twelve_line_script_has_twelve_lines() -> None:
    text = (EXAMPLES / "own_model_and_tensors.py").read_text(encoding="utf-8")
    code = text.split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


def test_gate_fails_where_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert play("gate.py", ["--epochs", "1", "--limit", "0.0001"], monkeypatch) == 1
    assert "gate failed: the upper bound is above 0.0001 at point" in capsys.readouterr().err
