"""The command as a process: what it imports, its exit codes, its streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.cli import main as cli_main
from understudy.version import __version__

Cli = Callable[..., Any]
COMMANDS = ("train", "distill", "audit", "compare", "methods", "report", "export", "experiment")


def process(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "understudy", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)  # type: ignore[call-overload]


def test_help_imports_no_torch() -> None:
    """All of them in one process: what one had imported the next would show."""
    code = (
        "import sys\n"
        "from understudy.cli.main import run\n"
        f"for name in ('', *{COMMANDS!r}):\n"
        "    assert run([name, '--help'] if name else ['--help']) == 0, name\n"
        "assert run(['--version']) == 0\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'pyarrow', 'lightning_fabric', 'safetensors'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Train students from teachers" in done.stdout
    for name in COMMANDS:
        assert f"Usage: understudy {name}" in done.stdout


def test_python_dash_m() -> None:
    done = process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"understudy {__version__}\n", "")
    assert process("nonsense").returncode == 2


def test_without_a_command_there_is_help(cli: Cli) -> None:
    done = cli()
    assert "Usage: understudy" in done.out + done.err


def test_an_error_of_ours_ends_with_70_and_shows_where(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(cli_main, "app", broken)
    done = cli("methods")
    assert done.code == 70
    assert "ZeroDivisionError: inside" in done.err
    assert done.err.rstrip().endswith("internal error; please report the lines above")


@pytest.mark.parametrize(("number", "code"), [(28, 2), (13, 2), (30, 2), (5, 70)])
def test_errors_of_the_system(cli: Cli, monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(cli_main, "app", broken)
    done = cli("methods")
    assert done.code == code
    assert ("Traceback" in done.err) is (code == 70)
    assert "/some/file" in done.err


def test_an_interrupt_ends_with_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_main, "app", stopped)
    done = cli("methods")
    assert done.code == 130
    assert done.err.startswith("understudy: interrupted")


@pytest.mark.slow
def test_two_devices_and_ctrl_c_from_a_terminal(teacher: Path, tmp_path: Path) -> None:
    """A process group is interrupted, as a terminal does it; the streams of a pipe carry no bar."""
    (tmp_path / "twonet.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self): super().__init__(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    command = [sys.executable, "-m", "understudy", "distill", "--teacher", str(teacher), "--model", "twonet:Net",
               "--data", "digits", "--method", "fd", "--set", "steps=2", "--epochs", "100000", "--devices", "2",
               "--device", "cpu", "--out", "run"]  # fmt: skip
    started = subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    for _ in range(1800):  # a busy machine takes long to start three processes
        if metrics.exists() and metrics.stat().st_size:
            break
        assert started.poll() is None, started.communicate()
        time.sleep(0.1)
    assert metrics.exists(), "the training did not start"
    os.killpg(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=120)
    assert started.returncode == 130
    assert out == ""
    assert err == "understudy: interrupted; a training goes on with --resume\n"
    (place,) = (tmp_path / "run" / "checkpoint").iterdir()
    step = json.loads((place / "tree.json").read_text())
    assert "place" in step["keys"]
    assert not (tmp_path / "run" / "model.safetensors").exists()
