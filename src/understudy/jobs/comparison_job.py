"""A comparison: every method with every seed from one teacher, audited alike, with the undistilled student."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from understudy.auditing.files import read_audit
from understudy.auditing.record import AuditRecord
from understudy.auditing.settings import AuditSettings
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.fidelity.intervals import mean_over_seeds, paired_difference
from understudy.jobs.audit_job import run_audit
from understudy.jobs.recipe_job import run_distillation
from understudy.jobs.training_job import TrainingRequest
from understudy.jobs.worst import read_worst, worst_cases
from understudy.models.opening import LoadedModel, open_model
from understudy.recipes import kind_of
from understudy.report.page import write_compare_page
from understudy.training.folder import RunFolder, differences, nothing_half, prepare_folder, write_json
from understudy.training.method import AdversarialMethod
from understudy.version import __version__

BASELINES = ("ce", "at")
LOWER_IS_BETTER = ("lower_mean", "upper_mean", "upper_max", "kl", "total_variation", "relative_ece")
UNBOUNDED = ("kl", "nll_student", "brier_student", "train_seconds")
PER_RADIUS = (
    "lower_mean", "upper_mean", "upper_max", "certified_agreement", "agreement", "accuracy_student",
    "accuracy_teacher", "kl", "total_variation",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparison:
    """A finished comparison.

    Attributes:
        content: what compare.json holds.
        audits: the audit of each method, one a seed.
        folder: where everything was written.
    """

    content: dict[str, Any]
    audits: dict[str, list[AuditRecord]]
    folder: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One measured value each: method, seed, metric, value."""
        return self.content["rows"]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """Over seeds: method, metric, mean, low, high, verdict."""
        return self.content["summary"]


def with_baselines(methods: Sequence[str]) -> list[str]:
    """The methods asked for, then the undistilled students at equal budget that are not among them."""
    if not methods:
        raise InputError("name at least one method to compare")
    kinds = [kind_of(name) for name in methods]
    if len(set(kinds)) != len(kinds):
        raise InputError(f"each method once, found {', '.join(methods)}")
    return [*methods, *(b for b in BASELINES if kind_of(b) not in kinds)]


def run_comparison(
    base: TrainingRequest,
    teacher: LoadedModel,
    test: DataSet,
    audit: AuditSettings,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: str | Path,
    train_eps: float | None,
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    quiet: bool = True,
) -> Comparison:
    """Train and audit each method with each seed in OUT/METHOD/SEED, then write compare.json and report.html.

    A folder of an earlier, interrupted comparison is continued: finished runs and audits are read, not repeated.

    Raises:
        InputError: something cannot be used, or the folder holds another comparison.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds must be one or more different numbers, 0 or more, found {list(seeds)}")
    names = with_baselines(methods)
    audit.check(test)
    folder = Path(out)
    plan: dict[str, Any] = {
        "schema": 1,
        "command": "compare",
        "request": {**base.plain(), "eps": train_eps, "methods": list(methods), "seeds": list(seeds)},
        "teacher": {"source": teacher.source, "sha256": teacher.sha256},
        "audit": {**asdict(audit), "eps": list(audit.eps)},
    }
    with nothing_half(folder):
        _claim(folder, plan)
        audits = _audited(
            base, teacher, test, audit, names, seeds, folder, train_eps, data_root, device, devices, quiet
        )
    content = {
        "schema": 1,
        "settings": {
            **plan["request"],
            **plan["audit"],
            "train_eps": train_eps,
            "reference": "at (ce for methods that attack nothing)",
        },
        "teacher": plan["teacher"],
        "rows": (rows := measured(audits, seeds)),
        "summary": over_seeds(rows, names, seeds),
        "contrasts": contrasts(rows, list(methods), seeds),
        "environment": {
            "understudy": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    write_json(folder / "compare.json", content)
    draw_comparison(folder, content, audits)
    return Comparison(content, audits, folder)


def _audited(
    base: TrainingRequest,
    teacher: LoadedModel,
    test: DataSet,
    audit: AuditSettings,
    names: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    train_eps: float | None,
    data_root: str | Path | None,
    device: str,
    devices: int,
    quiet: bool,
) -> dict[str, list[AuditRecord]]:
    """Every run trained and audited, or read back: method -> audits, one a seed."""
    audits: dict[str, list[AuditRecord]] = {}
    for name in names:
        for seed in seeds:
            request = dataclasses.replace(base, method=name, seed=seed, eps=train_eps)
            place = run_place(folder, name, seed)
            started = (place / "config.json").exists()
            run_distillation(
                request,
                out=None if started else place,
                resume=place if started else None,
                data_root=data_root,
                device=device,
                devices=devices,
                quiet=quiet,
            )
            if not (place / "audit" / "audit.json").exists():
                shutil.rmtree(place / "audit", ignore_errors=True)
                student = open_model(
                    place, shape=test.shape, classes=test.classes, low=test.low, high=test.high
                )
                run_audit(teacher, student, test, audit, out=place / "audit", device=device, quiet=quiet)
            audits.setdefault(name, []).append(read_audit(place / "audit"))
    return audits


def run_place(folder: Path, method: str, seed: int) -> Path:
    """The run folder of a method and seed: METHOD/SEED, a colon in the name replaced by a dot."""
    return folder / method.replace(":", ".") / str(seed)


def draw_comparison(
    folder: Path, content: dict[str, Any], audits: Mapping[str, Sequence[AuditRecord]]
) -> None:
    """Write report.html; the worst inputs shown are those of the first seed."""
    first = content["settings"]["seeds"][0]
    worst = {
        name: worst_cases(
            records[0], read_worst(run_place(folder, name, first) / "audit" / "worst.safetensors")
        )
        for name, records in audits.items()
    }
    write_compare_page(folder / "report.html", content, audits, worst)


def read_comparison(folder: str | Path) -> Comparison:
    """A finished comparison from its folder.

    Raises:
        InputError: it holds none, or one that is not finished.
    """
    path = Path(folder) / "compare.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = list(dict.fromkeys(row["method"] for row in content["rows"]))
        seeds = content["settings"]["seeds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    audits = {name: [read_audit(run_place(Path(folder), name, s) / "audit") for s in seeds] for name in names}
    return Comparison(content, audits, Path(folder))


def _claim(folder: Path, plan: dict[str, Any]) -> None:
    """Take the folder for this plan; one that holds another plan, or something else, is refused."""
    if (folder / "config.json").exists():
        _, before = RunFolder.resume(folder)
        changed = [
            line for part, value in plan.items() for line in differences(part, before.get(part), value)
        ]
        if changed:
            raise InputError(f"{folder} holds a comparison with another {'; another '.join(changed)}")
    else:
        write_json(prepare_folder(folder) / "config.json", plan)


def measured(audits: Mapping[str, Sequence[AuditRecord]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """One row a method, seed and metric; metrics at a radius are called name@eps. What is null is left out."""
    rows = []
    for method, records in audits.items():
        for seed, record in zip(seeds, records, strict=True):
            values: dict[str, float | None] = {}
            for entry in record.summary:
                for name in PER_RADIUS:
                    values[f"{name}@{entry.eps:g}"] = getattr(entry, name)
            for name in ("relative_ece", "ece_student", "nll_student", "brier_student"):
                values[name] = getattr(record.calibration, name)
            values["train_seconds"] = sum(row["seconds"] for row in record.student.curves)
            rows += [
                {"method": method, "seed": seed, "metric": metric, "value": value}
                for metric, value in values.items()
                if value is not None and math.isfinite(value)
            ]
    return rows


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, float]]:
    table: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        table.setdefault((row["method"], row["metric"]), {})[row["seed"]] = row["value"]
    return table


def higher_is_better(metric: str) -> bool | None:
    """Which way a metric is good; None for those that are not a quality (the teacher's, the time)."""
    name = metric.split("@")[0]
    if name in ("accuracy_teacher", "train_seconds"):
        return None
    return not (name in LOWER_IS_BETTER or (name.endswith("_student") and not name.startswith("accuracy")))


def reference_of(method: str) -> str:
    """The undistilled student at equal budget: at for methods that attack, ce for those that do not."""
    return "at" if issubclass(kind_of(method), AdversarialMethod) else "ce"


def over_seeds(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Mean and t-interval over seeds, with the verdict of the paired difference to the method's reference."""
    table = _table(rows)
    kinds = {kind_of(m): m for m in methods}
    summary = []
    for (method, metric), values in table.items():
        mean, low, high = mean_over_seeds([values[s] for s in seeds if s in values])
        if low is not None and high is not None:  # no metric is negative, and shares and bounds end at 1
            low, high = max(low, 0.0), high if metric.split("@")[0] in UNBOUNDED else min(high, 1.0)
        reference = kinds[kind_of(reference_of(method))]
        verdict = None
        if reference != method and higher_is_better(metric) is not None:
            verdict = _contrast(table, metric, method, reference, seeds)["verdict"]
        summary.append(
            {"method": method, "metric": metric, "mean": mean, "low": low, "high": high, "verdict": verdict,
             "reference": reference}
        )  # fmt: skip
    return summary


def contrasts(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Paired differences a - b over seeds for every pair of the methods asked for and every metric."""
    table = _table(rows)
    metrics = dict.fromkeys(metric for _, metric in table if higher_is_better(metric) is not None)
    return [
        _contrast(table, metric, a, b, seeds)
        for metric in metrics
        for a in methods
        for b in methods
        if a != b and (a, metric) in table and (b, metric) in table
    ]


def _contrast(
    table: Mapping[tuple[str, str], Mapping[int, float]], metric: str, a: str, b: str, seeds: Sequence[int]
) -> dict[str, Any]:
    from understudy.fidelity.intervals import verdict

    left, right = table.get((a, metric), {}), table.get((b, metric), {})
    both = [s for s in seeds if s in left and s in right]
    if not both:
        return {
            "metric": metric,
            "a": a,
            "b": b,
            "difference": None,
            "low": None,
            "high": None,
            "verdict": None,
        }
    mean, low, high = paired_difference([left[s] for s in both], [right[s] for s in both])
    said = verdict(low, high, bool(higher_is_better(metric)))
    return {"metric": metric, "a": a, "b": b, "difference": mean, "low": low, "high": high, "verdict": said}
