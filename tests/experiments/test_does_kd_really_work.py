"""Does distillation really work: what must hold at any size, and what the figures become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

from understudy.errors import InputError
from understudy.experiments.base import Result
from understudy.experiments.does_kd_really_work import DoesKdReallyWork, Sizes

NAMES = ["like its teacher", "mlp[4]", "240 inputs", "shift", "mixup", "2 epochs", "λ = 0", "λ = 0.1"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, smallest: Sizes) -> Result:
    return DoesKdReallyWork(smallest).run(tmp_path_factory.mktemp("experiment") / "out")


def value(result: Result, setting: str, metric: str, seed: int = 0) -> float:
    return next(float(r[metric]) for r in result.rows if (r["setting"], r["seed"]) == (setting, seed))


def test_a_row_a_setting_and_seed(done: Result) -> None:
    assert [(r["setting"], r["seed"]) for r in done.rows] == [(n, seed) for n in NAMES for seed in (0, 1)]
    for row in done.rows:
        for metric, about in DoesKdReallyWork.metrics.items():
            if metric == "excess":
                assert row[metric] == pytest.approx(row["floor_agreement"] - row["test_agreement"])
            else:
                assert 0 <= row[metric] <= (1 if about.share else 10)
        bound = row["student_accuracy"] + row["teacher_accuracy"] - 1  # agreement >= 1 - e1 - e2
        assert row["test_agreement"] >= bound - 1e-9
    for metric in ("teacher_accuracy", "floor_agreement"):  # one teacher a seed
        assert len({r[metric] for r in done.rows if r["seed"] == 0}) == 1
        assert value(done, NAMES[0], metric, 0) != value(done, NAMES[0], metric, 1)


def test_a_student_that_starts_at_the_teacher_stays_there(done: Result) -> None:
    for seed in (0, 1):
        assert value(done, "λ = 0", "test_agreement", seed) == 1.0
        assert value(done, "λ = 0", "shown_agreement", seed) == 1.0
        assert value(done, "λ = 0", "test_kl", seed) < 1e-9
        assert value(done, "λ = 0", "student_accuracy", seed) == value(
            done, "λ = 0", "teacher_accuracy", seed
        )
        assert value(done, NAMES[0], "test_agreement", seed) < 1.0
        assert value(done, "λ = 0", "test_kl", seed) < value(done, "λ = 0.1", "test_kl", seed)
        assert value(done, "λ = 0.1", "test_kl", seed) < value(done, NAMES[0], "test_kl", seed)


def test_what_is_written(done: Result) -> None:
    content = json.loads((done.folder / "result.json").read_text())
    assert content["sentence"] == done.sentence
    assert len(content["rows"]) == 16
    assert len(content["summary"]) == 8 * len(DoesKdReallyWork.metrics)
    page = (done.folder / "report.html").read_text()
    assert page.count("<svg") == 5
    for said in (*NAMES, done.sentence, "another teacher", "Training length", "Agreement on test inputs"):
        assert said in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_a_run_goes_on_where_it_stopped(done: Result, tmp_path: Path, smallest: Sizes) -> None:
    """Cut back to a few rows, the rest is measured again and is the same; what is kept is not measured again."""
    lines = (done.folder / "rows.jsonl").read_text().splitlines(keepends=True)
    for name in ("experiment.json", "rows.jsonl"):
        (tmp_path / name).write_text((done.folder / name).read_text())
    marked = json.loads(lines[0]) | {"test_kl": 7.0}
    (tmp_path / "rows.jsonl").write_text(json.dumps(marked) + "\n" + "".join(lines[1:6]))
    again = DoesKdReallyWork(smallest).run(tmp_path, seeds=[0])
    assert value(again, NAMES[0], "test_kl") == 7.0
    assert again.seeds == (0,)
    for before in done.rows:
        if before["seed"] == 0 and before["setting"] != NAMES[0]:
            after = next(r for r in again.rows if r["setting"] == before["setting"])
            assert {**after, "seconds": 0} == {**before, "seconds": 0}
    assert {one.verdict for one in again.findings} == {"cannot be told"}  # a single seed
    with pytest.raises(InputError, match=r"scale\.epochs: 8, now 9"):
        DoesKdReallyWork(replace(smallest, epochs=9)).run(tmp_path)


def made_up(**changed: list[float]) -> Mapping[tuple[str, str], list[float]]:
    """Values under which every part of the claim appears, but for those that are changed."""
    values = {
        (name, metric): [0.8, 0.81, 0.79]
        for name in NAMES
        for metric in ("test_agreement", "shown_agreement")
    }
    values |= {(NAMES[0], f"{who}_accuracy"): [0.9, 0.91, 0.92] for who in ("student", "teacher")}
    values["λ = 0.1", "test_agreement"] = [0.97, 0.98, 0.96]
    values["240 inputs", "test_agreement"] = [0.85, 0.86, 0.85]
    values["240 inputs", "shown_agreement"] = [0.7, 0.71, 0.7]
    return values | {(key.replace("_", " "), "test_agreement"): one for key, one in changed.items()}


def verdicts(smallest: Sizes, values: Mapping[tuple[str, str], list[float]]) -> list[str]:
    return [one.verdict for one in DoesKdReallyWork(smallest).judge(smallest, values)]


def test_the_rule(smallest: Sizes) -> None:
    assert verdicts(smallest, made_up()) == ["appeared"] * 6
    copied = made_up(shift=[0.995, 0.994, 0.996])  # one remedy is enough to refute that there is none
    assert verdicts(smallest, copied) == [*["appeared"] * 2, "did not appear", *["appeared"] * 3]
    near = {**made_up(), ("λ = 0.1", "test_agreement"): [0.8, 0.81, 0.79]}
    assert verdicts(smallest, near)[3] == "did not appear"
    swapped = {**made_up(), ("240 inputs", "test_agreement"): [0.7, 0.9, 0.8],
               ("240 inputs", "shown_agreement"): [0.9, 0.91, 0.9]}  # fmt: skip
    broken = {
        **made_up(),
        (NAMES[0], "student_accuracy"): [0.1, 0.1, 0.1],
    }  # trained to nothing, it shows no gap
    assert verdicts(smallest, broken)[0] == "did not appear"
    assert verdicts(smallest, swapped)[4:] == ["cannot be told", "did not appear"]


def test_seeds_that_are_no_whole_numbers(tmp_path: Path, smallest: Sizes) -> None:
    jaxtyping.config.update("jaxtyping_disable", True)  # as users run it
    try:
        wrong: list[Any] = [[0.5], "01", [None]]
        for seeds in wrong:
            with pytest.raises(InputError, match="seeds must be different whole numbers"):
                DoesKdReallyWork(smallest).run(tmp_path / "a", seeds=seeds)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert not (tmp_path / "a").exists()


def test_what_is_refused(tmp_path: Path, smallest: Sizes) -> None:
    for seeds in ([], [1, 1], [-1]):
        with pytest.raises(InputError, match="seeds must be different whole numbers"):
            DoesKdReallyWork(smallest).run(tmp_path / "a", seeds=seeds)
    assert not (tmp_path / "a").exists()
    with pytest.raises(InputError, match="found twice: shift"):
        DoesKdReallyWork(replace(smallest, augmentations=("shift", "shift"))).run(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    for starts in ((0.0, 1.0), (0.0,), (0.1, 1.5)):
        with pytest.raises(InputError, match="starts must lie from 0 to below 1"):
            Sizes(starts=starts)
    with pytest.raises(InputError, match="lengths must be 1 epoch"):
        Sizes(lengths=(-3,))
    with pytest.raises(InputError, match="above the teacher's 300"):
        Sizes(examples=(100,))
    with pytest.raises(InputError, match="has 1347 examples, asked for 5000"):
        DoesKdReallyWork(replace(smallest, examples=(5000,))).run(tmp_path / "b")
