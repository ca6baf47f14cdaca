"""The floor: the same numbers as `Fidelity` alone, a paired difference, and a student that goes below or above it."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import sem
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.floor import FidelityBesideFloor
from understudy.fidelity.streaming import Fidelity, per_example


def teachers(n: int = 200) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Three teachers of one kind, what they have in common, and labels."""
    draw = torch.Generator().manual_seed(0)
    common = 2 * torch.randn(n, 4, generator=draw)
    one, *others = (common + torch.randn(n, 4, generator=draw) for _ in range(3))
    return one, others, common, common.argmax(1)


def test_pair_and_floors_are_those_of_fidelity_alone() -> None:
    teacher, others, student, labels = teachers()
    seen, rest = FidelityBesideFloor(2), FidelityBesideFloor(2)
    for into, start, stop in ((seen, 0, 70), (rest, 70, 150), (rest, 150, 200)):
        cut = slice(start, stop)
        into.update(teacher[cut], [one[cut] for one in others], student[cut], labels[cut])
    seen.merge(rest)
    found = seen.result()
    for got, logits in zip((found.pair, *found.floors), (student, *others), strict=True):
        alone = Fidelity()
        alone.update(teacher, logits, labels)
        for name, estimate in alone.result().estimates().items():
            assert got.estimates()[name].mean == pytest.approx(estimate.mean, rel=1e-9), name
            assert got.estimates()[name].error == pytest.approx(estimate.error, rel=1e-9), name
    values = [per_example(teacher, logits).numpy() for logits in (student, *others)]
    paired = values[0] - (values[1] + values[2]) / 2
    paired[0] = -paired[0]
    assert list(found.excess) == ["agreement", "kl", "total_variation", "jensen_shannon", "wasserstein"]
    for got, row in zip(found.excess.values(), paired, strict=True):
        assert (got.mean, got.error) == pytest.approx((row.mean(), sem(row)), rel=1e-9)


def test_its_sign_says_which_side_of_the_floor_a_student_is_on() -> None:
    teacher, others, common, _ = teachers()
    draw = torch.Generator().manual_seed(1)
    for student, sign in ((common, -1), (common + 3 * torch.randn(200, 4, generator=draw), 1)):
        seen = FidelityBesideFloor(2)
        seen.update(teacher, others, student)
        for name, excess in seen.result().excess.items():
            assert excess.error is not None
            assert sign * excess.mean > 2 * excess.error, name
    seen = FidelityBesideFloor()
    seen.update(teacher, others[:1], others[0])  # the student is the other teacher
    assert {one.mean for one in seen.result().excess.values()} == {0.0}


def test_bad_input_leaves_nothing_behind() -> None:
    teacher, others, student, labels = teachers()
    seen = FidelityBesideFloor(2)
    seen.update(teacher, others, student, labels)
    before = seen.result()
    for said, given, match in (
        (others[:1], labels, "2 other teachers, found logits of 1"),
        ([others[0], others[1] / 0], labels, "finite"),
        (others, labels - 1, "labels"),
    ):
        with pytest.raises(InputError, match=match):
            seen.update(teacher, said, student, given)
    with pytest.raises(InputError, match="4 classes have been seen"):
        seen.update(teacher[:, :3], [one[:, :3] for one in others], student[:, :3])
    with pytest.raises(InputError, match="floor of 2 teachers cannot take in one of 1"):
        seen.merge(FidelityBesideFloor(1))
    with pytest.raises(InputError, match="itself"):
        seen.merge(seen)
    assert seen.result() == before
    with pytest.raises(InputError, match="one other teacher at least, found 0"):
        FidelityBesideFloor(0)
    with pytest.raises(InputError, match="none has been seen"):
        FidelityBesideFloor().result()
