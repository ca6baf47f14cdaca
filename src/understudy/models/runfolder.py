"""Reading a run folder: what kind of folder it is, and its training curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from understudy.errors import InputError

WEIGHTS, CURVES = "model.safetensors", "metrics.jsonl"


def is_transformers(folder: Path) -> bool:
    """Whether a folder was saved by transformers: its config.json has a `model_type`, which ours has not."""
    config = folder / "config.json"
    return config.is_file() and "model_type" in _read_object(config)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a JSON object, found {type(found).__name__}")
    return found


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl. A last line without its newline was cut off by a kill, and is not a row yet.

    Returns [] if there is no such file; raises InputError for a row that is not a JSON object.
    """
    path = folder / CURVES
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} must be a JSON object, found {line[:40]}")
        rows.append(row)
    return rows
