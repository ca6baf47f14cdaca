"""The attacked view: found in the ball, against a student that is left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.models.memo import Memo
from understudy.sources import Cast
from understudy.testing import TINY_SHAPE


def batch(rows: slice = slice(None)) -> us.Batch:
    inputs = torch.rand(6, *TINY_SHAPE, generator=torch.Generator().manual_seed(3))
    return us.Batch({"clean": inputs[rows]}, torch.arange(6)[rows], (torch.arange(6) % 5)[rows])


def loss(teacher: object, student: object, point: Tensor, batch: us.Batch) -> Tensor:
    return nn.functional.cross_entropy(student(point), batch.labels, reduction="none")


def attacked(**options: object) -> us.Attacked:
    return us.Attacked(loss, us.Ball(0.1), us.Ascent(5), **options)


def show(source: us.Source, student: nn.Module, *, rows: slice = slice(None), step: int = 0) -> us.Batch:
    random = Randomness(0)
    random.begin(step, rows, 6)
    return source.show(batch(rows), Cast(student, None), random)


def test_the_view_is_worse_for_the_student_and_inside_the_ball(student: nn.Sequential) -> None:
    shown = show(attacked(), student)
    view = shown.views["attacked"]
    assert torch.equal(shown.clean, batch().clean)
    assert (view - shown.clean).abs().max() <= 0.1 + 1e-6
    assert ((view >= 0) & (view <= 1)).all()
    assert not view.requires_grad
    student.eval()
    with torch.no_grad():
        before, after = (loss(None, student, x, shown) for x in (shown.clean, view))
    assert (after > before).all()


@pytest.mark.parametrize("mode", [True, False])
def test_in_eval_mode_nothing_of_the_student_changes(student: nn.Sequential, mode: bool) -> None:
    student.train(mode)
    student.get_submodule("head").train(not mode)  # a flag of its own
    for parameter in student.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    before = copy.deepcopy(student)
    show(attacked(), student)
    for (name, old), new in zip(before.state_dict().items(), student.state_dict().values(), strict=True):
        assert torch.equal(old, new), name
    assert all((p.grad == 0.5).all() and p.requires_grad for p in student.parameters())
    assert [p.training for p in student.modules()] == [p.training for p in before.modules()]


def test_in_train_mode_batch_norm_sees_the_attack_and_nothing_else_changes(student: nn.Sequential) -> None:
    before = copy.deepcopy(student).state_dict()
    student.eval()
    show(attacked(train_mode=True), student)
    changed = {n for n, value in student.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert student.state_dict()["norm.num_batches_tracked"] == 5  # once a step
    assert not any(part.training for part in student.modules())
    assert all(p.grad is None for p in student.parameters())


def test_an_exception_leaves_the_student_in_its_mode(student: nn.Sequential) -> None:
    def stop(*_: object) -> Tensor:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        show(us.Attacked(stop, us.Ball(0.1)), student)
    assert all(part.training for part in student.modules())


def test_it_attacks_under_no_grad_too(student: nn.Sequential) -> None:
    expected = show(attacked(), student).views["attacked"]
    with torch.no_grad():
        assert torch.equal(show(attacked(), student).views["attacked"], expected)


def test_steps_differ_and_one_step_repeats(student: nn.Sequential) -> None:
    first = show(attacked(), student).views["attacked"]
    assert torch.equal(first, show(attacked(), student).views["attacked"])
    assert not torch.equal(first, show(attacked(), student, step=1).views["attacked"])


def test_a_split_batch_is_attacked_as_the_whole_one(teacher: nn.Sequential) -> None:
    source = us.Attacked(loss, us.Ball(0.1), us.Ascent(0))
    whole = show(source, teacher).views["attacked"]
    parts = [show(source, teacher, rows=rows).views["attacked"] for rows in (slice(0, 1), slice(1, 6))]
    assert torch.equal(torch.cat(parts), whole)


def test_the_inner_objective_sees_teacher_batch_and_a_memory(
    teacher: nn.Sequential, student: nn.Sequential
) -> None:
    """The clean view is asked of the teacher once, however many steps there are."""
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(1))

    def inner(asked: object, net: object, point: Tensor, shown: us.Batch) -> Tensor:
        assert asked is memo
        return (net(point) - asked(shown.clean)).square().sum(1)

    memo = Memo(teacher)
    us.Attacked(inner, us.Ball(0.1), us.Ascent(7)).show(batch(), Cast(student, memo), Randomness(0))
    assert len(calls) == 1


def test_the_student_too_is_asked_about_the_clean_view_once(student: nn.Sequential) -> None:
    """As TRADES does: s(x) is a target that stands still while s(x') climbs away from it."""
    calls = []
    student.register_forward_hook(lambda *_: calls.append(1))

    def inner(asked: object, net: object, point: Tensor, shown: us.Batch) -> Tensor:
        target = net(shown.clean)
        assert not target.requires_grad
        return (net(point) - target).square().sum(1)

    show(us.Attacked(inner, us.Ball(0.1), us.Ascent(7)), student)
    assert len(calls) == 7 + 1
