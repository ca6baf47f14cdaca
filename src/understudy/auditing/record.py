"""`audit.json`, typed: what an audit found, point by point and in summary. Schema 1.

Fields with a default may be absent from the file.

Every number is finite (JSON has no NaN): what was not measured is null. Intervals are [low, high] at 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from understudy.auditing.copied_record import CopiedRecord
from understudy.bounds.engine import Status
from understudy.fidelity.calibration import Bin

SCHEMA = 1
Interval = tuple[float, float]
History = tuple[tuple[float, float, float, int], ...]


@dataclass(frozen=True)
class ModelRecord:
    """One model: where it came from, the SHA-256 of its file (or of its weights), its size.

    `sha256` is of the file's bytes; for a run folder of its model.safetensors; for a module in memory of its
    state dict, names sorted.
    """

    source: str
    sha256: str
    parameters: int
    curves: list[dict[str, Any]] = field(default_factory=list)  # rows of metrics.jsonl, one an epoch


@dataclass(frozen=True)
class DataRecord:
    """The data set that was examined. `low`/`high` are null where the range is unbounded."""

    name: str
    split: str
    examples: int
    shape: list[int]
    classes: int
    low: float | None
    high: float | None
    fingerprint: str
    class_names: list[str] | None = None


@dataclass(frozen=True)
class RadiusRecord:
    """One point at one radius: `lower` <= D(x, eps) <= `upper`, null where not asked for.

    `status`: exact (upper - lower <= tolerance), bounded (the method finished), timeout (the limit came first;
    `upper` is still sound), skipped (no upper bound asked, or the point is not counted).
    `same_class`: true proved on the whole ball, false by a witness, null open.
    `used`: which bound was smallest ("ub1", "ub2", "ub3", "clean", or the kind of search), or null.
    `kl`, `total_variation`: KL(teacher || student) in nats and total variation at the witness.
    `nodes`: of the search, null where none ran. `history`: how it went, rows of [seconds, lower, upper, nodes] of
    this point's search, at most 40. `certificate`: its file's name in the audit's folder, or null.
    """

    eps: float
    lower: float | None
    upper: float | None
    status: Status
    same_class: bool | None
    seconds: float
    used: str | None = None
    kl: float | None = None
    total_variation: float | None = None
    nodes: int | None = None
    history: History | None = None
    certificate: str | None = None


@dataclass(frozen=True)
class PointRecord:
    """One example: its row in the split, its label (null without labels), what both models say, its radii."""

    index: int
    label: int | None
    teacher_class: int
    student_class: int
    counted: bool
    radii: list[RadiusRecord]


@dataclass(frozen=True)
class SummaryRecord:
    """One radius over all points.

    Bounds and `certified_agreement` are over counted points; `agreement` and the accuracies over all examined
    ones: at eps 0 clean, above it accuracy under attack on that model's own loss and agreement at the witness.
    `kl`, `total_variation`: means at the same points as `agreement`.
    """

    eps: float
    counted: int
    lower_mean: float | None
    lower_mean_interval: Interval | None
    upper_mean: float | None
    upper_mean_interval: Interval | None
    upper_max: float | None
    closed_fraction: float | None
    certified_agreement: float | None
    certified_agreement_interval: Interval | None
    agreement: float
    agreement_interval: Interval
    accuracy_teacher: float | None
    accuracy_teacher_interval: Interval | None
    accuracy_student: float | None
    accuracy_student_interval: Interval | None
    kl: float
    total_variation: float


@dataclass(frozen=True)
class CalibrationRecord:
    """Ordinary and relative calibration on the clean examined points.

    `relative_ece`: ECE of the student with the teacher's confidence in the student's class as the reference.
    `difference_histogram`: counts of (student's - teacher's) confidence in the teacher's class over
    `difference_edges`. `agreement_by_confidence`: agreement conditional on the teacher's confidence.
    """

    ece_teacher: float | None
    ece_student: float | None
    nll_teacher: float | None
    nll_student: float | None
    brier_teacher: float | None
    brier_student: float | None
    relative_ece: float
    reliability_teacher: list[Bin]
    reliability_student: list[Bin]
    relative_reliability: list[Bin]
    agreement_by_confidence: list[Bin]
    difference_edges: list[float]
    difference_histogram: list[int]


@dataclass(frozen=True)
class AuditRecord:
    """A whole audit. `settings` are the exact options it ran under; `environment` versions and times.

    `skipped`: what the pair does not allow to be measured -> why. `copied`: what the student copied, null where it was
    left out.
    """

    teacher: ModelRecord
    student: ModelRecord
    data: DataRecord
    norm: str
    settings: dict[str, Any]
    points: list[PointRecord]
    summary: list[SummaryRecord]
    calibration: CalibrationRecord
    environment: dict[str, Any]
    schema: int = SCHEMA
    skipped: dict[str, str] = field(default_factory=dict)
    copied: CopiedRecord | None = None
