"""`RunFolder`: config.json, model.safetensors, metrics.jsonl and checkpoint/ of one training."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from understudy.errors import InputError
from understudy.models.normalize import body_of
from understudy.models.saved import write_atomically

PLAYERS = "players"  # folder of the networks that learned beside the student
LEFT_BY_A_KILL = ".config.json.partial"  # all that a run killed in its first moment may leave behind


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
        if any(entry.name != LEFT_BY_A_KILL for entry in folder.iterdir()):
            raise InputError(f"output folder {folder} is not empty: choose another, or resume it")
    except OSError as error:
        raise InputError(f"output folder {folder} cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"output folder {folder} is not writable")
    return folder


@contextmanager
def nothing_half(path: str | Path) -> Iterator[None]:
    """If the block fails, what it left at `path` goes: folders that were not there, a run without any state.

    What holds a state that a run saved before the failure is kept: it can be resumed.
    """
    folder = Path(path).absolute()
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    before = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)  # such a run goes on from its config.json at least
        if folder.is_dir() and not (stopped or before) and not any(folder.rglob("checkpoint/step-*")):
            for name in ("config.json", "metrics.jsonl", LEFT_BY_A_KILL):
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        for place in made:
            try:
                place.rmdir()
            except OSError:  # not empty: something worth keeping lies there
                break
        raise


def differences(name: str, before: Any, now: Any) -> list[str]:
    """In words, each field in which two JSON values differ: "training.epochs: 2, now 3"."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [line for key in keys for line in differences(f"{name}.{key}", before.get(key), now.get(key))]
    return [] if before == now else [f"{name}: {before}, now {now}"]


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
        if not isinstance(config, dict):
            raise InputError(f"{folder.config_file} must hold a JSON object, found {type(config).__name__}")
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

    def add_players(self, players: Mapping[str, nn.Module]) -> None:
        """Write the networks that learned beside the student, each to players/NAME.safetensors, a bare state dict."""
        for name, network in players.items():
            place = self.path / PLAYERS
            try:
                place.mkdir(exist_ok=True)
            except OSError as error:
                raise InputError(f"could not make {place}: {error.strerror or error}") from error
            state = {
                key: value.detach().cpu().clone() for key, value in body_of(network).state_dict().items()
            }
            write_atomically(place / f"{name}.safetensors", safetensors.torch.save(state))

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        try:
            with open(self.metrics_file, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(dict(row), allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(f"could not write {self.metrics_file}: {error.strerror or error}") from error
