"""A user's own method, in a file outside the package, on the command line: as any method of the catalogue."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def command(*words: str) -> None:
    """Run `understudy WORDS` in the examples' folder."""
    done = subprocess.run(
        [sys.executable, "-m", "understudy", *words],
        cwd=EXAMPLES, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_users_own_method_runs_on_the_command_line(tmp_path: Path) -> None:
    common = ("--data", "digits", "--epochs", "1", "--examples", "200", "--device", "cpu", "--quiet")
    command("train", "--model", "mlp[8]", *common, "--out", str(tmp_path / "teacher"))
    command(
        "distill", "--teacher", str(tmp_path / "teacher"), "--model", "mlp[6]", *common,
        "--method", "own_method:GramMatch", "--set", "weight=2", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["method"] == {"class": "own_method:GramMatch", "temperature": 4.0, "weight": 2.0}
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["loss_soft"] > 0
    assert row["loss_gram"] > 0


def test_it_takes_about_twenty_lines() -> None:
    tree = ast.parse((EXAMPLES / "own_method.py").read_text(encoding="utf-8"))
    (kind,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert kind.end_lineno is not None
    assert kind.end_lineno - kind.decorator_list[0].lineno < 22
