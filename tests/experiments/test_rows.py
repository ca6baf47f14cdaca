"""Rows of an experiment: kept at once, continued, and never mixed with another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.errors import InputError
from understudy.experiments.rows import Rows


def row(setting: str, seed: int) -> dict[str, object]:
    return {"setting": setting, "seed": seed, "value": 0.5}


def test_rows_are_on_the_disk_at_once_and_found_again(tmp_path: Path) -> None:
    kept = Rows.open(tmp_path / "e", {"experiment": "x", "scale": {"sizes": (1, 2)}})
    assert kept.found == {}
    kept.add(row("a", 0))
    kept.add(row("λ = 0", 1))
    again = Rows.open(tmp_path / "e", {"experiment": "x", "scale": {"sizes": (1, 2)}})
    assert again.found == {("a", 0): row("a", 0), ("λ = 0", 1): row("λ = 0", 1)}


def test_a_line_cut_short_is_dropped_and_written_anew(tmp_path: Path) -> None:
    kept = Rows.open(tmp_path, {})
    kept.add(row("a", 0))
    with open(tmp_path / "rows.jsonl", "a") as handle:
        handle.write('{"setting": "b", "se')
    again = Rows.open(tmp_path, {})
    assert list(again.found) == [("a", 0)]
    again.add(row("b", 0))
    assert list(Rows.open(tmp_path, {}).found) == [("a", 0), ("b", 0)]


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    Rows.open(tmp_path, {"experiment": "x", "scale": {"epochs": 2}})
    with pytest.raises(InputError, match=r"begun with another experiment\.scale\.epochs: 2, now 3"):
        Rows.open(tmp_path, {"experiment": "x", "scale": {"epochs": 3}})
    (tmp_path / "rows.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="rows with a setting and a seed"):
        Rows.open(tmp_path, {"experiment": "x", "scale": {"epochs": 2}})
    (tmp_path / "rows.jsonl").write_text("no\n")
    with pytest.raises(InputError, match="not JSON"):
        Rows.open(tmp_path, {"experiment": "x", "scale": {"epochs": 2}})
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(InputError, match="does not hold an experiment"):
        Rows.open(tmp_path, {})
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="is not empty"):
        Rows.open(other, {})


def test_a_number_that_is_none_is_never_written(tmp_path: Path) -> None:
    kept = Rows.open(tmp_path, {})
    with pytest.raises(ValueError, match="JSON"):
        kept.add({"setting": "a", "seed": 0, "value": float("nan")})
    assert kept.found == {}
