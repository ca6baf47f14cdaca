"""The audit of a pair: attacks from below, bounds from above, radius by radius over the same points."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.attacks import Ball
from understudy.auditing.record import PointRecord, RadiusRecord
from understudy.auditing.settings import AuditSettings
from understudy.bounds.engine import PairBound, PairBounds
from understudy.data.dataset import DataSet
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.fidelity.emplb import GapAttack, Pair, emp_lb, worst_for_model
from understudy.models.opening import LoadedModel
from understudy.objectives.divergences import kl, total_variation

Tick = Callable[[str, int, int], None]  # what is being done, radii done, radii in all
ROUNDING = 1e-9  # of float64, in which both bounds are computed: a larger contradiction is a fault


@dataclass(frozen=True, eq=False)
class AtRadius:
    """Everything seen at one radius, by point.

    `witness` (P, ...) float64; `teacher`, `student` (P, C) float64 logits there; `lower` (P,); `bounds` one an
    examined point or None; `right_teacher`, `right_student` (P,) whether each model withstood the attack on its
    own loss, None without labels; `seconds` of attack and bound a point.
    """

    eps: float
    witness: Tensor
    teacher: Tensor
    student: Tensor
    lower: Tensor
    split: Tensor
    bounds: list[PairBound | None]
    right_teacher: Tensor | None
    right_student: Tensor | None
    seconds: list[float]


@dataclass(frozen=True, eq=False)
class Examination:
    """An audit's raw findings: points in file order, one `AtRadius` a radius."""

    inputs: Float[Tensor, "p ..."]
    labels: Tensor | None
    counted: Tensor
    radii: list[AtRadius]


def counted_points(pair: Pair, inputs: Tensor, labels: Tensor | None, all_points: bool) -> Tensor:
    """Which points count: those the teacher classifies correctly, or all of them: (P,) bool."""
    if labels is None or all_points:
        return torch.ones(len(inputs), dtype=torch.bool)
    return (pair.exact_logits(inputs)[0].argmax(1) == labels).cpu()


def examine(
    teacher: LoadedModel,
    student: LoadedModel,
    data: DataSet,
    settings: AuditSettings,
    device: torch.device,
    tick: Tick | None = None,
    fail_above: float | None = None,
) -> Examination:
    """Attack and bound the pair at every radius of the grid.

    Raises:
        InputError: a radius larger than the input range, rows that do not exist, models the bounds cannot read, or
            a gate (`fail_above`) over no counted point.
    """
    rows = settings.rows(len(data))
    balls = [Ball(eps, settings.norm, data.low, data.high) for eps in settings.eps]
    weights = [p for m in (teacher, student) for p in m.module.parameters() if p.is_floating_point()]
    single = all(p.dtype == torch.float32 for p in weights)  # else everything runs on the float64 copies
    inputs = data.inputs(rows).to(device, torch.float32 if single else torch.float64)
    labels = None if data.labels is None else data.labels[rows].to(device)
    pair = Pair(teacher.module.to(device), student.module.to(device))
    counted = counted_points(pair, inputs, labels, settings.all_points)
    if fail_above is not None and not counted.any():
        raise InputError(
            "fail_above is a gate over counted points, and none counts: the teacher gets them all wrong"
        )
    engine = None
    if settings.certify != "none" and counted.any():
        engine = PairBounds(teacher.module, student.module, data.shape, mode=settings.certify)
    random = Randomness(settings.seed)
    radii: list[AtRadius] = []
    for step, ball in enumerate(balls):
        if tick is not None:
            tick(f"eps {ball.eps:g}", step, len(balls))
        random.begin(step)
        before = radii[-1] if radii else None
        radii.append(_at_radius(pair, engine, inputs, labels, counted, ball, settings, random, before))
    if tick is not None:
        tick("done", len(balls), len(balls))
    return Examination(inputs, labels, counted, radii)


def _at_radius(
    pair: Pair,
    engine: PairBounds | None,
    inputs: Tensor,
    labels: Tensor | None,
    counted: Tensor,
    ball: Ball,
    settings: AuditSettings,
    random: Randomness,
    before: AtRadius | None,
) -> AtRadius:
    began = time.perf_counter()
    warm = None if before is None else before.witness
    witness, lower = emp_lb(pair, inputs, ball, GapAttack(), random, warm)
    teacher, student = pair.exact_logits(witness)
    split = teacher.argmax(1) != student.argmax(1)
    right: list[Tensor | None] = [None, None]
    if labels is not None:
        single = inputs.dtype == torch.float32
        models = (pair.teacher, pair.student) if single else (pair.exact_teacher, pair.exact_student)
        for side, model in enumerate(models):
            point = inputs if ball.eps == 0 else worst_for_model(model, inputs, labels, ball, 20, random)
            said = pair.exact_logits(point)
            right[side] = said[side].argmax(1) == labels
            split |= said[0].argmax(1) != said[1].argmax(1)
    if before is not None:
        split |= before.split
        right = [
            now if old is None or now is None else now & old
            for now, old in zip(right, (before.right_teacher, before.right_student), strict=True)
        ]
    attack_seconds = (time.perf_counter() - began) / len(inputs)
    bounds: list[PairBound | None] = [None] * len(inputs)
    if engine is not None:
        chosen = counted.nonzero()[:, 0]
        found = engine.bound(
            inputs[chosen.to(inputs.device)],
            ball,
            lower=lower[chosen.to(lower.device)],
            tolerance=settings.tolerance,
            time_limit=settings.time_limit,
        )
        for row, bound in zip(chosen.tolist(), found, strict=True):
            bounds[row] = bound
    seconds = [attack_seconds + (0.0 if b is None else b.seconds) for b in bounds]
    return AtRadius(ball.eps, witness, teacher, student, lower, split, bounds, right[0], right[1], seconds)


def point_records(found: Examination, start: int) -> list[PointRecord]:
    """The examination as audit.json's rows, in file order."""
    clean = found.radii[0]
    divergence = [kl(at.teacher, at.student).tolist() for at in found.radii]
    variation = [total_variation(at.teacher, at.student).tolist() for at in found.radii]
    points = []
    for row in range(len(found.inputs)):
        counted = bool(found.counted[row])
        radii = [
            _radius_record(at, row, counted, divergence[i][row], variation[i][row])
            for i, at in enumerate(found.radii)
        ]
        label = None if found.labels is None else int(found.labels[row])
        said = int(clean.teacher[row].argmax()), int(clean.student[row].argmax())
        points.append(PointRecord(start + row, label, *said, counted, radii))
    return points


def _radius_record(
    at: AtRadius, row: int, counted: bool, divergence: float, variation: float
) -> RadiusRecord:
    bound = at.bounds[row]
    proved = bound is not None and bound.same_class
    lower = float(at.lower[row])
    upper = None if bound is None else bound.upper
    if upper is not None and lower - ROUNDING <= upper < lower:
        upper = lower  # rounding: the larger of the two is still an upper bound
    return RadiusRecord(
        eps=at.eps,
        lower=lower if counted else None,
        upper=upper,
        status="skipped" if bound is None else bound.status,
        same_class=False if bool(at.split[row]) else True if proved else None,
        seconds=at.seconds[row],
        used=None if bound is None else bound.used,
        kl=divergence,
        total_variation=variation,
    )


def unsound(found: Examination) -> list[tuple[int, int]]:
    """(radius, row) of every case in which attack and bound contradict each other."""
    cases = []
    for i, at in enumerate(found.radii):
        for row, bound in enumerate(at.bounds):
            if bound is None:
                continue
            crossed = not bound.upper >= float(at.lower[row]) - ROUNDING
            if crossed or (bound.same_class and bool(at.split[row])):
                cases.append((i, row))
    return cases
