"""`RunFolder`: config.json, model.safetensors, metrics.jsonl and checkpoint/ of one training."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed, then renamed into place.

    Raises:
        InputError: the disk is full or not writable.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"could not write {path}: {error.strerror or error}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON (no NaN, no Infinity) as `write_text` does."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def prepare_folder(path: str | Path) -> Path:
    """An empty, writable folder at `path`, made if need be.

    Raises:
        InputError: it holds something already, is a file, or cannot be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"output folder {folder} is not empty: choose another, or resume it")
    except OSError as error:
        raise InputError(f"output folder {folder} cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"output folder {folder} is not writable")
    return folder


class RunFolder:
    """The files of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.model_file = self.path / "model.safetensors"
        self.metrics_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoint"

    @staticmethod
    def create(path: str | Path, config: Mapping[str, Any]) -> RunFolder:
        """A new run folder with its configuration."""
        folder = RunFolder(prepare_folder(path))
        write_json(folder.config_file, dict(config))
        return folder

    @staticmethod
    def resume(path: str | Path) -> tuple[RunFolder, dict[str, Any]]:
        """An existing run folder and the configuration it was started with.

        Raises:
            InputError: there is no readable config.json.
        """
        folder = RunFolder(path)
        try:
            config = json.loads(folder.config_file.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{folder.path} is not a run that can be resumed: {error}") from error
        return folder, config

    @property
    def finished(self) -> bool:
        """Whether the final model has been written."""
        return self.model_file.exists()

    def rows(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl; a line cut short by a kill is left out."""
        rows = []
        if self.metrics_file.exists():
            for line in self.metrics_file.read_text().splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break
        return rows

    def keep_rows(self, count: int) -> list[dict[str, Any]]:
        """Cut metrics.jsonl back to its first `count` rows, and return them."""
        rows = self.rows()[:count]
        write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        try:
            with open(self.metrics_file, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(dict(row), allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(f"could not write {self.metrics_file}: {error.strerror or error}") from error
