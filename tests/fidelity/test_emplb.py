"""EmpLB on pairs whose largest gap is known, and what a lower bound must keep whatever the pair."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from understudy.attacks import Ball
from understudy.data.randomness import Randomness
from understudy.fidelity.emplb import GapAttack, Pair, emp_lb, worst_for_model
from understudy.testing import TINY_SHAPE, tiny_conv, tiny_mlp

QUICK = GapAttack(steps=12, restarts=1, classes=3)


def linear(weight: float, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """z = weight * x, two classes."""
    layer = nn.Linear(2, 2, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(weight * torch.eye(2))
    return layer.eval()


def random(seed: int = 0) -> Randomness:
    made = Randomness(seed)
    made.begin(0)
    return made


WORKED = torch.tensor([[0.6, 0.4]])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("attack", [GapAttack(), GapAttack(classes=0, restarts=0), QUICK])
def test_the_worked_pair_reaches_its_largest_gap(attack: GapAttack) -> None:
    pair = Pair(linear(1.0), linear(2.0))
    witness, lower = emp_lb(pair, WORKED, Ball(0.1), attack, random())
    assert lower.item() == pytest.approx(sigmoid(0.8) - sigmoid(0.4), abs=1e-6)
    assert lower.item() == pytest.approx(0.091287, abs=1e-6)
    torch.testing.assert_close(witness, torch.tensor([[0.7, 0.3]], dtype=torch.float64), rtol=0, atol=1e-6)


def test_at_radius_zero_it_is_the_gap_itself() -> None:
    witness, lower = emp_lb(Pair(linear(1.0), linear(2.0)), WORKED, Ball(0.0), GapAttack(), random())
    assert lower.item() == pytest.approx(0.048854, abs=1e-6)
    assert torch.equal(witness, WORKED.double())


def test_an_l2_ball_reaches_the_largest_gap_along_the_diagonal() -> None:
    """The gap depends on x1 - x2 alone, which an l_2 ball of radius r moves by sqrt(2) r."""
    difference = 0.2 + 0.1 * math.sqrt(2)
    witness, lower = emp_lb(Pair(linear(1.0), linear(2.0)), WORKED, Ball(0.1, "l2"), GapAttack(), random())
    assert lower.item() == pytest.approx(sigmoid(2 * difference) - sigmoid(difference), abs=1e-5)
    assert (witness - WORKED).norm().item() <= 0.1 + 1e-9


def test_the_valid_range_cuts_the_ball() -> None:
    center = torch.tensor([[0.95, 0.05]])
    _, lower = emp_lb(Pair(linear(1.0), linear(2.0)), center, Ball(0.1), GapAttack(), random())
    assert lower.item() == pytest.approx(sigmoid(2.0) - sigmoid(1.0), abs=1e-6)


CENTERS = torch.rand(7, *TINY_SHAPE, generator=torch.Generator().manual_seed(4))


def nets() -> tuple[nn.Module, nn.Module]:
    return tiny_mlp(seed=1).eval(), tiny_conv(seed=2).eval()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_does_not_decrease_with_the_radius(norm: str) -> None:
    pair, warm, before = Pair(*nets()), None, torch.zeros(7, dtype=torch.float64)
    for eps in (0.0, 0.02, 0.05, 0.050001, 0.1):
        warm, lower = emp_lb(pair, CENTERS, Ball(eps, norm), QUICK, random(), warm)
        assert (lower >= before).all()
        assert (lower <= 1).all()
        before = lower


class Flat(nn.Module):
    """The same confidence everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 2, dtype=x.dtype) + 0 * x[:, :1]


class Shaped(nn.Module):
    """Two classes, the first one's log-odds a function of the first input."""

    def __init__(self, odds: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.odds = odds

    def forward(self, x: Tensor) -> Tensor:
        odds = self.odds(x[:, 0])
        return torch.stack([odds, torch.zeros_like(odds)], 1)


MIDDLE = torch.tensor([[0.5, 0.5]])
LONE = GapAttack(restarts=0, classes=0)


def test_it_keeps_a_witness_that_it_cannot_find_again() -> None:
    """A needle that float32 cannot even hold: the warm witness stands, bit for bit."""
    warm = torch.tensor([[0.5 + 1e-10, 0.5]], dtype=torch.float64)
    needle = Shaped(lambda x: 3 * torch.exp(-((x.double() - warm[0, 0]) / 1e-11).square()).to(x))
    witness, lower = emp_lb(Pair(Flat(), needle), MIDDLE, Ball(0.1), QUICK, random(), warm)
    assert torch.equal(witness, warm)
    assert lower.item() == pytest.approx(sigmoid(3.0) - 0.5, abs=1e-9)


def test_a_maximum_between_the_steps_is_polished() -> None:
    """Steps of eps / 8 pass over a peak; the last ascent's are eps / 30."""
    eps, peak = 0.2, 0.5 + 1.5 * 0.2 / 8
    spike = Shaped(lambda x: 2 * torch.exp(-((x - peak) / 0.02).square()))
    found = emp_lb(Pair(Flat(), spike), MIDDLE, Ball(eps), LONE, random())[1].item()
    assert found >= sigmoid(2 * math.exp(-((eps / 60 / 0.02) ** 2))) - 0.5
    assert found <= sigmoid(2.0) - 0.5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_value_is_the_gap_in_float64_at_a_witness_in_the_ball(norm: str) -> None:
    teacher, student = nets()
    witness, lower = emp_lb(Pair(teacher, student), CENTERS, Ball(0.1, norm), QUICK, random())
    assert witness.dtype == lower.dtype == torch.float64
    away = (witness - CENTERS.double()).flatten(1)
    size = away.abs().amax(1) if norm == "linf" else away.norm(dim=1)
    assert (size <= 0.1 + 1e-12).all()
    assert ((witness >= 0) & (witness <= 1)).all()
    with torch.no_grad():
        said = [copy.deepcopy(net).double()(witness).softmax(1) for net in (teacher, student)]
    torch.testing.assert_close(lower, (said[0] - said[1]).abs().amax(1), rtol=0, atol=1e-14)


def test_it_beats_random_points_and_an_attack_on_the_labels() -> None:
    teacher, student = nets()
    pair, ball = Pair(teacher, student), Ball(0.1)
    _, lower = emp_lb(pair, CENTERS, ball, GapAttack(), random())
    generator = torch.Generator().manual_seed(0)
    offsets = 0.1 * torch.randint(-1, 2, (400, *CENTERS.shape), generator=generator)
    for offset in offsets:
        t, s = pair.exact_logits(ball.project(CENTERS + offset, CENTERS))
        assert ((t.softmax(1) - s.softmax(1)).abs().amax(1) <= lower + 1e-9).all()


def test_symmetric_in_teacher_and_student() -> None:
    teacher, student = linear(1.0), linear(2.0)
    one = emp_lb(Pair(teacher, student), WORKED, Ball(0.1), QUICK, random())[1]
    other = emp_lb(Pair(student, teacher), WORKED, Ball(0.1), QUICK, random())[1]
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_a_student_that_is_its_teacher_has_exactly_no_gap() -> None:
    teacher, _ = nets()
    witness, lower = emp_lb(Pair(teacher, copy.deepcopy(teacher)), CENTERS, Ball(0.1), QUICK, random())
    assert not lower.any()
    assert torch.equal(witness, CENTERS.double())


def test_many_classes() -> None:
    """More classes than are climbed one by one."""
    teacher, student = tiny_mlp(200, seed=1).eval(), tiny_mlp(200, seed=2).eval()
    warm, clean = emp_lb(Pair(teacher, student), CENTERS, Ball(0.0), GapAttack(), random())
    _, lower = emp_lb(Pair(teacher, student), CENTERS, Ball(0.1), GapAttack(), random(), warm)
    assert (lower > clean).all()


@pytest.mark.parametrize("shaped_teacher", [True, False])
def test_each_sign_of_a_class_is_climbed(shaped_teacher: bool) -> None:
    """The gap's own ascent ends at the right edge; only by its sign is the higher gap at the left edge found."""
    ramp = Shaped(lambda x: 0.25 + 0.5 * (x - 0.5) - 30 * torch.relu(0.33 - x))
    pair = Pair(ramp, Flat()) if shaped_teacher else Pair(Flat(), ramp)
    by_gap, by_sign = (
        emp_lb(pair, MIDDLE, Ball(0.2), attack, random())[1].item()
        for attack in (LONE, GapAttack(restarts=0, classes=1))
    )
    assert by_gap == pytest.approx(sigmoid(0.35) - 0.5, abs=1e-5)
    assert by_sign == pytest.approx(0.5 - sigmoid(0.15 - 0.9), abs=1e-5)


def test_the_models_are_left_as_they_were() -> None:
    teacher, student = nets()
    before = [copy.deepcopy(net.state_dict()) for net in (teacher, student)]
    emp_lb(Pair(teacher, student), CENTERS, Ball(0.1), QUICK, random())
    for net, state in zip((teacher, student), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
        assert all(p.grad is None and p.dtype == torch.float32 for p in net.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 0.02, 0.1])
def test_the_worst_point_for_one_model_is_never_better_than_the_clean_one(norm: str, eps: float) -> None:
    _, student = nets()
    labels = student(CENTERS).argmax(1)
    point = worst_for_model(student, CENTERS, labels, Ball(eps, norm), 5, random())
    clean, attacked = (
        nn.functional.cross_entropy(student(x), labels, reduction="none") for x in (CENTERS, point)
    )
    assert (attacked > clean).all() if eps else torch.equal(point, CENTERS)


def test_the_center_is_kept_where_the_attack_can_only_lose() -> None:
    """A pit all around: the center is the worst point already, and a random start never comes back to it."""

    class Peak(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = 50 * (x - 0.5).abs().sum(1)
            return torch.stack([score, torch.zeros_like(score)], 1)

    center = torch.full((1, 2), 0.5)
    point = worst_for_model(Peak(), center, torch.tensor([0]), Ball(0.1), 1, random())
    assert torch.equal(point, center)
