"""The audit of a pair: attacks from below, bounds from above, radius by radius over the same points."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.attacks import Ball
from understudy.auditing.settings import AuditSettings
from understudy.bounds.certificate import Certificate
from understudy.bounds.engine import PairBound, PairBounds, Step
from understudy.bounds.witness import evaluate_lower, pull_inside
from understudy.data.dataset import DataSet
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.fidelity.emplb import GapAttack, Pair, emp_lb, worst_for_model
from understudy.models.opening import LoadedModel

Tick = Callable[[str, int, int], None]  # what is being done, radii done, radii in all
Watch = Callable[[float, Step], None]  # the radius, and where the search stands
Keep = Callable[[int, float, Certificate], None]  # the point's place, the radius, the proof


@dataclass(frozen=True, eq=False)
class AtRadius:
    """Everything seen at one radius, by point.

    `witness` (P, ...) float64; `teacher`, `student` (P, C) float64 logits there; `lower` (P,) the gap there, rounded
    down by its rounding error where bounds were asked for; `split` (P,) whether a point of the ball is known at
    which the classes differ; `bounds` one an examined point or None; `right_teacher`, `right_student` (P,) whether
    each model withstood the attack on its own loss, None without labels; `seconds` of attack and bound a point.
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
    watch: Watch | None = None,
    keep: Keep | None = None,
) -> Examination:
    """Attack and bound the pair at every radius of the grid.

    Args:
        watch: told a few times a second where a search stands.
        keep: given every certificate as it comes; none is held.

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
        at = _attacked(pair, engine, inputs, labels, ball, random, before)
        if engine is not None:
            at = _bounded(pair, engine, inputs, counted, at, ball, settings, watch, keep)
        radii.append(at)
    if tick is not None:
        tick("done", len(balls), len(balls))
    return Examination(inputs, labels, counted, radii)


def _attacked(
    pair: Pair,
    engine: PairBounds | None,
    inputs: Tensor,
    labels: Tensor | None,
    ball: Ball,
    random: Randomness,
    before: AtRadius | None,
) -> AtRadius:
    began = time.perf_counter()
    warm = None if before is None else before.witness
    witness, lower = emp_lb(pair, inputs, ball, GapAttack(), random, warm)
    if engine is not None:
        witness = pull_inside(witness, inputs, ball)
        lower = evaluate_lower(engine.teacher, engine.student, witness)
    if before is not None:  # rounded down, the larger ball's gap may have fallen below the smaller one's
        witness, lower = _better(witness, lower, before.witness, before.lower)
    teacher, student = pair.exact_logits(witness)
    split = teacher.argmax(1) != student.argmax(1)
    right: tuple[Tensor | None, Tensor | None] = (None, None)
    if labels is not None:
        single = inputs.dtype == torch.float32
        models = (pair.teacher, pair.student) if single else (pair.exact_teacher, pair.exact_student)
        stood = []
        for side, model in enumerate(models):
            point = inputs if ball.eps == 0 else worst_for_model(model, inputs, labels, ball, 20, random)
            said = pair.exact_logits(point)
            stood.append(said[side].argmax(1) == labels)
            split |= said[0].argmax(1) != said[1].argmax(1)
        right = stood[0], stood[1]
    if before is not None:
        split |= before.split
        right = _and(right[0], before.right_teacher), _and(right[1], before.right_student)
    spent = (time.perf_counter() - began) / len(inputs)
    nothing: list[PairBound | None] = [None] * len(inputs)
    seconds = [spent] * len(inputs)
    return AtRadius(ball.eps, witness, teacher, student, lower, split, nothing, *right, seconds)


def _and(now: Tensor | None, before: Tensor | None) -> Tensor | None:
    return now if now is None or before is None else now & before


def _better(witness: Tensor, lower: Tensor, other: Tensor, rated: Tensor) -> tuple[Tensor, Tensor]:
    """The better of two witnesses a point, and its bound."""
    better = rated > lower
    return torch.where(better.view(-1, *[1] * (witness.dim() - 1)), other, witness), torch.where(
        better, rated, lower
    )


def _bounded(
    pair: Pair,
    engine: PairBounds,
    inputs: Tensor,
    counted: Tensor,
    at: AtRadius,
    ball: Ball,
    settings: AuditSettings,
    watch: Watch | None,
    keep: Keep | None,
) -> AtRadius:
    """The same radius with bounds of the counted points, and with the witnesses of a search where those are better."""
    chosen = counted.nonzero()[:, 0].to(inputs.device)
    found = engine.bound(
        inputs[chosen],
        ball,
        lower=at.lower[chosen],
        witness=at.witness[chosen],
        tolerance=settings.tolerance,
        time_limit=settings.time_limit,
        watch=None if watch is None else lambda step: watch(ball.eps, step),
        certify=keep is not None,
    )
    bounds = list(at.bounds)
    offered = at.witness.clone()
    for row, bound in zip(chosen.tolist(), found, strict=True):
        if bound.certificate is not None and keep is not None:
            keep(row, ball.eps, bound.certificate)
        if bound.witness is not None:
            offered[row] = bound.witness.to(offered)
        bounds[row] = replace(bound, witness=None, certificate=None)
    offered = pull_inside(offered, inputs, ball)
    rated = evaluate_lower(engine.teacher, engine.student, offered)
    witness, lower = _better(at.witness, at.lower, offered, rated)
    teacher, student = pair.exact_logits(witness)
    return replace(
        at,
        witness=witness,
        lower=lower,
        teacher=teacher,
        student=student,
        split=at.split | (teacher.argmax(1) != student.argmax(1)),
        bounds=bounds,
        seconds=[s + (0.0 if b is None else b.seconds) for s, b in zip(at.seconds, bounds, strict=True)],
    )


def unsound(found: Examination) -> list[tuple[int, int]]:
    """(radius, row) of every case in which attack and bound contradict each other."""
    cases = []
    for i, at in enumerate(found.radii):
        for row, bound in enumerate(at.bounds):
            if bound is None:
                continue
            crossed = not bound.upper >= float(
                at.lower[row]
            )  # by any amount: both bounds carry their rounding
            if crossed or (bound.same_class and bool(at.split[row])):
                cases.append((i, row))
    return cases
