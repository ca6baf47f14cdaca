"""A comparison: every method with every seed from one teacher, audited alike, held against plain distillation."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.auditing.record import AuditRecord
from understudy.auditing.settings import AuditSettings
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.jobs.audit_job import torch_device
from understudy.jobs.comparison_answers import ANSWERS, answers, save_answers, teacher_measures
from understudy.jobs.comparison_methods import Chosen, choose
from understudy.jobs.comparison_run import RunTask, run_place, train
from understudy.jobs.comparison_values import Measured, read_runs
from understudy.jobs.comparison_verdicts import DECIDING, Judge
from understudy.jobs.comparison_workers import Failures, run_apart, run_here
from understudy.jobs.progress import Progress
from understudy.jobs.training_job import TrainingRequest
from understudy.jobs.worst import read_worst, worst_cases
from understudy.models.opening import LoadedModel
from understudy.report.page import write_compare_page
from understudy.training.folder import RunFolder, differences, nothing_half, prepare_folder, write_json
from understudy.training.threads import using_threads
from understudy.version import __version__

SCHEMA = 2
TEACHER = "teacher." + ANSWERS
REFERENCE = "kd (ce for kd itself)"


@dataclass(frozen=True, eq=False)
class Comparison:
    """A finished comparison.

    Attributes:
        content: what compare.json holds.
        audits: the audits of each method, one a seed that did not fail.
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

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """On the deciding metrics: a less b, its interval, and what it says about a."""
        return self.content["verdicts"]


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
    workers: int = 0,
    data_root: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    quiet: bool = True,
) -> Comparison:
    """Train, audit and measure each method with each seed in OUT/METHOD/SEED; write compare.json and report.html.

    A folder of an earlier comparison, interrupted or finished, is continued: what is done is read, not repeated, and
    methods and seeds may be added.

    Args:
        methods: names, families, or "all".
        workers: processes at once; 0 does every run in this one. The results do not depend on it.

    Raises:
        InputError: something cannot be used, the folder holds another comparison, or no run succeeded.
        SoundnessError: a run found bounds that contradict each other.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds must be one or more different numbers, 0 or more, found {list(seeds)}")
    if workers < 0:
        raise InputError(f"workers must be 0 (in this process) or more, found {workers}")
    if workers and not all(isinstance(given, str | Path) for given in (base.data, base.teacher)):
        raise InputError("data and teachers in memory cannot travel to other processes: use workers=0")
    audit.check(test)
    folder = Path(out)
    base = dataclasses.replace(base, eps=train_eps)
    where = {"data_root": data_root, "device": device, "devices": devices}
    with using_threads(1):
        chosen = choose(base, methods, _known(folder), **where)
    plan: dict[str, Any] = {
        "schema": SCHEMA,
        "command": "compare",
        "request": {**base.plain(), "methods": list(methods), "seeds": list(seeds)},
        "names": chosen.names,
        "teacher": {"source": teacher.source, "sha256": teacher.sha256},
        "audit": {**asdict(audit), "eps": list(audit.eps)},
    }
    with nothing_half(folder):
        _claim(folder, plan)
        with using_threads(1):
            said = answers(teacher.module, test, torch_device(device))
        save_answers(folder / TEACHER, {"logits": said})
        tasks = [
            RunTask(dataclasses.replace(base, method=name, seed=seed), audit, test.split,
                    run_place(folder, name, seed), where)
            for name in chosen.names
            for seed in seeds
        ]  # fmt: skip
        failures = _perform(tasks, teacher, test, said, folder, workers, quiet)
    found = read_runs(folder, chosen.names, seeds, failures)
    if not found.rows:
        (name, seed), why = next(iter(failures.items()))
        raise InputError(f"no run succeeded; {name} with seed {seed}: {why}")
    content = _content(plan, chosen, seeds, found, failures, train_eps)
    content["teacher"]["measured"] = _teachers_own(said, test, found)
    write_json(folder / "compare.json", content)
    audits = {name: list(by_seed.values()) for name, by_seed in found.audits.items()}
    draw_comparison(folder, content, audits)
    return Comparison(content, audits, folder)


def _perform(
    tasks: Sequence[RunTask],
    teacher: LoadedModel,
    test: DataSet,
    said: Tensor,
    folder: Path,
    workers: int,
    quiet: bool,
) -> Failures:
    """Every run that is not done; those that are, are held to be what is asked for."""
    for task in tasks:
        if task.done:
            try:
                train(task)
            except InputError as error:
                raise InputError(f"{error}; delete {task.place} to have it done anew") from error
    left = [task for task in tasks if not task.done]
    with Progress("runs", quiet) as bar:
        bar.update(0, max(len(left), 1))
        if workers:
            return run_apart(left, folder / TEACHER, workers, bar.update)
        return run_here(left, teacher, test, said, bar.update)


def _content(
    plan: Mapping[str, Any],
    chosen: Chosen,
    seeds: Sequence[int],
    found: Measured,
    failures: Failures,
    train_eps: float | None,
) -> dict[str, Any]:
    judge = Judge(found.rows, seeds, found.examples)
    return {
        "schema": SCHEMA,
        "settings": {
            **plan["request"],
            **plan["audit"],
            "train_eps": train_eps,
            "asked": chosen.asked,
            "reference": REFERENCE,
            "deciding": list(DECIDING),
        },
        "teacher": dict(plan["teacher"]),
        "rows": found.rows,
        "summary": judge.summary(chosen.names),
        "verdicts": judge.verdicts(chosen.names),
        "contrasts": judge.contrasts(chosen.asked, chosen.names),
        "failed": [
            {"method": name, "seed": seed, "reason": failures[name, seed]}
            for name in chosen.names
            for seed in seeds
            if (name, seed) in failures
        ],
        "left_out": [{"method": name, "reason": why} for name, why in chosen.left_out.items()],
        "environment": {
            "understudy": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _teachers_own(said: Tensor, test: DataSet, found: Measured) -> dict[str, float]:
    """The teacher's accuracy, calibration and scores on the split, and its accuracy under the audit's attacks."""
    own = teacher_measures(said, test.labels)
    first = next((record for by_seed in found.audits.values() for record in by_seed.values()), None)
    for entry in () if first is None else first.summary:
        if entry.accuracy_teacher is not None:
            own[f"accuracy@{entry.eps:g}"] = entry.accuracy_teacher
    return own


def draw_comparison(
    folder: Path, content: dict[str, Any], audits: Mapping[str, Sequence[AuditRecord]]
) -> None:
    """Write report.html; the worst inputs shown are those of each method's first seed."""
    worst = {}
    for name, records in audits.items():
        seed = next(row["seed"] for row in content["rows"] if row["method"] == name)
        path = run_place(folder, name, seed) / "audit" / "worst.safetensors"
        worst[name] = worst_cases(records[0], read_worst(path))
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
        missing = {(row["method"], row["seed"]): row["reason"] for row in content["failed"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error!r}") from error
    found = read_runs(Path(folder), names, seeds, missing)
    audits = {name: list(by_seed.values()) for name, by_seed in found.audits.items()}
    return Comparison(content, audits, Path(folder))


def _known(folder: Path) -> list[str]:
    """The methods that an earlier comparison in this folder has taken up."""
    if not (folder / "config.json").exists():
        return []
    before = RunFolder.resume(folder)[1]
    names = before.get("names")
    return list(names) if isinstance(names, list) else []


def _claim(folder: Path, plan: dict[str, Any]) -> None:
    """Take the folder for this plan; one that holds another plan, or something else, is refused.

    A plan with more methods or more seeds than the one in the folder takes it over.
    """
    if not (folder / "config.json").exists():
        write_json(prepare_folder(folder) / "config.json", plan)
        return
    _, before = RunFolder.resume(folder)
    earlier: dict[str, Any] = before.get("request") or {}
    merged = {**plan, "request": dict(plan["request"])}
    grown = set(before.get("names") or []) <= set(plan["names"])
    if grown:
        merged["names"] = before.get("names")
        merged["request"]["methods"] = earlier.get("methods")
    if set(earlier.get("seeds") or []) <= set(plan["request"]["seeds"]):
        merged["request"]["seeds"] = earlier.get("seeds")
    changed = [line for part, value in merged.items() for line in differences(part, before.get(part), value)]
    if changed:
        raise InputError(f"{folder} holds a comparison with another {'; another '.join(changed)}")
    if before != plan:
        write_json(folder / "config.json", plan)
