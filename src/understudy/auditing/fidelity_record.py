"""`fidelity.json`, typed: how near a student is to its teacher on each kind of data, beside other teachers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from understudy.auditing.record import ModelRecord
from understudy.fidelity.information import Information
from understudy.fidelity.moments import Estimate
from understudy.fidelity.tempered import AtTemperature

FIDELITY_SCHEMA = 1


@dataclass(frozen=True)
class FidelityPart:
    """One kind of data: what was measured on it, each statistic by the name it has in `FidelityResult`.

    Attributes:
        name: "training", "augmented", "test" or "shifted".
        said: what the data are, in words.
        examples, classes: how many.
        pair: of the student to its teacher.
        floors: of each other teacher to the teacher.
        excess: how much farther the student is from its teacher than the other teachers are; {} without others.
        answers, confidences: mutual information of both models' predictions; no answers where the classes are too many.
        temperatures: calibration over temperature, ascending.
    """

    name: str
    said: str
    examples: int
    classes: int
    pair: dict[str, Estimate]
    floors: list[dict[str, Estimate]]
    excess: dict[str, Estimate]
    answers: Information | None
    confidences: Information
    temperatures: list[AtTemperature]


@dataclass(frozen=True)
class FidelityRecord:
    """A whole measurement. `skipped`: what could not be measured, with the reason; `said`: what was found, in words.

    What was left out of a part that was measured is "training: labels" or "training: answers".
    """

    teacher: ModelRecord
    student: ModelRecord
    others: list[ModelRecord]
    data: str
    settings: dict[str, Any]
    parts: list[FidelityPart]
    skipped: dict[str, str]
    said: list[str]
    environment: dict[str, Any]
    schema: int = FIDELITY_SCHEMA


def fidelity_json(record: FidelityRecord) -> dict[str, Any]:
    """The record as JSON types, `schema` first."""
    content = asdict(record)
    return {"schema": content.pop("schema"), **content}
