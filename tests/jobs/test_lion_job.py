"""Lion from a pool of tasks to a run folder: by objects, by a service, by a model; killed and resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import understudy as us
from understudy.cli.main import run as command
from understudy.data.text import from_pairs
from understudy.data.tokenizers import train_tokenizer
from understudy.errors import InputError
from understudy.jobs.lion_job import open_text_teacher
from understudy.recipes.lion import Lion
from understudy.recipes.lion_roles import Inventor, Kind, Referee, Scores
from understudy.teachers.black_box import LocalTeacher, TextTeacher
from understudy.teachers.endpoint import Endpoint

pytest.importorskip("transformers")


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


class Program(TextTeacher):
    """Says the last word of a task; breaks down at the task that is to be the last."""

    def __init__(self, most: int = 10_000) -> None:
        self.asked: list[str] = []
        self.most = most

    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        if len(self.asked) + len(prompts) > self.most:
            raise InputError("the service is gone")
        self.asked += prompts
        return [prompt.split()[-1] for prompt in prompts]


class Rule(Referee):
    """Ten for the right answer, one for another."""

    def judge(
        self, tasks: Sequence[str], first: Sequence[str], second: Sequence[str], draw: int = 0
    ) -> list[Scores | None]:
        right = [task.split()[-1] for task in tasks]
        return [
            (10.0 if a == x else 1.0, 10.0 if b == x else 1.0)
            for x, a, b in zip(right, first, second, strict=True)
        ]


class Template(Inventor):
    """The same kind of task with another number."""

    def invent(self, tasks: Sequence[str], kind: Kind, draws: Sequence[int]) -> list[str]:
        return [f"now say the word w{len(t) * 7 + 13 * d}" for t, d in zip(tasks, draws, strict=True)]


def pool(count: int = 6) -> us.DataSet:
    pairs = [(f"now say the word w{n}\n", "-") for n in range(count)]
    return from_pairs(pairs, train_tokenizer([]), name="pool", length=40)


def recipe(**more: Any) -> Lion:
    roles = {"referee": Rule(), "inventor": Template()}
    return Lion(**{"rounds": 2, "hard": 3, "easy": 1, "threshold": 0.99, "max_tokens": 6, **roles, **more})


def play(teacher: Any, out: Path | None = None, **more: Any) -> us.Run:
    given: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 4,
        "lr": 0.01,
        "device": "cpu",
        "method": recipe(),
        **more,
    }
    return us.distill(teacher, "lm[1,8,2]", pool(), out=out, **given)


def test_rounds_leave_their_tasks_and_the_last_student(tmp_path: Path) -> None:
    teacher, place = Program(), tmp_path / "run"
    run = play(teacher, place)
    assert sorted(set(teacher.asked)) == sorted(teacher.asked)
    assert [row["round"] for row in run.curves] == [0, 1, 2]
    assert {p.name for p in place.iterdir()} == {
        "answers.jsonl", "config.json", "metrics.jsonl", "model.safetensors", "rounds", "tokenizer.json",
    }  # fmt: skip
    for number in (0, 1):
        judged = [
            json.loads(line) for line in (place / f"rounds/{number}/judged.jsonl").read_text().splitlines()
        ]
        assert len(judged) == 6 + 4 * number
        assert all((row["kind"] == "hard") == (row["t"] - row["s"] >= 1) for row in judged)
        new = [json.loads(line) for line in (place / f"rounds/{number}/new.jsonl").read_text().splitlines()]
        assert len(new) == 4
        assert {f"{row['task']}\n" for row in new} <= set(teacher.asked)
    opened = us.load(place).module
    assert all(
        torch.equal(a, b)
        for a, b in zip(opened.state_dict().values(), run.student.state_dict().values(), strict=True)
    )


def test_a_run_that_broke_down_goes_on_without_asking_again_and_ends_the_same(tmp_path: Path) -> None:
    whole = play(Program(), tmp_path / "whole")
    broken = Program(most=8)
    with pytest.raises(InputError, match="the service is gone"):
        play(broken, tmp_path / "run")
    again = Program()
    run = us.distill(
        again,
        "lm[1,8,2]",
        pool(),
        method=recipe(),
        epochs=1,
        batch_size=4,
        lr=0.01,
        device="cpu",
        resume=tmp_path / "run",
    )
    assert not set(broken.asked) & set(again.asked)
    for name, weight in whole.student.state_dict().items():
        assert torch.equal(weight, run.student.state_dict()[name])
    with pytest.raises(InputError, match=r"another settings.lr: 0.01, now 0.1"):
        us.distill(
            again,
            "lm[1,8,2]",
            pool(),
            method=recipe(),
            epochs=1,
            batch_size=4,
            lr=0.1,
            device="cpu",
            resume=tmp_path / "run",
        )


def test_without_rounds_it_is_imitation_of_the_pool() -> None:
    run = play(Program(), method=recipe(rounds=0))
    tokenizer = train_tokenizer([])
    pairs = [(f"now say the word w{n}\n", f"w{n}") for n in range(6)]
    plain = us.train(
        from_pairs(pairs, tokenizer, length=40), "lm[1,8,2]", epochs=1, batch_size=4, lr=0.01, device="cpu"
    )
    for name, weight in plain.student.state_dict().items():
        assert torch.equal(weight, run.student.state_dict()[name])
    assert run.folder is None


def test_nothing_is_left_where_nothing_was_answered(tmp_path: Path) -> None:
    for teacher, data, says in (
        (Program(most=0), pool(), "the service is gone"),
        (None, pool(), "needs a teacher"),
        (Program(), "digits", "reads tasks"),
    ):
        with pytest.raises(InputError, match=says):
            us.distill(
                teacher, "lm[1,8,2]", data, method=recipe(), epochs=1, device="cpu", out=tmp_path / "run"
            )
    assert not (tmp_path / "run").exists()


def test_teachers_are_opened_by_address_folder_and_module(tmp_path: Path) -> None:
    data = pool()
    assert isinstance(data, us.data.text.TokenSet)
    found = open_text_teacher("http://localhost:1/v1#small", Lion(key_variable=None), data)
    assert isinstance(found, Endpoint)
    assert (found.url, found.model, found.key_variable) == ("http://localhost:1/v1", "small", None)
    with pytest.raises(InputError, match="say which model"):
        open_text_teacher("http://localhost:1/v1", Lion(), data)
    us.train(data, "lm[1,8,2]", epochs=1, device="cpu", out=tmp_path / "teacher")
    opened = open_text_teacher(str(tmp_path / "teacher"), recipe(), data)
    assert isinstance(opened, LocalTeacher)
    assert len(opened.answer(["now say the word w1\n"])) == 1


def test_the_command_line_plays_it_with_a_model_as_the_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"now say the word w{n}\n", "answer": f"w{n}"} for n in range(6)]
    Path("pool.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = ["--data", "pool.jsonl", "--epochs", "1", "--quiet", "--device", "cpu"]
    assert command(["train", *small, "--model", "lm[1,8,2]", "--out", "teacher"]) == 0
    args = [
        "distill",
        *small,
        "--teacher",
        "teacher",
        "--model",
        "lm[1,8,2]",
        "--method",
        "lion",
        "--set",
        "rounds=0",
    ]
    assert command([*args, "--out", "run"]) == 0
    assert Path("run/model.safetensors").exists()
    assert command(["distill", "--resume", "run", "--quiet", "--device", "cpu"]) == 0
