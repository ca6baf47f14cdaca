"""L2D's distances: the worked number, loops over groups, and what they do not see."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import understudy as us
from understudy.objectives.label_relations import class_relation, group_relation, instance_relation

ES = torch.tensor([[1, 1], [2, 1], [1, 3]], dtype=torch.float64)
ET = torch.tensor([[1, 1], [3, 1], [1, 3]], dtype=torch.float64)
Y = torch.tensor(
    [[1, 1, 1, 0, 1], [1, 0, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 0, 1, 1], [0, 0, 0, 1, 0], [1, 1, 1, 0, 0]]
)


def drawn(width: int, seed: int) -> Tensor:
    return torch.randn(6, 5, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def huber_of_group(teacher: Tensor, student: Tensor) -> float:
    """H of n points a side, pair by pair."""
    count = len(teacher)

    def scaled(points: Tensor) -> Tensor:
        found = torch.stack([(a - b).norm() for a in points for b in points])
        return found / found[found > 0].mean() if (found > 0).any() else found

    if count < 2:
        return 0.0
    return F.smooth_l1_loss(scaled(student), scaled(teacher), reduction="sum").item() / count


def test_the_worked_number() -> None:
    found = group_relation(ET[None], ES[None], torch.ones(1, 3, dtype=torch.bool))
    assert found.sum().item() == pytest.approx(0.055453, abs=5e-7)
    assert huber_of_group(ET, ES) == pytest.approx(0.055453, abs=5e-7)


def test_sums_are_those_of_loops_over_labels_and_over_examples() -> None:
    teacher, student = drawn(4, 0), drawn(3, 1).exp()
    classes = [huber_of_group(teacher[Y[:, k] == 1, k], student[Y[:, k] == 1, k]) for k in range(5)]
    examples = [huber_of_group(teacher[i, Y[i] == 1], student[i, Y[i] == 1]) for i in range(6)]
    assert class_relation(teacher, student, Y).sum().item() == pytest.approx(sum(classes), rel=1e-10)
    assert instance_relation(teacher, student, Y).tolist() == pytest.approx(examples, rel=1e-10)
    assert min(classes) > 0.01


def test_size_turn_and_place_play_no_part() -> None:
    teacher = drawn(3, 0)
    turn, _ = torch.linalg.qr(
        torch.randn(7, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    )
    other = 4.0 * teacher @ turn[:3]
    a_label, an_example = drawn(7, 3)[:1], drawn(7, 4)[:, :1]
    assert class_relation(teacher, other + a_label, Y).max() < 1e-20
    assert instance_relation(teacher, other + an_example, Y).max() < 1e-20
    assert class_relation(teacher, other + an_example, Y).max() > 1e-3
    assert instance_relation(teacher, other + a_label, Y).max() > 1e-3


def test_labels_that_are_not_there_are_not_seen() -> None:
    teacher, student = drawn(4, 0), drawn(3, 1)
    moved = torch.where(Y[:, :, None] == 1, student, 100 * student)
    for relation in (class_relation, instance_relation):
        assert torch.equal(relation(teacher, moved, Y), relation(teacher, student, Y))
        asked = student.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(relation(teacher, asked, Y).sum(), asked)
        assert not gradient[Y == 0].any()
        assert gradient[Y == 1].abs().max() > 1e-4


def test_two_members_teach_nothing_and_single_labels_leave_instances_alone() -> None:
    teacher, student = drawn(4, 0), drawn(3, 1)
    single = F.one_hot(torch.tensor([0, 1, 2, 3, 4, 0]), 5)
    assert instance_relation(teacher, student, single).abs().max() == 0
    assert class_relation(teacher, student, single).abs().max() < 1e-30  # label 0 has two examples
    assert class_relation(teacher, student, 0 * Y).abs().max() == 0


def test_points_that_coincide_have_finite_gradients() -> None:
    teacher = drawn(4, 0)
    for student in (
        torch.zeros(6, 5, 3),
        drawn(3, 1)[:1].expand(6, -1, -1),
        drawn(3, 1)[:, :1].expand(-1, 5, -1),
    ):
        for relation in (class_relation, instance_relation):
            asked = student.double().clone().requires_grad_()
            values = relation(teacher, asked, Y)
            assert values.isfinite().all()
            assert torch.autograd.grad(values.sum(), asked)[0].isfinite().all()


def test_the_teachers_side_is_a_constant() -> None:
    teacher, student = drawn(4, 0).requires_grad_(), drawn(3, 1).requires_grad_()
    for relation in (class_relation, instance_relation):
        found = torch.autograd.grad(relation(teacher, student, Y).sum(), teacher, allow_unused=True)
        assert found == (None,)


def test_embeddings_that_are_not_one_a_label_are_refused() -> None:
    for relation in (class_relation, instance_relation):
        with pytest.raises((us.InputError, TypeError)):
            relation(drawn(4, 0), drawn(3, 1)[:, :4], Y)
        with pytest.raises((us.InputError, TypeError)):
            relation(drawn(4, 0)[:, :, 0], drawn(3, 1), Y)
