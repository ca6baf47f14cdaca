"""What a comparison measured of each run: a number a metric, and by example where the number is their mean."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from understudy.auditing.files import read_audit
from understudy.auditing.record import AuditRecord
from understudy.jobs.comparison_answers import ANSWERS, read_answers
from understudy.jobs.comparison_run import MEMORY, run_place

PER_RADIUS = (
    "lower_mean", "upper_mean", "upper_max", "certified_agreement", "agreement", "accuracy_student",
    "accuracy_teacher", "kl", "total_variation",
)  # fmt: skip
Row = dict[str, Any]  # method, seed, metric, value
ByExample = dict[tuple[str, str], dict[int, np.ndarray]]  # (method, metric) -> seed -> (N,)


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything measured: `audits` by method and seed, `rows` of numbers, `examples` behind those that are means."""

    audits: dict[str, dict[int, AuditRecord]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    examples: ByExample = field(default_factory=dict)


def read_runs(
    folder: Path, names: Sequence[str], seeds: Sequence[int], missing: Mapping[Any, Any]
) -> Measured:
    """All that the finished runs have left; those in `missing`, (method, seed), are passed over.

    Raises:
        InputError: a file cannot be read.
    """
    found = Measured()
    for name in names:
        for seed in seeds:
            if (name, seed) in missing:
                continue
            place = run_place(folder, name, seed)
            record = read_audit(place / "audit")
            answers = {key: value.numpy() for key, value in read_answers(place / ANSWERS).items()}
            memory = place / MEMORY
            held = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
            values = {**at_radii(record), **{key: float(value.mean()) for key, value in answers.items()}}
            values["train_seconds"] = sum(row["seconds"] for row in record.student.curves)
            found.audits.setdefault(name, {})[seed] = record
            found.rows.extend(
                {"method": name, "seed": seed, "metric": metric, "value": value}
                for metric, value in {**values, **held}.items()
                if value is not None and math.isfinite(value)
            )
            by_example = {**at_points(record), **{k: v for k, v in answers.items() if v.ndim == 1}}
            for metric, array in by_example.items():
                found.examples.setdefault((name, metric), {})[seed] = array
    return found


def at_radii(record: AuditRecord) -> dict[str, float | None]:
    """The audit's summary: name@eps -> value, None where it was not measured."""
    return {f"{name}@{entry.eps:g}": getattr(entry, name) for entry in record.summary for name in PER_RADIUS}


def at_points(record: AuditRecord) -> dict[str, np.ndarray]:
    """name@eps -> (P,), one value a point, for those metrics of the audit that are means over its points."""
    found: dict[str, np.ndarray] = {}
    for place, entry in enumerate(record.summary):
        here = [(point, point.radii[place]) for point in record.points]
        columns: dict[str, list[float]] = {
            "lower_mean": [r.lower for p, r in here if p.counted and r.lower is not None],
            "upper_mean": [r.upper for p, r in here if p.counted and r.upper is not None],
            "certified_agreement": [
                float(r.same_class is True) for p, r in here if p.counted and r.status != "skipped"
            ],
            "kl": [r.kl for _, r in here if r.kl is not None],
            "total_variation": [r.total_variation for _, r in here if r.total_variation is not None],
        }
        if entry.eps == 0:
            columns["agreement"] = [float(p.teacher_class == p.student_class) for p, _ in here]
            if all(point.label is not None for point, _ in here):
                columns["accuracy_student"] = [float(p.student_class == p.label) for p, _ in here]
        found |= {f"{name}@{entry.eps:g}": np.array(values) for name, values in columns.items() if values}
    return found
