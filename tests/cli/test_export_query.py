"""`understudy export-query`: what it writes and says, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]


def given(teacher: object, student: object, *more: object) -> tuple[object, ...]:
    return ("export-query", "--teacher", teacher, "--student", student, "--data", "digits", "--row", 3,
            "--eps", "1/20", *more)  # fmt: skip


def test_what_is_written(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    done = cli(*given(teacher, student, "--threshold", ".3", "--out", tmp_path / "a"))
    assert done.code == 0, done.err
    assert done.err == ""
    assert "|p_teacher - p_student| >= 0.3 in a class?" in done.out
    assert "10 outputs; query.vnnlib" in done.out
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["pair.onnx", "query.json", "query.vnnlib"]
    done = cli(*given(teacher, student, "--threshold", "3/10", "--form", "margins", "--class", 4, "--sign", "-",
                      "--separate", "--quiet", "--out", tmp_path / "b"))  # fmt: skip
    assert done == (0, "", "")
    assert (tmp_path / "b" / "query-4-minus.vnnlib").exists()
    done = cli(*given(teacher, student, "--form", "top1", "--out", tmp_path / "c"))
    assert done.code == 0
    assert "20 outputs" in done.out


def test_what_is_refused(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for more, said in [
        ((), "needs a threshold between 0 and 1"),
        (("--threshold", "x"), "--threshold must be a number"),
        (("--threshold", ".3", "--class", 10), "class must be one of 0..9"),
        (("--threshold", ".3", "--form", "logits"), "logits"),
        (("--form", "top1", "--sign", "+"), "takes no threshold and no sign"),
        (("--threshold", ".3", "--row", 10**6), "row must be one of"),
    ]:
        done = cli(*given(teacher, student, *more, "--out", out))
        assert done.code == 2, (more, done)
        assert said in " ".join(done.err.split()), (more, done.err)
        assert not out.exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").write_text("mine")
    assert cli(*given(teacher, student, "--threshold", ".3", "--out", tmp_path / "used")).code == 2
