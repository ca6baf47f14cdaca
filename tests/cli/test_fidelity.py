"""`understudy fidelity`: the table, the words, the page, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]


def given(teacher: object, student: object, *more: object) -> tuple[object, ...]:
    return ("fidelity", "--teacher", teacher, "--student", student, "--data", "digits", *more)


def test_the_table_and_the_words(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli(*given(teacher, student, "--other-teacher", student, "--examples", 100, "--out", out))
    assert (done.code, done.err) == (0, "")
    for name in ("training", "augmented", "test", "shifted", "page: "):
        assert name in done.out
    content = json.loads((out / "fidelity.json").read_text())
    words = " ".join(done.out.split())
    for said in content["said"]:
        assert " ".join(said.split()) in words
    assert len(content["others"]) == 1
    quiet = cli(
        *given(teacher, student, "--on", "test", "--examples", 20, "--quiet", "--out", tmp_path / "b")
    )
    assert quiet == (0, "", "")


def test_what_is_refused(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for more, said in [
        (("--on", "test,elsewhere"), "kind of data 'elsewhere'"),
        (("--examples", -1), "examples must be 1 or more"),
        (("--noise", -1), "the noise"),
        (("--pixels", 8), "pixels must be below the image's sides"),
    ]:
        done = cli(*given(teacher, student, *more, "--out", out))
        assert done.code == 2, (more, done)
        assert said in " ".join(done.err.split()), (more, done.err)
        assert not out.exists()
