"""What an experiment has measured: a JSON row a setting and seed, written as it comes, so that a run can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import InputError
from understudy.training.folder import differences, prepare_folder, write_json, write_text

Row = dict[str, Any]
ABOUT, ROWS = "experiment.json", "rows.jsonl"


class Rows:
    """The folder of one experiment at one scale: experiment.json says which, rows.jsonl holds what was measured.

    Rows are known by (setting, seed). More seeds may join later; another experiment or scale may not.
    """

    def __init__(self, path: Path, rows: list[Row]) -> None:
        self.path = path
        self.found: dict[tuple[str, int], Row] = {(row["setting"], row["seed"]): row for row in rows}

    @staticmethod
    def open(path: str | Path, about: Mapping[str, Any]) -> Rows:
        """The folder at `path`, begun with `about` (JSON types) if it is new or empty, else continued.

        A last line that a kill cut short is dropped.

        Raises:
            InputError: it holds something else, was begun with another `about`, or cannot be read or written.
        """
        folder = Path(path)
        if not (folder / ABOUT).exists():
            write_json(prepare_folder(folder) / ABOUT, dict(about))
            return Rows(folder, [])
        try:
            before = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            text = (folder / ROWS).read_text(encoding="utf-8") if (folder / ROWS).exists() else ""
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} does not hold an experiment that can go on: {error}") from error
        if changed := differences("experiment", before, json.loads(json.dumps(dict(about)))):
            raise InputError(
                f"{folder} was begun with another {'; another '.join(changed)}: choose another folder"
            )
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_text(folder / ROWS, whole)
        return Rows(folder, [_row(line, folder / ROWS) for line in whole.splitlines()])

    def add(self, row: Row) -> None:
        """Write a row down, on the disk before this returns; it has "setting" and "seed", and no NaN."""
        try:
            with open(self.path / ROWS, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(row, allow_nan=False) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise InputError(f"could not write {self.path / ROWS}: {error.strerror or error}") from error
        self.found[row["setting"], row["seed"]] = row


def _row(line: str, path: Path) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path} holds a line that is not JSON: {line[:60]!r}") from error
    if not isinstance(row, dict) or not {"setting", "seed"} <= set(row):
        raise InputError(f"{path} must hold rows with a setting and a seed, found {line[:60]!r}")
    return row
