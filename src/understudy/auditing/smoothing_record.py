"""`smooth.json`, typed: what randomised smoothing bounds, point by point and in summary. Schema 1."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from understudy.auditing.record import DataRecord, ModelRecord
from understudy.errors import InputError

SMOOTH_SCHEMA = 1


@dataclass(frozen=True)
class SmoothedPoint:
    """One example under noise.

    `worst_class`: the class whose bound is largest. `mean`: the largest class's estimate of the mean difference, no
    bound. `upper`: one bound a radius of the settings, each for all classes; it holds at the record's confidence.
    `undefined`: noisy inputs on which a network's answer was not finite; they count as a difference of 1.
    """

    index: int
    label: int | None
    worst_class: int
    mean: float
    upper: list[float]
    undefined: int


@dataclass(frozen=True)
class SmoothedRadius:
    """One radius over all points: `rho` is the Euclidean radius that the bound was moved by."""

    eps: float
    rho: float
    upper_mean: float
    upper_max: float


@dataclass(frozen=True)
class SmoothingRecord:
    """A whole run of randomised smoothing.

    `confidence`: of one point's bounds, at all radii and classes together. `joint_confidence`: of all points' bounds
    together, 1 minus the sum of what each may fail by; null where that is 0 or less. `statement`: in words.
    """

    teacher: ModelRecord
    student: ModelRecord
    data: DataRecord
    norm: str
    sigma: float
    samples: int
    confidence: float
    joint_confidence: float | None
    statement: str
    settings: dict[str, Any]
    points: list[SmoothedPoint]
    summary: list[SmoothedRadius]
    environment: dict[str, Any]
    schema: int = SMOOTH_SCHEMA


def smoothing_json(record: SmoothingRecord) -> dict[str, Any]:
    """The record as JSON types, `schema` first."""
    content = asdict(record)
    return {"schema": content.pop("schema"), **content}


def read_smoothing(folder: str | Path) -> SmoothingRecord:
    """The record in a folder's smooth.json.

    Raises:
        InputError: there is none, it is damaged, or of another schema.
    """
    path = Path(folder) / "smooth.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SMOOTH_SCHEMA:
        raise InputError(f"{path} is not a smooth.json of schema {SMOOTH_SCHEMA}")
    try:
        parts: dict[str, Any] = {
            "teacher": ModelRecord(**content["teacher"]),
            "student": ModelRecord(**content["student"]),
            "data": DataRecord(**content["data"]),
            "points": [SmoothedPoint(**point) for point in content["points"]],
            "summary": [SmoothedRadius(**row) for row in content["summary"]],
        }
        return SmoothingRecord(**{**content, **parts})
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a smooth.json of schema {SMOOTH_SCHEMA}: {error}") from error
