"""What an audit takes from a search, with a stand-in for the search that finds and claims what a test wants."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.attacks import Ball
from understudy.auditing import examine as examine_module
from understudy.auditing.certificates import CertificateFolder
from understudy.auditing.examine import Examination, examine, unsound
from understudy.auditing.files import witness_tensor
from understudy.auditing.rows import point_records
from understudy.auditing.settings import AuditSettings
from understudy.bounds.certificate import Certificate, load
from understudy.bounds.description import network
from understudy.bounds.engine import PairBound, PairBounds, Step
from understudy.bounds.witness import evaluate_lower, pull_inside
from understudy.data.dataset import DataSet
from understudy.fidelity.emplb import GapAttack
from understudy.models.opening import LoadedModel

Two = tuple[LoadedModel, LoadedModel]
Find = Callable[[PairBounds, Tensor, Ball, Tensor, Tensor], list[PairBound]]


class StandIn(PairBounds):
    """`PairBounds` with linear bounds, whose answers go through `find` before they are given."""

    find: Find

    def __init__(self, teacher: Any, student: Any, shape: tuple[int, ...], *, mode: str) -> None:
        super().__init__(teacher, student, shape, mode="crown")
        self.inner = PairBounds(self.teacher, self.student, shape, mode="crown")
        self.asked = mode

    def bound(  # type: ignore[override]
        self, inputs: Tensor, ball: Ball, *, lower: Tensor, witness: Tensor, watch: Any, **more: Any
    ) -> list[PairBound]:
        assert self.asked == "exact"
        assert torch.equal(lower, evaluate_lower(self.teacher, self.student, witness))
        if watch is not None:
            watch(Step(0, len(inputs), 0.0, 1.0, 3, 2, 0.1, False))
        return type(self).find(self.inner, inputs, ball, lower, witness)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, pair: Two, points: DataSet) -> Callable[..., Examination]:
    def run(find: Find, attack: GapAttack | None = None, **more: Any) -> Examination:
        monkeypatch.setattr(StandIn, "find", staticmethod(find), raising=False)
        monkeypatch.setattr(examine_module, "PairBounds", StandIn)
        if attack is not None:
            monkeypatch.setattr(examine_module, "GapAttack", lambda: attack)
        settings = AuditSettings(eps=(0.05, 0.2), certify="exact", all_points=True)
        return examine(*pair, points, settings, torch.device("cpu"), **more)

    return run


LAME = GapAttack(steps=0, restarts=0, classes=0)


def corners(inputs: Tensor, ball: Ball) -> Tensor:
    """64 corners of each box: (64, b, 6)."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6)
    moved = inputs.double() + ball.eps * signs[:, None]
    return pull_inside(moved.flatten(0, 1), inputs.repeat(64, 1), ball).reshape(64, -1, 6)


def best_corner(engine: PairBounds, inputs: Tensor, ball: Ball) -> tuple[Tensor, Tensor]:
    at = corners(inputs, ball)
    rated = evaluate_lower(engine.teacher, engine.student, at.flatten(0, 1)).reshape(64, -1)
    top = rated.argmax(0)
    return at[top, torch.arange(len(inputs))], rated.amax(0)


def offering(engine: PairBounds, inputs: Tensor, ball: Ball, lower: Tensor, _: Tensor) -> list[PairBound]:
    if ball.eps == 0:
        return engine.bound(inputs, ball)
    witness, rated = best_corner(engine, inputs, ball)
    return [
        replace(
            bound, lower=float(low), witness=at, nodes=7, used="search", status="timeout",
            history=((0.1, float(known), 1.0, 1), (0.2, float(low), bound.upper, 7)),
        )
        for bound, low, known, at in zip(engine.bound(inputs, ball), rated, lower, witness, strict=True)
    ]  # fmt: skip


def test_a_better_witness_is_taken_and_everything_speaks_of_it(
    stand_in: Callable[..., Examination], pair: Two
) -> None:
    found = stand_in(offering, LAME)
    records = point_records(found, 0)
    kept = witness_tensor(found)
    better = 0
    for place, at in enumerate(found.radii[1:], 1):
        engine = PairBounds(*(m.module for m in pair), (6,), mode="crown")
        at_corner, rated = best_corner(engine, found.inputs, Ball(at.eps))
        again = evaluate_lower(engine.teacher, engine.student, kept[:, place])
        for row, point in enumerate(records):
            radius = point.radii[place]
            assert radius.lower == float(again[row])
            assert radius.lower >= float(rated[row])
            assert radius.nodes == 7
            assert radius.used == "search"
            assert radius.history is not None
            assert len(radius.history) == 2
            if radius.lower == float(rated[row]):
                better += int(torch.equal(kept[row, place], at_corner[row]))
            with torch.no_grad():
                t, s = (copy.deepcopy(m.module).double()(kept[row : row + 1, place]) for m in pair)
            gap = (t.softmax(1) - s.softmax(1)).abs()
            assert radius.total_variation == pytest.approx(float(gap.sum()) / 2, abs=1e-6)
            if bool(t.argmax() != s.argmax()):
                assert radius.same_class is False
    assert better > 5
    assert unsound(found) == []
    lowers = [[r.lower for r in p.radii] for p in records]
    assert all(row == sorted(row) for row in lowers)  # type: ignore[type-var]


def test_a_worse_witness_is_left(stand_in: Callable[..., Examination]) -> None:
    def poor(
        engine: PairBounds, inputs: Tensor, ball: Ball, lower: Tensor, witness: Tensor
    ) -> list[PairBound]:
        return [
            replace(bound, lower=0.0, witness=x.double())
            for bound, x in zip(engine.bound(inputs, ball), inputs, strict=True)
        ]

    def silent(engine: PairBounds, inputs: Tensor, ball: Ball, *_: Tensor) -> list[PairBound]:
        return engine.bound(inputs, ball)

    one, two = stand_in(poor), stand_in(silent)
    assert torch.equal(witness_tensor(one), witness_tensor(two))
    assert all(torch.equal(a.lower, b.lower) for a, b in zip(one.radii, two.radii, strict=True))
    assert point_records(two, 0)[0].radii[1].history is None
    assert point_records(two, 0)[0].radii[1].nodes is None


def test_what_a_search_claims_is_evaluated_at_a_point_of_the_ball(
    stand_in: Callable[..., Examination],
) -> None:
    def boasting(engine: PairBounds, inputs: Tensor, ball: Ball, *_: Tensor) -> list[PairBound]:
        return [
            replace(bound, lower=0.999, witness=torch.full_like(x, 5.0).double(), status="exact")
            for bound, x in zip(engine.bound(inputs, ball), inputs, strict=True)
        ]

    found = stand_in(boasting)
    kept = witness_tensor(found)
    for place, at in enumerate(found.radii):
        assert (kept[:, place] - found.inputs.double()).abs().max() <= at.eps
        assert at.lower.max() < 0.999
    for point in point_records(found, 0):
        for radius in point.radii[1:]:
            assert radius.lower is not None
            assert radius.upper is not None
            assert (radius.status == "exact") is (radius.upper - radius.lower <= 1e-4)


def test_searches_are_watched_with_their_radius(stand_in: Callable[..., Examination]) -> None:
    seen: list[tuple[float, Step]] = []
    stand_in(offering, watch=lambda eps, step: seen.append((eps, step)))
    assert [eps for eps, _ in seen] == [0.0, 0.05, 0.2]
    assert seen[0][1].points == 9


def test_certificates_are_kept_as_they_come(stand_in: Callable[..., Examination], tmp_path: Any) -> None:
    def proving(engine: PairBounds, inputs: Tensor, ball: Ball, *_: Tensor) -> list[PairBound]:
        bounds = engine.bound(inputs, ball)
        if ball.eps == 0:
            return bounds
        nets = {"teacher": network(engine.teacher, "?"), "student": network(engine.student, "?")}
        return [
            replace(bound, certificate=Certificate(
                nets, x.double().numpy(), ball.eps, 0.0, 1.0, 3, bound.upper, bound.status, None
            ))
            for bound, x in zip(bounds, inputs, strict=True)
        ]  # fmt: skip

    folder = CertificateFolder(tmp_path, 20, "aa" * 32, "bb" * 32)
    found = stand_in(proving, keep=folder.keep)
    assert len(folder.names) == 18
    assert all(b is None or b.certificate is None for at in found.radii for b in at.bounds)
    records = point_records(found, 20, certificates=folder.names)
    for point in records:
        assert point.radii[0].certificate is None
        for radius in point.radii[1:]:
            assert radius.certificate == f"certificates/point-{point.index}-eps-{radius.eps:g}.npz"
            one = load(tmp_path / radius.certificate)
            assert (one.networks["teacher"].file, one.networks["student"].file) == ("aa" * 32, "bb" * 32)
            assert (one.eps, one.upper) == (radius.eps, radius.upper)
            assert np.array_equal(one.input, found.inputs[point.index - 20].double().numpy())
    assert len(list((tmp_path / "certificates").iterdir())) == 18
