"""A plausible audit and a plausible comparison, made up from scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from understudy.auditing.copied_record import (
    AnswersRecord,
    AttentionRecord,
    CopiedRecord,
    LayersRecord,
    Likeness,
    LookedAt,
    MapPairRecord,
    Mean,
)
from understudy.auditing.record import (
    AuditRecord,
    Bin,
    CalibrationRecord,
    DataRecord,
    History,
    ModelRecord,
    PointRecord,
    RadiusRecord,
    SummaryRecord,
)
from understudy.fidelity.tempered import AtTemperature
from understudy.report.page import WorstCase

RADII = (0.0, 0.025, 0.05, 0.1)
METHODS = {"sd": 0.37, "ard": 0.34, "rslad": 0.30, "fd": 0.22}


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max())
    return e / e.sum()


def _bins(rng: np.random.Generator, bend: float, total: int) -> list[Bin]:
    weight = np.array([0, 0, 1, 2, 3, 4, 6, 9, 15, 60], dtype=float)
    counts = rng.multinomial(total, weight / weight.sum())
    out = []
    for k, n in enumerate(counts):
        middle = k / 10 + 0.055
        seen = float(np.clip(middle - bend * (1 - middle) + rng.normal(0, 0.03), 0, 1))
        out.append(Bin(k / 10, (k + 1) / 10, int(n), middle if n else None, seen if n else None))
    return out


def make_audit(
    worst: float = 0.24,
    seed: int = 0,
    points: int = 100,
    radii: tuple[float, ...] = RADII,
    certify: bool = True,
    search: bool = False,
) -> AuditRecord:
    """Random but plausible: EmpLB grows to about `worst` at the largest radius, FaithUB above it.

    With `search` as `--certify exact` leaves it: most points closed, the others stopped by the clock, with histories.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(points):
        label = int(rng.integers(10))
        teacher = label if rng.random() < 0.95 else int(rng.integers(10))
        student = teacher if rng.random() < 0.95 else int(rng.integers(10))
        hard = float(rng.beta(1.2, 3.0) * 2.2)
        found: list[RadiusRecord] = []
        for eps in radii:
            lower = min(0.97, worst * hard * (0.35 + 0.65 * eps / 0.1) + 0.2 * float(student != teacher))
            upper = (
                lower if eps == 0 else min(0.9993, lower + hard * (eps / 0.1) * rng.uniform(0.2, 0.5) + 0.03)
            )
            counted = teacher == label
            searched = search and certify and counted and eps > 0
            if searched and hard * eps < 0.055:
                upper = lower + 0.00008
            status = "skipped" if not (counted and certify) else ("exact" if eps == 0 else "bounded")
            if searched:
                status = "exact" if upper - lower <= 1e-4 else "timeout"
            history = make_history(lower, upper, rng) if searched else None
            same = None if not counted else (True if upper < 0.3 else False if lower > 0.45 else None)
            found.append(
                RadiusRecord(
                    eps,
                    lower if counted else None,
                    upper if counted and certify else None,
                    status,
                    same if certify or same is False else None,
                    float(rng.uniform(0.01, 0.2)),
                    used=("search" if searched else "ub1") if certify and counted else None,
                    kl=lower**2,
                    total_variation=lower,
                    nodes=history[-1][3] if history else None,
                    history=history,
                )
            )
        rows.append(PointRecord(index, label, teacher, student, teacher == label, found))
    return AuditRecord(
        teacher=ModelRecord("runs/teacher", "a3" * 32, 12_874, _curves(rng, 60, 0.25)),
        student=ModelRecord(f"runs/compare/fd/{seed}", "7c" * 32, 3_540, _curves(rng, 60, worst)),
        data=DataRecord(
            "digits", "test", points, [1, 8, 8], 10, 0.0, 1.0, "5e" * 32, [str(k) for k in range(10)]
        ),
        norm="linf",
        settings={
            "eps": list(radii),
            "points": points,
            "start": 0,
            "all_points": False,
            "certify": "exact" if search else "crown" if certify else "none",
            "tolerance": 1e-4,
            "time_limit": 10.0 if search else None,
            "attack": {"steps": 40, "restarts": 3},
            "seed": seed,
        },
        points=rows,
        summary=[_summary(rows, place, eps) for place, eps in enumerate(radii)],
        calibration=CalibrationRecord(
            0.021, 0.034, 0.191, 0.263, 0.081, 0.112, 0.028,
            *(_bins(rng, bend, points) for bend in (0.05, 0.2, 0.12, 0.4)),
            [round(-1 + 0.1 * k, 1) for k in range(21)],
            [int(n) for n in np.histogram(rng.normal(-0.03, worst / 2, points), np.linspace(-1, 1, 21))[0]],
        ),
        environment={
            "understudy": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.9", "device": "cpu",
            "started": "2026-11-08T10:12:00Z", "seconds": 41.7,
        },
    )  # fmt: skip


def make_history(lower: float, upper: float, rng: np.random.Generator) -> History:
    """A search's course: the lower bound rises to `lower`, the upper one falls to `upper`."""
    last = 10.0 if upper - lower > 1e-4 else float(np.exp(rng.uniform(-2, 2)))
    rows, start = [], min(1.0, upper + 0.35)
    for seconds in np.geomspace(0.04, last, 25):
        share = (np.log(last) - np.log(seconds)) / (np.log(last) - np.log(0.04))
        rows.append(
            (
                float(seconds),
                lower * (1 - 0.1 * share),
                upper + (start - upper) * share**2,
                int(seconds * 420),
            )
        )
    return tuple(rows)


def _curves(rng: np.random.Generator, epochs: int, level: float) -> list[dict[str, Any]]:
    return [
        {
            "epoch": e,
            "loss": 2.2 * float(np.exp(-e / 9)) + level + float(rng.normal(0, 0.015)),
            "train_accuracy": float(np.clip(0.96 - 0.8 * np.exp(-e / 7) + rng.normal(0, 0.005), 0, 1)),
            "seconds": 0.4,
        }
        for e in range(1, epochs + 1)
    ]


def _mean(values: list[float]) -> tuple[float | None, tuple[float, float] | None]:
    if not values:
        return None, None
    mean, half = float(np.mean(values)), 1.96 * float(np.std(values)) / len(values) ** 0.5
    return mean, (max(0.0, mean - half), min(1.0, mean + half))


def _summary(points: list[PointRecord], place: int, eps: float) -> SummaryRecord:
    counted = [p.radii[place] for p in points if p.counted]
    lower = _mean([r.lower for r in counted if r.lower is not None])
    uppers = [r.upper for r in counted if r.upper is not None]
    upper = _mean(uppers)
    certified = _mean([float(r.same_class is True) for r in counted]) if uppers else (None, None)
    agree = _mean(
        [float(p.radii[place].same_class is not False and p.teacher_class == p.student_class) for p in points]
    )
    teacher, student = 0.95 - 2 * eps, 0.93 - 2.6 * eps
    assert agree[0] is not None
    assert agree[1] is not None
    return SummaryRecord(
        eps, len(counted), *lower, *upper, max(uppers, default=None),
        float(np.mean([r.status == "exact" for r in counted])) if uppers else None, *certified, *agree,
        teacher, (teacher - 0.05, teacher + 0.03), student, (student - 0.06, student + 0.04),
        0.02 + 2 * eps, 0.05 + 2 * eps,
    )  # fmt: skip


def make_worst(
    record: AuditRecord, many: int = 6, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0
) -> list[WorstCase]:
    """The points with the largest EmpLB at the last radius, with made-up witnesses of the given shape."""
    rng = np.random.default_rng(seed)
    digits = load_digits().images / 16.0
    ranked = sorted(record.points, key=lambda p: -(p.radii[-1].lower or 0))[:many]
    out = []
    for point in ranked:
        here = point.radii[-1]
        base = digits[point.index].reshape(1, 8, 8)
        if shape != (1, 8, 8):
            base = rng.random(shape)
        moved = np.clip(base + here.eps * rng.choice([-1.0, 0.0, 1.0], base.shape), 0, 1)
        logits = rng.normal(0, 1, record.data.classes)
        logits[point.teacher_class] += 4
        turned = logits + rng.normal(0, 0.6, logits.shape)
        turned[point.teacher_class] -= 3
        out.append(
            WorstCase(
                point.index, here.eps, None if point.label is None else str(point.label), base, moved,
                softmax(logits), softmax(logits + rng.normal(0, 0.3, logits.shape)),
                softmax(logits * 0.7), softmax(turned), here.lower or 0.0, here.upper,
            )
        )  # fmt: skip
    return out


def make_comparison(
    seeds: int = 3,
) -> tuple[dict[str, Any], dict[str, list[AuditRecord]], dict[str, list[WorstCase]]]:
    """compare.json's content, the audits, the worst cases, for four methods."""
    audits = {
        m: [make_audit(level, 10 * i + s) for s in range(seeds)]
        for i, (m, level) in enumerate(METHODS.items())
    }
    rows, summary = [], []
    fields = ("lower_mean", "upper_mean", "certified_agreement", "agreement", "accuracy_student")
    metrics = [(f"{f}@{eps}", f, place) for place, eps in enumerate(RADII) for f in fields] + [
        (name, "", 0)
        for name in ("accuracy", "agreement", "kl", "relative_ece", "train_seconds", "peak_megabytes")
    ]
    for metric, name, place in metrics:
        for method, records in audits.items():
            values = [
                getattr(r.summary[place], name)
                if name
                else r.calibration.relative_ece + 0.01 * s + METHODS[method] * (metric == "kl")
                for s, r in enumerate(records)
            ]
            rows += [
                {"method": method, "seed": s, "metric": metric, "value": v} for s, v in enumerate(values)
            ]
            mean, half = float(np.mean(values)), 0.004 + 2 * float(np.std(values)) / seeds**0.5
            verdict = None if method == "sd" else "better" if method == "fd" else "inconclusive"
            verdict = None if metric in ("train_seconds", "peak_megabytes") else verdict
            summary.append(
                {"method": method, "metric": metric, "mean": mean, "low": mean - half, "high": mean + half,
                 "verdict": verdict, "reference": "sd"}
            )  # fmt: skip
    compare = {
        "schema": 2,
        "rows": rows,
        "summary": summary,
        "teacher": {"measured": {"accuracy": 0.953, "accuracy@0.1": 0.81}},
        "verdicts": [
            {
                "metric": metric,
                "a": a,
                "b": "sd",
                "difference": -0.1,
                "low": -0.2,
                "high": 0.0,
                "verdict": verdict,
            }
            for metric in ("accuracy", "kl")
            for a, verdict in (("ard", "not better"), ("rslad", "inconclusive"), ("fd", "better"))
        ],
        "failed": [{"method": "adaad", "seed": s, "reason": "the training diverged"} for s in (0, 2)],
        "left_out": [{"method": "fitnets", "reason": "name their layers"}],
        "contrasts": [
            {
                "metric": "lower_mean@0.1",
                "a": a,
                "b": b,
                "difference": METHODS[a] - METHODS[b],
                "low": METHODS[a] - METHODS[b] - 0.05,
                "high": METHODS[a] - METHODS[b] + 0.05,
                "verdict": "inconclusive",
            }
            for a in METHODS
            for b in METHODS
            if a != b
        ],
        "settings": {
            "methods": list(METHODS),
            "seeds": list(range(seeds)),
            "train_eps": 0.1,
            "reference": "sd",
        },
        "environment": {"understudy": "0.1.0", "torch": "2.13.0+cpu", "seconds": 143.2},
    }
    worst = {m: make_worst(records[0], 3, seed=i) for i, (m, records) in enumerate(audits.items())}
    return compare, audits, worst


@pytest.fixture(scope="session")
def record() -> AuditRecord:
    return make_audit()


@pytest.fixture(scope="session")
def bare() -> AuditRecord:
    """Everything absent that may be absent: no labels, no bounds, no curves, no counted point."""
    full = make_audit(points=3, certify=False)
    points = [
        replace(
            p,
            label=None,
            counted=False,
            radii=[replace(r, lower=None, upper=None, same_class=None) for r in p.radii],
        )
        for p in full.points
    ]
    absent = {
        name: None
        for name in SummaryRecord.__dataclass_fields__
        if name.startswith(("lower", "upper", "closed", "certified", "accuracy"))
    }
    empty = [
        replace(b, count=0, confidence=None, observed=None) for b in full.calibration.reliability_teacher
    ]
    return replace(
        full,
        teacher=replace(full.teacher, curves=[]),
        student=replace(full.student, curves=[{"epoch": 1, "loss": float("nan")}]),
        data=replace(full.data, low=None, high=None, class_names=None),
        points=points,
        summary=[replace(row, counted=0, **absent) for row in full.summary],
        calibration=CalibrationRecord(
            None, None, None, None, None, None, 0.0, empty, empty, empty, empty, [-1.0, 0.0, 1.0], [0, 0]
        ),
    )


@pytest.fixture(scope="session")
def audit_maker() -> Callable[..., AuditRecord]:
    return make_audit


@pytest.fixture(scope="session")
def worst_maker() -> Callable[..., list[WorstCase]]:
    return make_worst


@pytest.fixture(scope="session")
def comparison() -> tuple[dict[str, Any], dict[str, list[AuditRecord]], dict[str, list[WorstCase]]]:
    return make_comparison()


def _tempered(t: float, labels: bool) -> AtTemperature:
    known = (0.1 * t, 0.12 * t, 0.3, 0.4) if labels else (None,) * 4
    return AtTemperature(t, *known, 0.05, 0.1)


def make_copied(teachers: int = 1, labels: bool = True) -> tuple[CopiedRecord, dict[str, np.ndarray]]:
    """What a student copied, and the maps to be shown, made up."""
    rng = np.random.default_rng(teachers)
    names = ["teacher"] if teachers == 1 else [f"teacher {i}" for i in range(1, teachers + 1)]
    wrong = Mean(0.5, 0.2, 0.8, 20) if labels else None
    answers = AnswersRecord(
        Mean(0.951, 0.93, 0.97, 450), Mean(0.21, 0.18, 0.24, 450), Mean(0.0832, 0.07, 0.1, 450),
        Mean(0.123, 0.11, 0.14, 450), Mean(0.95, 0.92, 0.97, 450) if labels else None,
        Mean(0.9, 0.88, 0.93, 450) if labels else None, Mean(0.98, 0.96, 0.99, 430) if labels else None, wrong,
        _bins(rng, 0.4, 450), *((_bins(rng, bend, 450) if labels else []) for bend in (0.05, 0.2)),
        [_tempered(t, labels) for t in (0.25, 0.5, 1.0, 2.0)],
    )  # fmt: skip
    measures = {
        "iou@0.4": Likeness(Mean(0.61, 0.58, 0.64, 450), Mean(0.31, 0.28, 0.34, 450), 0),
        "spearman": Likeness(Mean(0.55, 0.5, 0.6, 440), None, 10),
        "kl": Likeness(Mean(0.7, 0.6, 0.8, 450), Mean(1.4, 1.3, 1.5, 450), 0),
    }
    attention = AttentionRecord(
        [*names, "student"],
        [f"Grad-CAM at layer{i}, 4 × 4 places" for i in range(teachers + 1)],
        [4, 4],
        [],
        0.4,
        450,
        [MapPairRecord(name, "student", measures) for name in names],
        [
            LookedAt(7 * i, i if labels else None, [i] * (teachers + 1), [0.25 * i] * teachers)
            for i in range(4)
        ],
    )
    layers = [
        LayersRecord(
            name,
            ["body.conv", "body.0", "body.head"],
            ["relu", "fc"],
            ["ReLU", "Block", "Linear"],
            ["ReLU", "Linear"],
            [[0.934, 0.41], [None, 0.02], [0.3, 0.777]],
            [[0.01, 0.01], [None, 0.4], [0.01, 0.01]],
            99,
            0.043,
            450,
        )
        for name in names
    ]
    maps = {
        "inputs": load_digits().images[:4, None].astype(np.float32) / 16,
        "maps": rng.random((4, teachers + 1, 4, 4)).astype(np.float32),
    }
    return CopiedRecord(3, 450, answers, attention, layers, 0.7), maps


@pytest.fixture(scope="session")
def copied_maker() -> Callable[..., tuple[CopiedRecord, dict[str, np.ndarray]]]:
    return make_copied
