"""What an objective settles before its loss is taken, and views that the student answers one step ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.objectives.partner import Partner, Turn
from understudy.sources import Cast, Source
from understudy.testing import tiny_conv, tiny_mlp
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

ROWS = 6


@dataclass(frozen=True)
class Doubled(Source):
    """Shows the same images once more, as another view."""

    def show(self, batch: us.Batch, cast: Cast, random: Randomness) -> us.Batch:
        return batch.with_view("again", batch.clean)


@dataclass(frozen=True)
class Pull(us.Objective):
    """Squared distance to the teacher, now and one step ahead."""

    rate: float = 0.1
    first_order: bool = False

    @property
    def needs(self) -> us.Needs:
        return us.Needs(student=("clean", "again"), ahead=("again",), first_order=self.first_order)

    def source(self, low: float, high: float) -> Source:
        return Doubled()

    def ahead(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        assert set(student.views) == {"clean"}
        return {"step": self.rate * self.apart(student["clean"], teacher)}

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        return {name: self.apart(student[name], teacher) for name in ("clean", "again")}

    def apart(self, view: Any, teacher: us.Outputs) -> Tensor:
        return (view.logits - teacher.logits).square().mean(1)


@dataclass(frozen=True)
class Judged(us.Objective):
    """Distances weighted by what the student says, settled first; a player that watches from behind."""

    weight: float = 2.0

    needs = us.Needs(settled=True)

    def settle(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        assert not student.logits.requires_grad
        return {"judged": self.weight * student.logits.softmax(1).amax(1)}

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        return {"soft": batch.notes["judged"] * (student.logits - teacher.logits).square().mean(1)}

    @property
    def partners(self) -> Mapping[str, Partner]:
        return {"watcher": Watcher(after=True)}


@dataclass(frozen=True, kw_only=True)
class Watcher(Partner):
    def build(self, batch: us.Batch, cast: Cast) -> nn.Module:
        return nn.Linear(1, 1)

    def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
        return {"seen": own(turn.batch.notes["judged"][:, None]).squeeze(1)}


def batch() -> us.Batch:
    inputs = torch.rand(ROWS, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return us.Batch({"clean": inputs}, torch.arange(ROWS))


def player(objective: us.Objective, student: nn.Module | None = None, **settings: Any) -> Player:
    own = tiny_mlp(seed=2) if student is None else student
    chosen = TrainingSettings(**{"optimizer": "sgd", "lr": 0.1, **settings})
    return Player(own, tiny_mlp(seed=1), objective, objective.source(0.0, 1.0), chosen)


def gradient(stage: Player) -> Tensor:
    with stage:
        stage.contribute(batch(), ROWS, Randomness(0))
    return torch.cat([p.grad.flatten() for p in stage.student.parameters() if p.grad is not None])


def by_hand(second_order: bool) -> Tensor:
    """The gradient of L(w) + L(w - 0.1 grad L(w)), by double differentiation over one flat vector."""
    student, teacher, seen = tiny_mlp(seed=2), tiny_mlp(seed=1), batch()
    names, values = zip(*student.named_parameters(), strict=True)
    target = teacher(seen.clean).detach()

    def loss(*at: Tensor) -> Tensor:
        said = torch.func.functional_call(student, dict(zip(names, at, strict=True)), (seen.clean,))
        return (said - target).square().mean()

    now = loss(*values)
    down = torch.autograd.grad(now, values, create_graph=True)
    down = down if second_order else tuple(x.detach() for x in down)
    ahead = loss(*(w - 0.1 * g for w, g in zip(values, down, strict=True)))
    return torch.cat([g.flatten() for g in torch.autograd.grad(now + ahead, values)])


@pytest.mark.parametrize("second_order", [True, False])
def test_views_are_answered_one_step_ahead(second_order: bool) -> None:
    found = gradient(player(Pull(first_order=not second_order)))
    torch.testing.assert_close(found, by_hand(second_order), rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found, by_hand(not second_order), rtol=1e-3, atol=1e-5)


def test_a_step_ahead_lowers_the_loss_and_moves_no_running_statistics() -> None:
    student = tiny_conv(seed=3)
    counted = student.get_buffer("norm.num_batches_tracked").clone()
    stage = player(Pull(rate=0.01), student)
    with stage:
        shares = stage.contribute(batch(), ROWS, Randomness(0))
    assert shares["again"] < shares["clean"]
    assert student.get_buffer("norm.num_batches_tracked") == counted + 1


def test_steps_ahead_take_whole_batches_and_read_no_features() -> None:
    with pytest.raises(us.InputError, match="relates examples to one another"):
        player(Pull(), accumulate=2)

    @dataclass(frozen=True)
    class Tapping(Pull):
        needs = us.Needs(student=("clean", "again"), ahead=("again",), features=("embedding",))

    with pytest.raises(us.InputError, match="no features to be tapped"):
        player(Tapping())

    @dataclass(frozen=True)
    class Mute(us.Objective):
        needs = us.Needs(ahead=("clean",), student=("clean",))

        def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
            return {}

    with pytest.raises(us.InputError, match="Mute has views one step ahead: define `ahead`"):
        gradient(player(Mute()))


def test_in_a_sum_one_part_steps_ahead() -> None:
    alone, more = gradient(player(Pull())), gradient(player(1.0 * Pull() + 0.0 * us.SoftTargets()))
    torch.testing.assert_close(more, alone)
    both = Pull() + Pull(rate=0.2)
    with pytest.raises(us.InputError, match="two objectives in this sum each step ahead"):
        gradient(player(both))
    assert (Pull(first_order=True) + us.SoftTargets()).needs.first_order


def test_what_is_settled_is_a_constant_that_terms_and_later_players_read() -> None:
    stage = player(Judged())
    with stage:
        stage.contribute(batch(), ROWS, Randomness(0))
        found = torch.cat([p.grad.flatten() for p in stage.student.parameters() if p.grad is not None])
        before = stage.partners.networks["watcher"].weight.clone()
        stage.step(0.0)
        assert not torch.equal(stage.partners.networks["watcher"].weight, before)
    student, seen = tiny_mlp(seed=2), batch()
    said, target = student(seen.clean), tiny_mlp(seed=1)(seen.clean).detach()
    weight = 2.0 * said.detach().softmax(1).amax(1)
    loss = (weight * (said - target).square().mean(1)).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(student.parameters()))])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(player(Judged() + us.SoftTargets() * 0.0)), expected)
