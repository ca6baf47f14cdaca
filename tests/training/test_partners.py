"""Players beside the student: turns, whose gradients go where, and a run cut in two."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.errors import InputError
from understudy.objectives.divergences import kl
from understudy.objectives.partner import Partner, Turn
from understudy.sources import AsIs
from understudy.sources.base import Cast
from understudy.training.checkpoint import load_checkpoint
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

Nets = Callable[..., nn.Module]


@dataclass(frozen=True, kw_only=True)
class Guess(Partner):
    """Learns to tell the student's logits from the teacher's."""

    def build(self, batch: us.Batch, cast: Cast) -> nn.Module:
        said = cast.teacher(batch.clean) if cast.teacher is not None else None
        assert said is not None
        return nn.Linear(said.shape[1], 1)

    def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
        looked = torch.cat([own(turn.student.logits), -own(turn.teacher.logits)])
        return {"told": nn.functional.softplus(looked.squeeze(1))}


@dataclass(frozen=True, kw_only=True)
class Fooled(us.Method):
    """Soft targets, and a partner that looks on."""

    every: int = 1
    steps: int = 1
    after: bool = False
    lr: float = 1e-2

    @property
    def partners(self) -> Mapping[str, Partner]:
        return {"guess": Guess(every=self.every, steps=self.steps, after=self.after, lr=self.lr)}

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        assert "guess" in batch.partners
        return {"soft": kl(teacher.logits, student.logits)}


def _batch(nets: Nets) -> us.Batch:
    width = next(nets(1).parameters()).shape[1]
    return us.Batch(
        {"clean": torch.rand(8, width, generator=torch.Generator().manual_seed(0))}, torch.arange(8)
    )


def _player(nets: Nets, objective: us.Objective, **settings: Any) -> Player:
    return Player(nets(2), nets(1), objective, AsIs(), TrainingSettings(**settings), {})


def _turns(nets: Nets, objective: us.Objective, steps: int) -> list[Tensor]:
    """The partner's weights after each of the student's steps."""
    from understudy.data.randomness import Randomness

    player, random = _player(nets, objective), Randomness(0)
    seen = []
    with player:
        for step in range(steps):
            random.begin(step)
            player.contribute(replace(_batch(nets), progress=step / steps), 8, random)
            player.step(step / steps)
            seen.append(next(player.partners.networks["guess"].parameters()).detach().clone())
    return seen


def test_a_partner_takes_a_turn_every_so_many_steps(make_net: Nets) -> None:
    seen = _turns(make_net, Fooled(every=2), 5)
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert moved == [False, True, False, True]


def test_several_steps_a_turn_are_several_steps(make_net: Nets) -> None:
    one, three = _turns(make_net, Fooled(), 1)[0], _turns(make_net, Fooled(steps=3), 1)[0]
    assert not torch.equal(one, three)


def test_after_sees_the_student_that_was_asked_and_before_learns_first(make_net: Nets) -> None:
    assert torch.equal(_turns(make_net, Fooled(), 1)[0], _turns(make_net, Fooled(after=True), 1)[0])


def test_the_student_learns_as_if_alone(make_net: Nets, train_it: Callable[..., Any]) -> None:
    with_one, rows = train_it(make_net(2), make_net(1), Fooled(), epochs=2)
    alone, other = train_it(make_net(2), make_net(1), us.SoftTargets(), epochs=2)
    assert all(torch.equal(with_one[name], alone[name]) for name in alone)
    assert [row["loss"] for row in rows] == [row["loss"] for row in other]


def test_a_run_cut_in_two_ends_bit_for_bit_the_same(
    make_net: Nets, train_it: Callable[..., Any], tmp_path: Path
) -> None:
    objective = Fooled(every=2, after=True)
    whole, rows = train_it(make_net(2), make_net(1), objective, folder=tmp_path / "whole")

    def interrupt(done: int, total: int, loss: float | None) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_it(make_net(2), make_net(1), objective, folder=tmp_path / "cut", tick=interrupt)
    again, resumed = train_it(make_net(2), make_net(1), objective, folder=tmp_path / "cut")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert [r["loss"] for r in resumed] == [r["loss"] for r in rows]
    ends = [load_checkpoint(tmp_path / name / "checkpoint") for name in ("whole", "cut")]
    guesses = [end["partners"]["guess"]["network"]["weight"] for end in ends if end is not None]
    assert torch.equal(*guesses)


def test_what_cannot_be_played_is_refused(make_net: Nets) -> None:
    for more in ({"accumulate": 2}, {"devices": 2}):
        with pytest.raises(InputError, match="take turns on whole batches"):
            _player(make_net, Fooled(), **more)
    with pytest.raises(InputError, match=r"two objectives in this sum bring the players \['guess'\]"):
        _player(make_net, Fooled() + Fooled())
    for wrong in ({"every": 0}, {"steps": 0}, {"lr": 0.0}, {"lr": float("nan")}):
        with pytest.raises(InputError, match="partner"):
            Guess(**wrong)
    with pytest.raises(InputError, match="optimizer"):
        Guess(optimizer="lion")
    with pytest.raises(InputError, match="weight_decay"):
        Guess(weight_decay=-1.0)


@dataclass(frozen=True, kw_only=True)
class Idle(Guess):
    def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
        return {"nothing": turn.cast.student(turn.batch.clean).sum(1)}


@dataclass(frozen=True, kw_only=True)
class WithIdle(Fooled):
    @property
    def partners(self) -> Mapping[str, Partner]:
        return {"guess": Idle()}


def test_a_partner_that_no_gradient_reaches_is_told(make_net: Nets) -> None:
    with pytest.raises(InputError, match="no gradient reaches the player 'guess'"):
        _turns(make_net, WithIdle(), 1)


def test_the_battery_holds_a_method_with_a_partner() -> None:
    held = us.testing.check_method(Fooled())
    assert held["players"] == "guess learn in turn; micro-batches refused"


@dataclass(frozen=True)
class Averaged(us.Objective):
    """Soft targets; the weights are averaged over the second half."""

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        return {"soft": kl(teacher.logits, student.logits)}

    average_from = 0.5


def test_weights_are_averaged_over_the_last_part_and_the_path_is_the_same(
    make_net: Nets, train_it: Callable[..., Any]
) -> None:
    seen: list[dict[str, Tensor]] = []
    student = make_net(2)

    def look(done: int, total: int, loss: float | None) -> None:
        if done > total / 2:
            seen.append({n: p.detach().clone() for n, p in student.named_parameters()})

    found, rows = train_it(student, make_net(1), Averaged(), tick=look, epochs=4)
    _, plain = train_it(make_net(2), make_net(1), us.SoftTargets(), epochs=4)
    assert [row["loss"] for row in rows] == [row["loss"] for row in plain]
    for name in seen[0]:
        mean = torch.stack([one[name].double() for one in seen]).mean(0)
        assert torch.allclose(found[name].double(), mean, atol=1e-6)
    assert any(not torch.equal(found[name], seen[-1][name]) for name in seen[0])


def test_an_average_that_starts_at_the_end_is_refused(make_net: Nets) -> None:
    from understudy.training.averaging import Average

    with pytest.raises(InputError, match="share of the run"):
        Average(make_net(1), 1.0)


def test_a_team_answers_with_every_head() -> None:
    from understudy.models.ensemble import Team
    from understudy.models.memo import Memo

    torch.manual_seed(0)
    members = [nn.Linear(4, 3) for _ in range(3)]
    x = torch.randn(6, 4)
    view = Memo(Team(members)).view(x)
    assert list(view.heads) == ["0", "1", "2"]
    assert all(torch.equal(view.heads[str(i)], m(x)) for i, m in enumerate(members))
    mean = torch.stack([m(x).softmax(1) for m in members]).mean(0)
    assert torch.allclose(view.logits.softmax(1), mean, atol=1e-6)
    with pytest.raises(InputError, match="same classes apart"):
        Team([nn.Linear(4, 3), nn.Linear(4, 2)])(x)
    with pytest.raises(InputError, match="one member"):
        Team([])


@dataclass(frozen=True)
class ReadsTeam(us.Objective):
    needs = us.Needs(heads=("*",))

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> Mapping[str, Tensor]:
        return {"soft": kl(teacher.logits, student.logits)}


def test_a_lone_teacher_is_refused_where_several_are_read(make_net: Nets) -> None:
    with pytest.raises(InputError, match="reads several teachers"):
        _turns(make_net, ReadsTeam(), 1)
    with pytest.raises(InputError, match=r"has no head \['0'\]"):
        _turns(make_net, replace_needs("0"), 1)


def replace_needs(name: str) -> us.Objective:
    kind = type("ReadsOne", (ReadsTeam,), {"needs": us.Needs(heads=(name,))})
    return dataclass(frozen=True)(kind)()


def test_the_share_kept_apart_is_drawn_from_the_seed() -> None:
    data = us.DataSet("made up", "train", torch.arange(20.0)[:, None] / 20, torch.arange(20) % 2)
    left, held = data.split_off(0.25, seed=3)
    assert held is not None
    assert (len(left), len(held)) == (15, 5)
    assert (
        sorted([*left.stored.flatten().tolist(), *held.stored.flatten().tolist()])
        == data.stored.flatten().tolist()
    )
    assert torch.equal(held.stored, data.split_off(0.25, seed=3)[1].stored)  # type: ignore[union-attr]
    assert data.split_off(0.0, 0) == (data, None)
    for wrong in (-0.1, 1.0, 0.001):
        with pytest.raises(InputError, match="share"):
            data.split_off(wrong, 0)


def test_labels_are_hidden_evenly_over_the_classes() -> None:
    labels = torch.tensor([0] * 10 + [1] * 6 + [2] * 4)
    data = us.DataSet("made up", "train", torch.rand(20, 2), labels)
    some = data.hide_labels(6, seed=0)
    assert some.partly
    assert some.labels is not None
    assert torch.bincount(some.labels + 1).tolist() == [14, 2, 2, 2]
    assert torch.bincount(data.hide_labels(15, 0).labels + 1).tolist() == [5, 6, 5, 4]  # type: ignore[operator]
    assert some.hide_labels(3, 1).labels.ge(0).sum() == 3  # type: ignore[union-attr]
    for wrong in (0, 21):
        with pytest.raises(InputError, match="labels to keep"):
            data.hide_labels(wrong, 0)
    with pytest.raises(InputError, match="has no labels"):
        replace(data, labels=None).hide_labels(3, 0)


def test_in_half_precision_everybody_sees_the_weights_as_they_are_now(make_net: Nets) -> None:
    """Autocast keeps casts of the weights until it ends; a partner's step must not be hidden by one."""
    seen: list[float] = []

    @dataclass(frozen=True, kw_only=True)
    class Watched(Guess):
        def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
            with torch.no_grad():
                seen.append(own(turn.student.logits).double().sum().item())
            return {"high": own(turn.student.logits).squeeze(1)}

    @dataclass(frozen=True, kw_only=True)
    class WithWatched(Fooled):
        @property
        def partners(self) -> Mapping[str, Partner]:
            return {"guess": Watched(steps=3, lr=1.0, optimizer="sgd")}

    with torch.autocast("cpu", torch.bfloat16):
        _turns(make_net, WithWatched(), 1)
    assert seen[0] > seen[1] > seen[2]


@dataclass(frozen=True, kw_only=True)
class Resting(Guess):
    def terms(self, own: nn.Module, turn: Turn) -> Mapping[str, Tensor]:
        return {} if turn.batch.progress < 0.5 else super().terms(own, turn)


def test_a_partner_without_terms_rests_and_its_optimiser_knows_nothing_of_it(make_net: Nets) -> None:
    rested = dataclass(frozen=True, kw_only=True)(
        type("Rested", (Fooled,), {"partners": property(lambda self: {"guess": Resting(lr=0.01)})})
    )()
    seen = _turns(make_net, rested, 4)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert (seen[2] - seen[1]).abs().max() <= 0.0101  # Adam's first step is one learning rate long


def test_the_names_of_others_are_taken(make_net: Nets) -> None:
    kind = type("Misnamed", (Fooled,), {"partners": property(lambda self: {"teacher": Guess()})})
    with pytest.raises(InputError, match="cannot be called"):
        _player(make_net, dataclass(frozen=True, kw_only=True)(kind)())
