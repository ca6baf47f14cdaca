"""Writing an audit: audit.json, witnesses.safetensors, and the case when two bounds contradict each other."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from understudy.auditing.copied_record import copied_from_json
from understudy.auditing.examine import Examination
from understudy.auditing.record import (
    SCHEMA,
    AuditRecord,
    CalibrationRecord,
    DataRecord,
    ModelRecord,
    PointRecord,
    RadiusRecord,
    SummaryRecord,
)
from understudy.errors import InputError
from understudy.fidelity.calibration import Bin
from understudy.models.saved import read_tensors

MAPS = "maps.safetensors"


def to_json(record: AuditRecord) -> dict[str, Any]:
    """The record as JSON types, `schema` first; a number that is not finite is a bug and raises ValueError."""
    content = asdict(record)
    content = {"schema": content.pop("schema"), **content}
    _check_finite(content, "audit")
    return content


def _check_finite(value: Any, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_finite(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check_finite(inner, f"{place}[{i}]")


def from_json(content: dict[str, Any]) -> AuditRecord:
    """The record in an audit.json.

    Raises:
        InputError: another schema, or fields that are missing or unknown.
    """
    if content.get("schema") != SCHEMA:
        raise InputError(f"audit.json has schema {content.get('schema')!r}; this version reads {SCHEMA}")
    try:
        points = [PointRecord(**{**p, "radii": [_radius(r) for r in p["radii"]]}) for p in content["points"]]
        bins = (
            "reliability_teacher",
            "reliability_student",
            "relative_reliability",
            "agreement_by_confidence",
        )
        calibration = dict(content["calibration"])
        calibration.update({name: [Bin(**b) for b in calibration[name]] for name in bins})
        entries: list[dict[str, Any]] = [
            {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
            for entry in content["summary"]
        ]
        copied = content.get("copied")
        return AuditRecord(
            teacher=ModelRecord(**content["teacher"]),
            student=ModelRecord(**content["student"]),
            data=DataRecord(**content["data"]),
            norm=content["norm"],
            settings=content["settings"],
            points=points,
            summary=[SummaryRecord(**entry) for entry in entries],
            calibration=CalibrationRecord(**calibration),
            environment=content["environment"],
            skipped=dict(content.get("skipped", {})),
            copied=None if copied is None else copied_from_json(copied),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"this is not an audit.json of schema {SCHEMA}: {error}") from error


def _radius(content: dict[str, Any]) -> RadiusRecord:
    rows = content.get("history")
    history = None if rows is None else tuple((s, low, high, nodes) for s, low, high, nodes in rows)
    return RadiusRecord(**{**content, "history": history})


def read_audit(folder: str | Path) -> AuditRecord:
    """The record of an audit folder."""
    path = Path(folder) / "audit.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return from_json(content)


def read_maps(folder: str | Path) -> dict[str, Tensor]:
    """The maps in an audit folder that its page shows, as `copied_maps` gives them; {} if it has none.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(folder) / MAPS
    return read_tensors(path) if path.exists() else {}


def witness_tensor(found: Examination) -> Tensor:
    """All witnesses: (points, radii, ...) float64."""
    return torch.stack([at.witness.cpu().double() for at in found.radii], 1).contiguous()


def save_cases(folder: Path, found: Examination, cases: list[tuple[int, int]], start: int) -> Path:
    """unsound.safetensors: the inputs, witnesses and both bounds of every contradiction."""
    inputs = torch.stack([found.inputs[row].cpu() for _, row in cases])
    witness = torch.stack([found.radii[i].witness[row].cpu() for i, row in cases])
    bounds = [(float(found.radii[i].lower[row]), found.radii[i].bounds[row].upper) for i, row in cases]  # type: ignore[union-attr]
    path = folder / "unsound.safetensors"
    save_file(
        {
            "inputs": inputs,
            "witness": witness,
            "index": torch.tensor([start + row for _, row in cases]),
            "eps": torch.tensor([found.radii[i].eps for i, _ in cases], dtype=torch.float64),
            "lower": torch.tensor([low for low, _ in bounds], dtype=torch.float64),
            "upper": torch.tensor([high for _, high in bounds], dtype=torch.float64),
        },
        path,
    )
    return path
