"""Randomised smoothing from options to smooth.json: everything or nothing is written."""

from __future__ import annotations

import copy
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.attacks import Norm
from understudy.auditing.record import DataRecord, ModelRecord
from understudy.auditing.settings import AuditSettings
from understudy.auditing.smoothing_record import (
    SmoothedPoint,
    SmoothedRadius,
    SmoothingRecord,
    smoothing_json,
)
from understudy.data.dataset import DataSet
from understudy.fidelity.mean_bounds import Bound
from understudy.fidelity.smoothing import (
    ROWS,
    Noise,
    Smoothed,
    at_distance,
    euclidean_radius,
    smoothed_difference,
)
from understudy.jobs.audit_job import torch_device, whole_folder
from understudy.jobs.opening import as_found, open_data, open_first, open_for
from understudy.jobs.progress import Progress
from understudy.models.opening import LoadedModel
from understudy.report.smoothing import smoothing_statement
from understudy.training.folder import write_json
from understudy.training.threads import threads_for, using_threads
from understudy.version import __version__

Model = str | Path | nn.Module | LoadedModel


@dataclass(frozen=True, eq=False)
class Smoothing:
    """A finished run: what smooth.json holds, what was found by point and class, and where it was written."""

    record: SmoothingRecord
    found: list[Smoothed]
    folder: Path | None


def smooth(
    teacher: Model,
    student: Model,
    data: Any,
    *,
    sigma: float,
    eps: Sequence[float] | float | None = None,
    norm: Norm = "l2",
    split: str = "test",
    points: int | None = None,
    start: int = 0,
    samples: int = 10_000,
    confidence: float = 0.999,
    bound: Bound = "betting",
    seed: int = 0,
    valid_range: tuple[float, float] | None = None,
    teacher_normalize: str | None = None,
    student_normalize: str | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> Smoothing:
    """Bound, statistically, how far teacher and student differ on average over Gaussian noise, around points.

    For networks and radii that no exact bound reaches. What is bounded is the *smoothed* pair: see
    `understudy.fidelity.smoothing`.

    Args:
        teacher, student: anything `load` opens.
        data: as `train` takes it; tensors (x, y) or (x, None) are a user's own.
        sigma: standard deviation of the noise on every input value, in the data's units.
        eps: radii; 0 is always added. None takes a quarter, a half and the whole of sigma (of sigma / sqrt(n) for
            "linf", with n input values).
        norm: "l2", the natural one here, or "linf", whose balls are covered by l_2 balls sqrt(n) times as large.
        points, start: rows start..start+points-1 of the split; None takes 100, or as many as there are.
        samples: noisy copies of a point, each of which costs one forward pass of both networks.
        confidence: with which the bounds of one point hold, at all radii and for all classes together.
        bound: "betting" (the tightest), "bernstein" or "clopper-pearson": chosen before the data are looked at.
        out: folder for smooth.json.

    Raises:
        InputError: something cannot be used; nothing has been written then.
    """
    noise = Noise(sigma, samples, confidence, bound, seed)
    found = open_data(data, split, data_root=data_root, valid_range=valid_range, quiet=quiet)
    if eps is None:
        widest = sigma if norm == "l2" else sigma / math.sqrt(math.prod(found.shape))
        eps = (widest / 4, widest / 2, widest)
    radii = (float(eps),) if isinstance(eps, int | float) else tuple(float(e) for e in eps)
    where = AuditSettings(eps=radii, points=points, start=start, norm=norm, certify="none", seed=seed)
    with as_found(teacher, student):
        one, found = open_first(found, data, teacher, teacher_normalize)
        other = open_for(found, student, student_normalize)
        return run_smoothing(one, other, found, noise, where, out=out, device=device, quiet=quiet)


def run_smoothing(
    teacher: LoadedModel,
    student: LoadedModel,
    data: DataSet,
    noise: Noise,
    where: AuditSettings,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> Smoothing:
    """Smooth an open pair at the rows and radii of `where`; with `out`, write smooth.json.

    Raises:
        InputError: something cannot be used; nothing has been written then.
    """
    place = torch_device(device)
    where.check(data)
    with using_threads(threads_for(teacher.module, data.shape, ROWS)):
        if out is None:
            return _smoothed(teacher, student, data, noise, where, place, quiet)
        with whole_folder(Path(out)) as partial:
            done = _smoothed(teacher, student, data, noise, where, place, quiet)
            write_json(partial / "smooth.json", smoothing_json(done.record))
    return Smoothing(done.record, done.found, Path(out))


def _smoothed(
    teacher: LoadedModel,
    student: LoadedModel,
    data: DataSet,
    noise: Noise,
    where: AuditSettings,
    device: torch.device,
    quiet: bool,
) -> Smoothing:
    began = time.perf_counter()
    rows = where.rows(len(data))
    models, precision = _ready(teacher.module, student.module, device)
    inputs = data.inputs(rows).to(device, precision)
    found: list[Smoothed] = []
    with Progress("smoothing", quiet) as bar:
        for row, point in enumerate(inputs):
            found.append(smoothed_difference(*models, point, noise, where.start + row))
            bar.update(row + 1, len(inputs))
    rhos = [euclidean_radius(eps, where.norm, inputs[0].numel()) for eps in where.eps]
    points = [
        SmoothedPoint(
            index=where.start + row,
            label=None if data.labels is None else int(data.labels[where.start + row]),
            worst_class=at.worst,
            mean=max(at.mean),
            upper=[at_distance(max(at.upper), rho / noise.sigma) for rho in rhos],
            undefined=at.undefined,
        )
        for row, at in enumerate(found)
    ]
    summary = []
    for i, (eps, rho) in enumerate(zip(where.eps, rhos, strict=True)):
        column = [point.upper[i] for point in points]
        summary.append(SmoothedRadius(eps, rho, math.fsum(column) / len(column), max(column)))
    joint = 1.0 - len(points) * (1.0 - noise.confidence)
    about = _data_record(data, len(found[0].upper))
    record = SmoothingRecord(
        teacher=ModelRecord(teacher.source, teacher.sha256, teacher.parameters),
        student=ModelRecord(student.source, student.sha256, student.parameters),
        data=about,
        norm=where.norm,
        sigma=noise.sigma,
        samples=noise.samples,
        confidence=noise.confidence,
        joint_confidence=joint if joint > 0 else None,
        statement=smoothing_statement(
            summary,
            points=len(points),
            sigma=noise.sigma,
            norm=where.norm,
            confidence=noise.confidence,
            joint=joint if joint > 0 else None,
            low=about.low,
            high=about.high,
            precision=str(precision).removeprefix("torch."),
            device=device.type,
        ),
        settings={**asdict(noise), "eps": list(where.eps), "points": len(points), "start": where.start},
        points=points,
        summary=summary,
        environment={
            "understudy": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device.type,
            "precision": str(precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - began, 3),
        },
    )
    return Smoothing(record, found, None)


def _ready(
    teacher: nn.Module, student: nn.Module, device: torch.device
) -> tuple[tuple[nn.Module, nn.Module], torch.dtype]:
    """Both networks on the device, and the precision they run in: float32 if all their weights are, else float64."""
    weights = [p for module in (teacher, student) for p in module.parameters() if p.is_floating_point()]
    if all(p.dtype == torch.float32 for p in weights):
        return (teacher.to(device), student.to(device)), torch.float32
    wide = (copy.deepcopy(module).to(device).double() for module in (teacher, student))
    return (next(wide), next(wide)), torch.float64


def _data_record(data: DataSet, classes: int) -> DataRecord:
    return DataRecord(
        name=data.name,
        split=data.split,
        examples=len(data),
        shape=list(data.shape),
        classes=classes,
        low=data.low if math.isfinite(data.low) else None,
        high=data.high if math.isfinite(data.high) else None,
        fingerprint=data.fingerprint(),
        class_names=None if data.class_names is None else list(data.class_names),
    )
