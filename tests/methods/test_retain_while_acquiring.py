"""Retain while acquiring: the step ahead, what the memory does, and that no data are read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.methods import make_method
from understudy.methods.data_free.retain_while_acquiring import (
    Dreamt,
    RetainWhileAcquiring,
    logit_distance,
)
from understudy.models.functional import learning, said_at
from understudy.models.generator import Replay
from understudy.objectives.partner import Turn
from understudy.sources import Cast
from understudy.testing import tiny_conv, tiny_mlp
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

ROWS = 12


def batch(seed: int = 0, progress: float = 0.5) -> us.Batch:
    inputs = torch.rand(ROWS, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return us.Batch({"clean": inputs}, torch.arange(ROWS), None, progress)


def smooth(seed: int) -> nn.Sequential:
    """A student without kinks or batch norm."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.Tanh(), nn.Linear(9, 5))


def player(method: us.Objective, student: nn.Module | None = None, **settings: Any) -> Player:
    chosen = TrainingSettings(**{"optimizer": "sgd", "lr": 0.05, **settings})
    student = smooth(2) if student is None else student
    return Player(student, tiny_conv(seed=1), method, method.source(0.0, 1.0), chosen)


def train(method: us.Objective, steps: int, *, data: int = 0, student: nn.Module | None = None) -> Player:
    """After that many steps on made-up data."""
    found, random = player(method, student), Randomness(0)
    with found:
        for step in range(steps):
            random.begin(step)
            found.contribute(batch(data + step if data else 0), ROWS, random)
            found.step(0.0)
    return found


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_distance_is_the_mean_absolute_difference_and_sees_a_constant() -> None:
    t, s = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.5, 0.5]])
    assert logit_distance(t, s).tolist() == [1.5, 0.5]
    assert logit_distance(t, t + 3.0).tolist() == [3.0, 3.0]
    assert logit_distance(t.bfloat16(), s.bfloat16()).dtype == torch.float32


def gradients(method: RetainWhileAcquiring) -> tuple[Tensor, Player, us.Batch]:
    """The student's gradient in its second step, where there is something to remember; and the batch shown."""
    found, random = train(method, 1), Randomness(0)
    with found:
        random.begin(1)
        found.contribute(batch(), ROWS, random)
        assert found._last is not None
    grads = [p.grad for p in found.student.parameters()]
    return torch.cat([g.flatten() for g in grads if g is not None]), found, found._last[0]


def by_hand(found: Player, seen: us.Batch, rate: float, second_order: bool, retain: float = 1.0) -> Tensor:
    """The gradient by Hessian-vector products instead of a graph through the step."""
    student, teacher = found.student, found.teacher
    assert teacher is not None
    names, own = zip(*learning(student).items(), strict=True)
    teacher.eval()

    def distance(at: Mapping[str, Tensor], view: str) -> Tensor:
        return logit_distance(
            teacher(seen.views[view]).detach(), said_at(student, at, seen.views[view])
        ).mean()

    acquire = torch.autograd.grad(
        distance(dict(zip(names, own, strict=True)), "clean"), own, create_graph=True
    )
    ahead = {n: (p - rate * g).detach().requires_grad_() for n, p, g in zip(names, own, acquire, strict=True)}
    kept = torch.autograd.grad(retain * distance(ahead, "memory"), list(ahead.values()))
    product = torch.autograd.grad(acquire, own, grad_outputs=kept)
    share = rate if second_order else 0.0
    parts = [a + r - share * h for a, r, h in zip(acquire, kept, product, strict=True)]
    return torch.cat([x.detach().flatten() for x in parts])


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("second_order", [True, False])
def test_the_gradient_is_that_of_the_paper(rate: float, second_order: bool) -> None:
    """g_acq + (I - a H_acq) g_ret(w'); without the Hessian at first order; plain replay at a = 0."""
    method = RetainWhileAcquiring(inner_lr=rate, first_order=not second_order, retain=0.7)
    found, stage, seen = gradients(method)
    assert seen.notes["kept"].all()
    expected = by_hand(stage, seen, rate, second_order, 0.7)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    if rate:
        assert not torch.allclose(found, by_hand(stage, seen, rate, not second_order, 0.7), rtol=1e-3)


def test_without_weight_on_the_memory_it_is_ordinary_adversarial_distillation() -> None:
    plain, empty = RetainWhileAcquiring(retain=0.0), RetainWhileAcquiring(keep_every=1000)
    assert plain.needs == us.Needs()
    one, other = train(plain, 3), train(replace(empty, student_steps=1000), 1)
    assert set(one.objective.needs.student) == {"clean"}
    with other:
        assert other._last is None
    first = train(replace(plain, student_steps=1000), 1)
    torch.testing.assert_close(weights(first.student), weights(other.student))  # nothing to remember yet


def test_equal_models_have_nothing_to_learn() -> None:
    twin = tiny_conv(seed=1)
    twin.eval()

    class Eval(nn.Module):
        """The teacher's twin, whose batch norm stays as it is."""

        def __init__(self) -> None:
            super().__init__()
            self.net = twin

        def train(self, mode: bool = True) -> Eval:
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    stage = train(RetainWhileAcquiring(inner_lr=0.5), 3, student=Eval())
    torch.testing.assert_close(weights(stage.student), weights(tiny_conv(seed=1)))


def test_no_value_of_the_data_is_read() -> None:
    one, other = (train(RetainWhileAcquiring(student_steps=2), 5, data=data) for data in (10, 90))
    assert torch.equal(weights(one.student), weights(other.student))
    nets = [stage.partners.networks["generator"] for stage in (one, other)]
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(one.student), weights(smooth(2)))


def test_the_generator_moves_in_its_turns_towards_what_differs_and_the_memory_sends_it_nothing() -> None:
    method = RetainWhileAcquiring(student_steps=3, keep_every=2, statistics=0.0, balance=0.0, memory=2)
    stage, random = player(method), Randomness(0)
    moved, kept = [], []
    with stage:
        for step in range(7):
            random.begin(step)
            stage.contribute(batch(), ROWS, random)
            own = stage.partners.networks["generator"]
            assert isinstance(own, Replay)
            assert all(p.grad is None for p in own.parameters())
            before = weights(own)
            stage.step(0.0)
            moved.append(not torch.equal(before, weights(own)))
            kept.append(int(own.stored))
    assert moved == [True, False, False, True, False, False, True]
    assert kept == [12, 12, 12, 12, 12, 12, 24]


def test_a_generator_alone_drives_the_two_apart() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Resting(RetainWhileAcquiring):
        def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
            return {name: 0.0 * x for name, x in super().terms(student, teacher, batch).items()}

    method = Resting(student_steps=1, statistics=0.0, balance=0.0, generator_lr=1e-2, retain=0.0)
    stage, random, values = player(method), Randomness(0), []
    with stage:
        for step in range(40):
            random.begin(step)
            stage.contribute(batch(), ROWS, random)
            assert stage._last is not None
            _, said, heard = stage._last
            values.append(logit_distance(heard.logits, said.logits).mean().item())
            stage.step(0.0)
    assert sum(values[-5:]) > 1.2 * sum(values[:5])


def test_the_students_statistics_move_once_a_step_and_the_teachers_never() -> None:
    student = tiny_conv(seed=3)
    counted = student.get_buffer("norm.num_batches_tracked").clone()
    stage = train(RetainWhileAcquiring(), 6, student=student)
    assert student.get_buffer("norm.num_batches_tracked") == counted + 6
    assert stage.teacher is not None
    untouched = tiny_conv(seed=1).state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in stage.teacher.state_dict().items())
    assert not any(part._forward_pre_hooks for part in stage.teacher.modules())


def test_what_is_shown_lies_in_the_datas_range() -> None:
    stage = player(RetainWhileAcquiring())
    with stage:
        stage.partners.ready(batch(), stage.cast())
        own = stage.partners.networks["generator"]
        assert isinstance(own, Replay)
        random = Randomness(0)
        random.begin(0)
        shown = Dreamt(-2.0, 3.0).show(batch(), stage.cast(), random)
        assert not shown.notes["kept"].any()
        assert torch.equal(shown.views["memory"], shown.clean)
        own.keep(shown.clean)
        again = Dreamt(-2.0, 3.0).show(batch(), stage.cast(), random)
    assert ((shown.clean > -2) & (shown.clean < 3)).all()
    assert shown.clean.min() < -0.5
    assert shown.clean.max() > 1.5
    assert again.notes["kept"].all()
    rows = {tuple(row.tolist()) for row in shown.clean.flatten(1)}
    assert all(tuple(row.tolist()) in rows for row in again.views["memory"].flatten(1))


def test_every_weight_of_the_generator_has_its_term() -> None:
    for options, names in (
        ({}, {"differ", "statistics", "balance"}),
        ({"one_hot": "0.5", "statistics": "0", "balance": "0"}, {"differ", "one_hot"}),
    ):
        method = make_method("retain_while_acquiring", options)
        stage, random = player(method), Randomness(0)
        with stage:
            stage.contribute(batch(), ROWS, random)
            assert stage._last is not None
            partner, net = method.partners["generator"], stage.partners.networks["generator"]
            terms = partner.terms(net, Turn(*stage._last, stage.cast(), random))
        assert set(terms) == names
        assert all(values.shape == (ROWS,) for values in terms.values())
        assert (terms["differ"] < 0).all()


def test_what_does_not_fit_is_named() -> None:
    for options, message in (
        ({"retain": "-1"}, "retain must be"),
        ({"memory": "0"}, "memory must be 1 or more, found 0"),
        ({"generator_lr": "0"}, "generator_lr must be"),
    ):
        with pytest.raises(us.InputError, match=message):
            make_method("retain_while_acquiring", options)
    with pytest.raises(us.InputError, match="state a finite valid range"):
        RetainWhileAcquiring().source(float("-inf"), float("inf"))
    partner = RetainWhileAcquiring().partners["generator"]
    words = us.Batch({"clean": torch.zeros(2, 3, dtype=torch.int64)}, torch.arange(2))
    with pytest.raises(us.InputError, match="makes inputs of floats"):
        partner.build(words, Cast(tiny_mlp(), None))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been() -> None:
    method = RetainWhileAcquiring(student_steps=2, keep_every=1, memory=2)
    straight = train(method, 6)
    first = train(method, 3)
    state = copy.deepcopy(first.state())
    second, random = player(method, smooth(9)), Randomness(0)
    second.restore(state)
    with second:
        for step in range(3, 6):
            random.begin(step)
            second.contribute(batch(), ROWS, random)
            second.step(0.0)
    assert torch.equal(weights(second.student), weights(straight.student))
    one, other = (stage.partners.networks["generator"].state_dict() for stage in (second, straight))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    "options", [{"retain": "0", "one_hot": "1"}, {"first_order": "true", "inner_lr": "0.5"}]
)
def test_the_options_that_change_the_terms_pass_the_battery(options: dict[str, str]) -> None:
    us.testing.check_method(make_method("retain_while_acquiring", options))
