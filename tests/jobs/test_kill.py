"""Killed at any moment and resumed, a run ends as if nothing had happened.

Each run is a process of its own, forked off one that has done the imports: a kill then costs no start-up.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SERVER = """
import json, os, signal, sys, threading
import torch, sklearn.datasets, lightning_fabric, scipy.stats
from understudy.cli.main import run
import understudy.jobs.comparison_job
from understudy.training.player import Player

def die_at(count):
    # SIGKILL before the count-th time that something is made lasting on the disk
    left = [count]
    for name in ("fsync", "rename", "replace", "mkdir", "unlink"):
        def wrapped(*args, real=getattr(os, name), **named):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **named)
        setattr(os, name, wrapped)

def end_after(step, seconds, number):
    # A signal from a thread, some time after that step of the optimiser
    left, real = [step], Player.step
    def wrapped(self, progress):
        real(self, progress)
        left[0] -= 1
        if left[0] == 0:
            threading.Timer(seconds, os.kill, (os.getpid(), number)).start()
    Player.step = wrapped

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(null, stream)
        torch.set_num_threads(1)
        if "call" in order:
            die_at(order["call"])
        if "step" in order:
            end_after(order["step"], order["seconds"], getattr(signal, order["signal"]))
        code = run(order["args"])
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Do = Callable[..., int]


@pytest.fixture(scope="module")
def do(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """do("distill", ..., call=3): exit status of a process that ran the command; negative: a signal."""
    place = tmp_path_factory.mktemp("server")
    with open(place / "errors", "w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert server.stdin is not None
        assert server.stdout is not None

        def order(*args: object, **when: object) -> int:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps({"args": [str(a) for a in args], **when}) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield order
        server.stdin.close()
        server.wait(20)
        server.stdout.close()


def rows(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found]


def same(run: Path, whole: Path) -> None:
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert rows(run) == rows(whole)
    assert not (run / "checkpoint" / "partial").exists()
    assert max(p.name for p in (run / "checkpoint").iterdir()) == max(
        p.name for p in (whole / "checkpoint").iterdir()
    )


def arguments(teacher: Path, *more: object) -> tuple[object, ...]:
    model = ("--teacher", teacher, "--model", "mlp[8]", "--data", "digits", "--method", "fd", "--eps", ".05")
    return ("distill", *model, "--examples", "300", "--set", "steps=4", *more, "--quiet")


def where(run: Path) -> tuple[str, Path]:
    return ("--resume" if (run / "config.json").exists() else "--out", run)


@pytest.mark.slow
def test_killed_at_random_moments(do: Do, teacher: Path, tmp_path: Path) -> None:
    common = arguments(teacher, "--epochs", "60")  # 180 steps, of which the six killed take 144 at most
    assert do(*common, "--out", tmp_path / "whole") == 0
    moments, resumed = random.Random(0), 0
    for kill in range(6):
        name, run = where(tmp_path / "cut")
        # With all the options again, or with none but --resume.
        args = common if name == "--out" or kill % 2 else ("distill", "--quiet")
        step, seconds = moments.randint(1, 20), moments.uniform(0.0, 0.01)
        assert do(*args, name, run, step=step, seconds=seconds, signal="SIGKILL") == -9
        resumed += name == "--resume"
    assert resumed >= 4
    assert do("distill", "--quiet", "--resume", tmp_path / "cut") == 0
    same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_killed_before_each_thing_it_does_to_the_disk(do: Do, teacher: Path, tmp_path: Path) -> None:
    common = arguments(teacher, "--epochs", "2", "--batch-size", "150")
    assert do(*common, "--out", tmp_path / "whole") == 0
    for call in range(1, 200):
        run = tmp_path / f"cut{call}"
        code = do(*common, "--out", run, call=call)
        if code == 0:
            break
        assert code == -9
        assert do(*common, *where(run)) == 0, call
        same(run, tmp_path / "whole")
    assert 20 < call < 199


@pytest.mark.slow
def test_interrupted_politely(do: Do, teacher: Path, tmp_path: Path) -> None:
    common = arguments(teacher, "--epochs", "40")
    assert do(*common, "--out", tmp_path / "whole") == 0
    assert do(*common, "--out", tmp_path / "cut", step=50, seconds=0.001, signal="SIGINT") == 130
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    assert do("distill", "--resume", tmp_path / "cut", "--quiet") == 0
    same(tmp_path / "cut", tmp_path / "whole")
    assert do("distill", "--resume", tmp_path / "cut", "--quiet") == 0  # finished: read, not repeated
    same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_a_comparison_killed_and_continued(do: Do, teacher: Path, tmp_path: Path) -> None:
    model = (
        "--teacher",
        teacher,
        "--model",
        "mlp[6]",
        "--data",
        "digits",
        "--methods",
        "sd",
        "--seeds",
        "0,1",
    )
    small = ("--examples", 100, "--epochs", 1, "--points", 3, "--train-eps", ".05", "--eps", ".05", "--quiet")
    small = (*small, "--workers", 0)  # the kill is to strike in the process that it counts
    common = ("compare", *model, *small, "--out")
    assert do(*common, tmp_path / "whole") == 0
    for call in (3, 40, 75, 110, 160):  # in a claim, a training, an audit, another training, ...
        assert do(*common, tmp_path / "cut", call=call) in (-9, 0)
    assert do(*common, tmp_path / "cut") == 0
    contents = [json.loads((tmp_path / name / "compare.json").read_text()) for name in ("whole", "cut")]
    for content in contents:
        content["rows"] = [row for row in content["rows"] if row["metric"] != "train_seconds"]
        content["summary"] = [row for row in content["summary"] if row["metric"] != "train_seconds"]
    assert contents[0] == contents[1]
    for method in ("sd", "ce", "label_smoothing"):
        for seed in ("0", "1"):
            same(tmp_path / "cut" / method / seed, tmp_path / "whole" / method / seed)
    code = do(*common[:-1], "--points", 4, "--out", tmp_path / "cut")
    assert code == 2
