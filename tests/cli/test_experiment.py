"""`understudy experiment`: the list, a run at its smallest, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.experiments import EXPERIMENTS, experiment_of
from understudy.experiments.does_kd_really_work import DoesKdReallyWork, Sizes

Cli = Callable[..., Any]


def test_the_list(cli: Cli) -> None:
    done = cli("experiment", "list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(EXPERIMENTS)
    for name, line in zip(EXPERIMENTS, lines, strict=True):
        kind = experiment_of(name)
        assert kind.name == name
        for part in (kind.claim, kind.quick.cost, kind.full.cost):
            assert part in line


def test_a_run_and_its_words(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Sizes(
        seeds=(0, 1), teacher="mlp[8]", teacher_examples=40, epochs=2, batch_size=40, capacities=(),
        examples=(80,), augmentations=(), lengths=(), starts=(0.1,),
    )  # fmt: skip
    monkeypatch.setattr(DoesKdReallyWork, "quick", small)
    out = tmp_path / "out"
    done = cli("experiment", "does_kd_really_work", "--quick", "--out", out)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len([line for line in lines if ", 95% " in line]) == 6
    assert lines[-2].startswith("At this scale the paper’s claim ")
    assert lines[-1] == f"page: {out / 'report.html'}"
    rows = (out / "rows.jsonl").read_text()
    more = cli("experiment", "does_kd_really_work", "--quick", "--seeds", "1,0,2", "--out", out, "--quiet")
    assert more == (0, "", "")
    assert (out / "rows.jsonl").read_text().startswith(rows)
    assert len((out / "rows.jsonl").read_text().splitlines()) == 9


def test_what_is_refused(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for given, said in [
        (("nonsense", "--out", out), "experiment 'nonsense'"),
        (("does_kd_really_work",), "say where with --out"),
        (("does_kd_really_work", "--seeds", "a", "--out", out), "--seeds takes whole numbers"),
        (("does_kd_really_work", "--seeds", "1,1", "--out", out), "seeds must be different"),
    ]:
        done = cli("experiment", *given)
        assert done.code == 2, (given, done)
        assert said in " ".join(done.err.split()), (given, done.err)
        assert not out.exists()
