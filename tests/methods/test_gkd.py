"""GKD: worked numbers, its limits, and what on-policy training is."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.language.gkd import GKD
from understudy.models.memo import Memo
from understudy.models.outputs import View
from understudy.objectives.divergences import kl
from understudy.sources import Cast
from understudy.testing import tiny_lm
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

ROWS, LENGTH, CLASSES = 4, 8, 5


def value(beta: float, t: Tensor, s: Tensor) -> Tensor:
    """The term at one counted position a sequence: t, s (N, V) -> (N,)."""
    views = {"clean": torch.zeros(len(t), 2, dtype=torch.int64)}
    mask = torch.tensor([[True, False]]).expand(len(t), 2)
    batch = us.Batch(views, torch.arange(len(t)), masks={"clean": mask})
    said = (us.Outputs({"clean": View(torch.stack((x, torch.zeros_like(x)), 1))}) for x in (s, t))
    return GKD(beta=beta).terms(*said, batch)["soft"]


def rows(seed: int, count: int = 6) -> Tensor:
    return 2 * torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("beta", "expected"),
    [(0.0, 0.270525), (1.0, 0.266542), (0.1, 0.024101), (0.5, 0.065599), (0.9, 0.023823)],
)
def test_the_worked_numbers(beta: float, expected: float) -> None:
    t, s = torch.tensor([[2.0, 1, 0]]).double(), torch.tensor([[1.0, 1.5, 0.5]]).double()
    assert value(beta, t, s).item() == pytest.approx(expected, abs=5e-7)


def test_the_jsd_goes_over_into_the_two_kls() -> None:
    t, s = rows(0), rows(1)
    forward, reverse = value(0.0, t, s), value(1.0, t, s)
    assert torch.allclose(value(1e-6, t, s) / 1e-6, forward, rtol=1e-3)
    assert torch.allclose(value(1 - 1e-6, t, s) / 1e-6, reverse, rtol=1e-3)
    assert torch.allclose(value(0.3, t, s), value(0.7, s, t))


def test_it_is_bounded_where_the_kl_is_not() -> None:
    t, s = torch.tensor([[1e4, 0.0]]).double(), torch.tensor([[0.0, 1e4]]).double()
    for beta in (0.1, 0.5, 0.9):
        most = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert value(beta, t, s).item() == pytest.approx(most)


def batch() -> us.Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(CLASSES, (ROWS, LENGTH), generator=generator)
    mask = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    mask[:, 2:6] = True
    return us.Batch({"clean": tokens}, torch.arange(ROWS), masks={"clean": mask})


def gradients(method: us.Objective, step: int = 0) -> list[Tensor]:
    """Of the student's parameters, after one step's `contribute`."""
    student, teacher = tiny_lm(CLASSES, seed=1).double(), tiny_lm(CLASSES, seed=2).double()
    player = Player(student, teacher, method, method.source(0.0, 1.0), TrainingSettings())
    random = Randomness(5)
    random.begin(step)
    with player:
        player.contribute(batch(), ROWS, random)
    return [p.grad for p in student.parameters() if p.grad is not None]


def test_lambda_0_with_forward_kl_is_word_level_distillation_on_the_data() -> None:
    student, teacher, shown = tiny_lm(CLASSES, seed=1).double(), tiny_lm(CLASSES, seed=2).double(), batch()
    mask = shown.masks["clean"]
    loss = kl(teacher(shown.clean)[mask].detach(), student(shown.clean)[mask]).mean()
    expected = torch.autograd.grad(loss, list(student.parameters()))
    for found, gradient in zip(gradients(GKD(lam=0.0, beta=0.0)), expected, strict=True):
        assert torch.allclose(found, gradient)


def test_on_policy_the_gradient_is_that_on_the_students_own_text_held_fixed() -> None:
    method = GKD(lam=1.0, beta=1.0)
    student, teacher = tiny_lm(CLASSES, seed=1).double(), tiny_lm(CLASSES, seed=2).double()
    random = Randomness(5)
    random.begin(0)
    shown = method.source(0.0, 1.0).show(batch(), Cast(student, Memo(teacher)), random)
    mask = shown.masks["clean"]
    assert not torch.equal(shown.clean, batch().clean)
    p, q = teacher(shown.clean).detach().log_softmax(2), student(shown.clean).log_softmax(2)
    values = (q.exp() * (q - p)).sum(2).masked_fill(~mask, 0).sum(1) / mask.sum(1)
    expected = torch.autograd.grad(values.mean(), list(student.parameters()))
    for found, gradient in zip(gradients(method), expected, strict=True):
        assert torch.allclose(found, gradient)


def test_lambda_decides_and_is_not_ignored() -> None:
    fixed, own = GKD(lam=0.0), GKD(lam=1.0)
    mixed = [gradients(GKD(lam=0.5), step) for step in range(12)]

    def alike(a: list[Tensor], b: list[Tensor]) -> bool:
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    on_data = [alike(found, gradients(fixed, step)) for step, found in enumerate(mixed)]
    on_own = [alike(found, gradients(own, step)) for step, found in enumerate(mixed)]
    assert [not x for x in on_data] == on_own
    assert 2 <= sum(on_own) <= 10


def test_the_end_token_is_the_datas_unless_stated() -> None:
    assert GKD().with_end(3).end == 3
    assert GKD(end=2).with_end(3).end == 2
    assert GKD().with_end(None).end is None


def test_equal_models_are_not_moved() -> None:
    student = tiny_lm(CLASSES, seed=1).double()
    for beta in (0.0, 0.5, 1.0):
        player = Player(
            student,
            copy.deepcopy(student),
            GKD(lam=1.0, beta=beta),
            GKD(lam=1.0).source(0.0, 1.0),
            TrainingSettings(),
        )
        random = Randomness(0)
        random.begin(0)
        with player:
            share = player.contribute(batch(), ROWS, random)
        assert share["soft"] == 0
        assert all(p.grad is None or not p.grad.any() for p in student.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lam": "1.5"}, "share of rollouts must be from 0 to 1, found 1.5"),
        ({"beta": "-1"}, "beta must be from 0 to 1"),
        ({"temperature": "-1"}, "temperature of rollouts"),
        ({"otherwise": "nobody"}, "unknown gkd.otherwise 'nobody'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_method("gkd", options)
