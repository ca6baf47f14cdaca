"""Where the methods meet: at radius 0, between FD and AdaAD, and where the student is the teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.models.look import frozen
from understudy.models.memo import Memo
from understudy.sources import Cast
from understudy.testing import TINY_SHAPE, tiny_mlp
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings


def batch(dtype: torch.dtype = torch.float32) -> us.Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(6, *TINY_SHAPE, generator=generator).to(dtype)
    return us.Batch({"clean": inputs}, torch.arange(6), torch.arange(6) % 5, 0.9)


def gradient(
    name: str, options: Mapping[str, str], student: nn.Module, teacher: nn.Module
) -> tuple[float, list[Tensor]]:
    """Loss and gradient of one whole step of training, attack included, from the same randomness."""
    method = make_method(name, dict(options))
    settings = TrainingSettings(optimizer="sgd")
    player = Player(copy.deepcopy(student), teacher, method, method.source(0.0, 1.0), settings)
    random = Randomness(5)
    random.begin(0)
    with player:
        shares = player.contribute(batch(), 6, random)
    return sum(s.item() for s in shares.values()), [p.grad for p in player.parameters if p.grad is not None]


@pytest.mark.parametrize(
    ("name", "options", "soft"),
    [
        ("ard", {"temperature": "1"}, {}),
        ("ard", {"temperature": "5"}, {"temperature": "5"}),
        ("rslad", {}, {}),
        ("faithful_kd", {}, {}),
        ("adaad", {}, {}),
        ("adaad", {"alpha": "0.3"}, {}),
    ],
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_at_radius_zero_a_method_is_soft_distillation(
    name: str, options: dict[str, str], soft: dict[str, str], norm: str
) -> None:
    student, teacher = tiny_mlp(seed=2), tiny_mlp(seed=1)
    loss, found = gradient(name, {**options, "eps": "0", "norm": norm}, student, teacher)
    expected_loss, expected = gradient("kd", soft, student, teacher)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert expected_loss > 0.01
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fd_and_adaad_are_one_update(norm: str) -> None:
    student, teacher = tiny_mlp(seed=2), tiny_mlp(seed=1)
    loss, found = gradient("faithful_kd", {"eps": "0.1", "norm": norm}, student, teacher)
    other_loss, other = gradient("adaad", {"eps": "0.1", "norm": norm}, student, teacher)
    clean_loss, _ = gradient("kd", {}, student, teacher)
    assert loss == other_loss
    assert all(torch.equal(a, b) for a, b in zip(found, other, strict=True))
    assert loss > clean_loss * 1.01  # the attack was not idle


def inner(name: str, student: nn.Module, teacher: nn.Module) -> tuple[Tensor, Tensor]:
    """The inner objective beside the clean point, and its gradient to the input."""
    method, shown = make_method(name, {"eps": "0.1"}), batch()
    point = (shown.clean + 0.05).clamp(0, 1).requires_grad_(True)
    with frozen(teacher), frozen(student):
        values = method.inner(Memo(teacher), Memo(student), point, shown)
        return values.detach(), torch.autograd.grad(values.sum(), point)[0]


@pytest.mark.parametrize("name", ["faithful_kd", "adaad"])
def test_where_student_is_teacher_fd_sees_nothing_to_attack(name: str) -> None:
    teacher = tiny_mlp(seed=1)
    values, slope = inner(name, copy.deepcopy(teacher), teacher)
    assert not values.any()
    assert not slope.any()


@pytest.mark.parametrize("name", ["ard", "rslad"])
def test_where_student_is_teacher_ard_and_rslad_still_attack(name: str) -> None:
    teacher = tiny_mlp(seed=1)
    values, slope = inner(name, copy.deepcopy(teacher), teacher)
    assert (values > 1e-5).all()
    assert slope.flatten(1).any(1).all()


@pytest.mark.parametrize(("name", "zero"), [("faithful_kd", True), ("ard", False), ("rslad", False)])
def test_only_fd_is_at_rest_where_student_is_teacher(name: str, zero: bool) -> None:
    teacher = tiny_mlp(seed=1)
    loss, found = gradient(name, {"eps": "0.1"}, copy.deepcopy(teacher), teacher)
    assert (loss == 0.0) is zero
    assert all(not g.any() for g in found) is zero


def test_an_attack_that_sees_nothing_stays_at_its_start() -> None:
    teacher = tiny_mlp(seed=1).eval()
    source = make_method("faithful_kd", {"eps": "0.1", "start": "center"}).source(0.0, 1.0)
    with frozen(teacher):
        shown = source.show(batch(), Cast(copy.deepcopy(teacher), Memo(teacher)), Randomness(0))
    assert torch.equal(shown.views["attacked"], shown.clean)


def test_the_teachers_input_gradient_is_what_fd_adds_to_the_attack() -> None:
    """FD's ascent climbs through both models: its slope is not that with the teacher's answer held still."""
    student, teacher = tiny_mlp(seed=2), tiny_mlp(seed=1)
    point = batch().clean.clone().requires_grad_(True)
    method = make_method("faithful_kd")
    both = torch.autograd.grad(method.inner(Memo(teacher), Memo(student), point, batch()).sum(), point)[0]

    def still(inputs: Tensor) -> Tensor:
        return teacher(inputs).detach()

    one = torch.autograd.grad(method.inner(still, Memo(student), point, batch()).sum(), point)[0]
    assert not torch.allclose(both, one, rtol=0.1)
