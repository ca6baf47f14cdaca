from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from understudy.auditing import examine as examine_module
from understudy.auditing.examine import Examination, counted_points, examine, unsound
from understudy.auditing.files import save_cases, witness_tensor
from understudy.auditing.rows import point_records
from understudy.auditing.settings import AuditSettings
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.fidelity.emplb import GapAttack, Pair
from understudy.models.opening import LoadedModel

Look = Callable[..., Examination]
Two = tuple[LoadedModel, LoadedModel]


def test_counted_are_the_points_that_the_teacher_gets_right(pair: Two, points: DataSet) -> None:
    both = Pair(pair[0].module, pair[1].module)
    inputs = points.inputs(slice(0, 9))
    right = [row % 3 != 0 for row in range(9)]
    assert counted_points(both, inputs, points.labels, False).tolist() == right
    assert counted_points(both, inputs, points.labels, True).all()
    assert counted_points(both, inputs, None, False).all()


def test_bounds_hold_at_every_corner_that_a_grid_can_reach(look: Look, pair: Two, points: DataSet) -> None:
    """Two of six inputs moved to 21 places each: nothing found lies above upper; lower is found again."""
    found = look(all_points=True)
    steps = torch.linspace(-1, 1, 21)
    exact = [copy.deepcopy(m.module).double() for m in pair]
    for at in found.radii:
        for row in range(0, 9, 4):
            x = found.inputs[row]
            moved = x.repeat(441, 1).double()
            for place, (a, b) in zip(moved, itertools.product(steps, steps), strict=True):
                place[:2] += at.eps * torch.stack([a, b])
            moved = moved.clamp(0, 1)
            with torch.no_grad():
                t, s = (m(moved).softmax(1) for m in exact)
            bound = at.bounds[row]
            assert bound is not None
            assert float((t - s).abs().max()) <= bound.upper + 1e-9
            assert float(at.lower[row]) <= bound.upper + 1e-9


def test_records_are_in_file_order_with_the_rows_of_the_split(look: Look) -> None:
    found = look(start=2, points=5)
    records = point_records(found, 2)
    assert [p.index for p in records] == [2, 3, 4, 5, 6]
    assert [p.counted for p in records] == [True, False, True, True, False]
    for record in records:
        for radius in record.radii:
            assert (radius.lower is None) is (not record.counted)
            assert (radius.upper is None) is (not record.counted)
            assert radius.kl is not None
            assert 0 <= (radius.total_variation or 0.0) <= 1


def test_lower_and_robust_accuracy_are_monotone(look: Look) -> None:
    found = look(eps=(0.01, 0.02, 0.05, 0.1, 0.3), certify="none")
    for before, now in itertools.pairwise(found.radii):
        assert (now.lower >= before.lower).all()
        for name in ("right_teacher", "right_student"):
            assert not (getattr(now, name) & ~getattr(before, name)).any()
        assert (now.split | ~before.split).all()
    assert found.radii[-1].lower.mean() > 1.1 * found.radii[0].lower.mean()


def test_a_smaller_radius_found_more_than_a_larger_one_does(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack on the second radius is lame: what the first one found still counts there."""
    hard = [GapAttack(), GapAttack(), GapAttack(steps=0, restarts=0, classes=0)]
    monkeypatch.setattr(examine_module, "GapAttack", lambda: hard.pop(0))
    found = look(eps=(0.1, 0.2), certify="none")
    assert hard == []
    assert (found.radii[1].lower > found.radii[0].lower).all()
    assert (found.radii[2].lower >= found.radii[1].lower).all()


def test_witnesses_are_float64_points_of_their_balls(look: Look, points: DataSet) -> None:
    found = look()
    witnesses = witness_tensor(found)
    assert witnesses.shape == (9, 3, 6)
    assert witnesses.dtype == torch.float64
    assert torch.equal(witnesses[:, 0], points.inputs(slice(0, 9)).double())
    for i, at in enumerate(found.radii):
        assert (witnesses[:, i] - found.inputs.double()).abs().max() <= at.eps + 1e-12


def test_a_gate_needs_a_counted_point(pair: Two, points: DataSet) -> None:
    assert points.labels is not None
    wrong = replace(points, labels=(pair[0].module(points.inputs(slice(0, 9))).argmax(1) + 1) % 3)
    settings = AuditSettings(eps=(0.1,))
    with pytest.raises(InputError, match="none counts"):
        examine(*pair, wrong, settings, torch.device("cpu"), fail_above=0.5)
    found = examine(*pair, wrong, settings, torch.device("cpu"))
    assert all(r.status == "skipped" for p in point_records(found, 0) for r in p.radii)


def test_contradictions_are_found_and_kept(look: Look, tmp_path: object) -> None:
    from pathlib import Path

    from safetensors.torch import load_file

    found = look(all_points=True)
    assert unsound(found) == []
    last = found.radii[-1]
    low = float(last.lower[4])

    def with_bound(row: int, **changes: object) -> Examination:
        bounds = list(last.bounds)
        assert bounds[row] is not None
        bounds[row] = replace(bounds[row], **changes)  # type: ignore[type-var]
        return replace(found, radii=[*found.radii[:-1], replace(last, bounds=bounds)])

    assert unsound(with_bound(4, upper=math.nextafter(low, 0.0))) == [(2, 4)]  # by any amount
    assert unsound(with_bound(4, upper=low)) == []
    assert unsound(with_bound(4, upper=float("nan"))) == [(2, 4)]
    split = int(last.split.nonzero()[0])
    assert unsound(with_bound(split, same_class=True)) == [(2, split)]
    path = save_cases(Path(str(tmp_path)), with_bound(4, upper=0.0), [(2, 4)], 10)
    case = load_file(path)
    assert case["index"].tolist() == [14]
    assert case["eps"].tolist() == [0.2]
    assert case["upper"].tolist() == [0.0]
    assert case["lower"].tolist() == [low]
    assert torch.equal(case["witness"][0], last.witness[4])
