from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import InputError
from understudy.training.folder import (
    RunFolder,
    differences,
    nothing_half,
    prepare_folder,
    write_json,
    write_text,
)


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_write_text_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "first")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(InputError, match=r"could not write .*a\.txt: No space left"):
        write_text(path, "second, longer")
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_write_json_refuses_what_json_has_not(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert not list(tmp_path.iterdir())


def test_prepare_folder(tmp_path: Path) -> None:
    assert prepare_folder(tmp_path / "a" / "b").is_dir()
    assert prepare_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    (tmp_path / "a" / "b" / ".config.json.partial").write_text("{")  # a run killed in its first moment
    prepare_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    for bad, why in [("a", "not empty"), ("file", "cannot be made"), ("file/below", "cannot be made")]:
        with pytest.raises(InputError, match=why):
            prepare_folder(tmp_path / bad)


def test_create_and_resume(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", {"seed": 3})
    folder, config = RunFolder.resume(tmp_path / "run")
    assert config == {"seed": 3}
    assert not folder.finished
    assert folder.rows() == []
    for text, why in [("{", "not a run"), ("[1]", "JSON object, found list")]:
        folder.config_file.write_text(text)
        with pytest.raises(InputError, match=why):
            RunFolder.resume(tmp_path / "run")
    with pytest.raises(InputError, match="not a run that can be resumed"):
        RunFolder.resume(tmp_path / "nowhere")


def test_rows_end_at_a_line_cut_short(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = [{"epoch": i, "loss": 1 / 3 / (i + 1)} for i in range(3)]
    for row in rows:
        folder.add_row(row)
    with open(folder.metrics_file, "a") as handle:
        handle.write('{"epoch": 3, "lo')
    assert folder.rows() == rows
    assert folder.keep_rows(2) == rows[:2]
    assert [json.loads(line) for line in folder.metrics_file.read_text().splitlines()] == rows[:2]


def test_nothing_half_removes_what_was_begun(tmp_path: Path) -> None:
    def begin(out: Path) -> None:
        with nothing_half(out):
            RunFolder.create(out, {})
            RunFolder(out).add_row({"epoch": 1})
            raise InputError("no")

    with pytest.raises(InputError):
        begin(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())  # the folder above, which it made, is gone too
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError):
        begin(tmp_path / "mine")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine"]  # an empty folder of the user's stays


def test_nothing_half_keeps_what_can_be_resumed(tmp_path: Path) -> None:
    def stop(out: Path, error: BaseException, state: bool) -> None:
        with nothing_half(out):
            RunFolder.create(out, {})
            if state:
                (out / "checkpoint" / "step-000000001").mkdir(parents=True)
            raise error

    for name, error, state in [("a", InputError("full"), True), ("b", KeyboardInterrupt(), False)]:
        with pytest.raises(type(error)):
            stop(tmp_path / name, error, state)
        assert (tmp_path / name / "config.json").exists()


def test_nothing_half_touches_nothing_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")

    def begin() -> None:
        with nothing_half(tmp_path):
            RunFolder.create(tmp_path, {})

    with pytest.raises(InputError, match="not empty"):
        begin()
    assert (tmp_path / "config.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": 1, "b": {"c": [1]}}, {"a": 1, "b": {"c": [1]}}, []),
        ({"a": 1}, {"a": 2}, ["x.a: 1, now 2"]),
        ({"b": {"c": 1}}, {"b": {"c": None}, "d": 4}, ["x.b.c: 1, now None", "x.d: None, now 4"]),
        (None, {"a": 1}, ["x: None, now {'a': 1}"]),
    ],
)
def test_differences(before: Any, now: Any, said: list[str]) -> None:
    assert differences("x", before, now) == said
