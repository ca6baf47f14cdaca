"""Gradient ascent: starts in the ball, climbs, keeps the best, stays put where nothing pulls."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from understudy.attacks import Ascent, Ball, ascend, climb, start_point
from understudy.data.randomness import Randomness
from understudy.errors import InputError


def random(seed: int = 0) -> Randomness:
    made = Randomness(seed)
    made.begin(0)
    return made


def bumpy(point: Tensor) -> Tensor:
    """Many local maxima; an l_inf ascent of a fixed step overshoots them."""
    return (torch.sin(25 * point) + 0.3 * point).flatten(1).sum(1)


CENTER = torch.rand(8, 1, 3, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("start", ["center", "uniform", "normal"])
def test_every_start_lies_in_the_ball_and_the_range(norm: str, start: str) -> None:
    ball = Ball(0.2, norm)
    point = start_point(CENTER, ball, start, random())
    assert ((point >= 0) & (point <= 1)).all()
    away = (point - CENTER).flatten(1)
    size = away.abs().amax(1) if norm == "linf" else away.norm(dim=1)
    assert (size <= 0.2 + 1e-6).all()
    assert (start == "center") == torch.equal(point, CENTER)
    if start == "normal":
        assert size.max() < 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_uniform_start_is_uniform(norm: str) -> None:
    """The share of starts within radius r of the center is (r / eps)^n, in n = 2 dimensions a quarter at half."""
    center = torch.zeros(20_000, 2)
    point = start_point(center, Ball(0.4, norm, -1.0, 1.0), "uniform", random())
    size = point.abs().amax(1) if norm == "linf" else point.norm(dim=1)
    assert (size <= 0.2).float().mean().item() == pytest.approx(0.25, abs=0.015)
    assert size.max().item() == pytest.approx(0.4, abs=1e-3)
    assert point.mean(0).abs().max() < 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_score_is_driven_to_its_exact_maximum(norm: str) -> None:
    weights = torch.tensor([1.0, -2.0, 2.0])
    center = torch.full((4, 3), 0.5)
    found = ascend(lambda x: x @ weights, center, Ball(0.3, norm), Ascent(80), random())
    best = 0.5 * weights.sum() + 0.3 * (weights.abs().sum() if norm == "linf" else weights.norm())
    torch.testing.assert_close(found @ weights, best.expand(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_best_iterate_never_gets_worse_with_more_steps(norm: str) -> None:
    ball = Ball(0.3, norm)
    start = start_point(CENTER, ball, "uniform", random())
    reached = [
        climb(bumpy, start, CENTER, ball, Ascent(steps, 0.1, keep="best"))[1] for steps in (0, 1, 3, 10, 30)
    ]
    assert all((later >= sooner).all() for sooner, later in itertools.pairwise(reached))
    assert (reached[-1] > reached[0]).all()
    point, value = climb(bumpy, start, CENTER, ball, Ascent(30, 0.1, keep="best"))
    torch.testing.assert_close(value, bumpy(point))
    last, none = climb(bumpy, start, CENTER, ball, Ascent(30, 0.1))
    assert none is None
    assert (value >= bumpy(last)).all()
    assert (value > bumpy(last)).any()  # the last iterate had overshot somewhere


def test_what_is_climbed_and_what_is_kept_may_differ() -> None:
    """Climbing x, kept is the iterate nearest to 0.52."""
    center = torch.full((2, 1), 0.5)
    found, value = climb(
        lambda x: (x[:, 0], -(x[:, 0] - 0.52).abs()), center, center, Ball(0.1), Ascent(10, 0.01, keep="best")
    )
    torch.testing.assert_close(found, torch.full((2, 1), 0.52))
    torch.testing.assert_close(value, torch.zeros(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_zero_gradient_stays_put(norm: str, keep: str) -> None:
    found = ascend(
        lambda x: 0 * x.flatten(1).sum(1),
        CENTER,
        Ball(0.2, norm),
        Ascent(5, start="center", keep=keep),
        random(),
    )
    assert torch.equal(found, CENTER)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_radius_zero_is_the_center_itself(norm: str) -> None:
    assert torch.equal(ascend(bumpy, CENTER, Ball(0.0, norm), Ascent(), random()), CENTER)
    assert torch.equal(start_point(CENTER, Ball(0.0, norm), "normal", random()), CENTER)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_restarts_keep_the_best_of_each_example(keep: str) -> None:
    ball, one = Ball(0.3), Ascent(4, 0.05, keep=keep)
    source = random()
    runs = [
        climb(bumpy, start_point(CENTER, ball, "uniform", source), CENTER, ball, one)[0] for _ in range(4)
    ]
    values = torch.stack([bumpy(point) for point in runs])
    found = ascend(bumpy, CENTER, ball, Ascent(4, 0.05, restarts=4, keep=keep), random())
    torch.testing.assert_close(bumpy(found), values.amax(0))
    assert len(set(values.argmax(0).tolist())) > 1  # the examples disagree about the best run


def test_examples_do_not_touch_each_other() -> None:
    settings = Ascent(6, 0.05, keep="best", start="center")
    whole = ascend(bumpy, CENTER, Ball(0.3), settings, random())
    single = torch.cat([ascend(bumpy, x[None], Ball(0.3), settings, random()) for x in CENTER])
    torch.testing.assert_close(whole, single)


def test_neither_the_center_nor_a_gradient_is_left_behind() -> None:
    center = CENTER.clone()
    weight = torch.ones((), requires_grad=True)
    found = ascend(lambda x: weight * bumpy(x), center, Ball(0.3), Ascent(3, restarts=2), random())
    assert torch.equal(center, CENTER)
    assert not center.requires_grad
    assert not found.requires_grad
    assert weight.grad is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "steps must be >= 0"),
        ({"restarts": 0}, "restarts >= 1"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"step_size": float("nan")}, "step_size must be above 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ascent(**settings)
