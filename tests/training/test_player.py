from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import understudy as us
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.sources import AsIs
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings


@dataclass(frozen=True)
class GramMatch(us.Objective):
    """A user's own: matches the batch's similarity matrix of a layer."""

    needs = us.Needs(features=("mid",), whole_batch=True)

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        s = F.normalize(student.features["mid"].flatten(1), dim=1)
        t = F.normalize(teacher.features["mid"].flatten(1), dim=1)
        return {"gram": (s @ s.T - t @ t.T).square().mean(1)}


Nets = Callable[..., nn.Module]
TAPS = {"mid": ("2", "1")}


def player(student: nn.Module, teacher: nn.Module | None, objective: us.Objective, **more: Any) -> Player:
    taps = more.pop("taps", {})
    return Player(student, teacher, objective, AsIs(), TrainingSettings(**more), taps)


def test_features_are_tapped_on_both_sides_and_trained(make_net: Nets, train_it: Callable[..., Any]) -> None:
    student, teacher = make_net(2), make_net(1, 30)
    objective = 0.01 * us.SoftTargets(temperature=4.0) + 5.0 * GramMatch()
    _, rows = train_it(student, teacher, objective, taps=TAPS, epochs=6)
    assert rows[-1]["loss_gram"] < 0.8 * rows[0]["loss_gram"]
    assert not any(part._forward_hooks for m in (student, teacher) for part in m.modules())


def test_what_does_not_fit_together_is_refused_before_anything_runs(make_net: Nets) -> None:
    student, teacher = make_net(2), make_net(1)
    for more in ({"accumulate": 2}, {"devices": 2}):
        with pytest.raises(InputError, match="relates examples to one another"):
            player(student, teacher, GramMatch(), taps=TAPS, **more)
    with pytest.raises(InputError, match=r"reads features \['mid'\]; name their layers in `taps`"):
        player(student, teacher, GramMatch())
    with pytest.raises(InputError, match=r"unknown layer '9'.*known: 0, 1, 2, 3"):
        player(student, teacher, GramMatch(), taps={"mid": ("2", "9")})
    with pytest.raises(InputError, match="needs a teacher"):
        player(student, None, make_method("sd"))
    with pytest.raises(InputError, match="share parameters"):
        player(student, student, make_method("sd"))
    with pytest.raises(InputError, match="share parameters"):
        player(student, nn.Sequential(nn.Flatten(), student[1], nn.Linear(12, 10)), make_method("sd"))
    with pytest.raises(InputError, match="no parameter to train"):
        player(make_net(3).requires_grad_(False), teacher, make_method("sd"))


def test_frozen_parts_of_a_student_stay(make_net: Nets, train_it: Callable[..., Any]) -> None:
    student = make_net(2)
    student[1].requires_grad_(False)
    before = student[1].weight.clone()
    state, _ = train_it(student, make_net(1), make_method("sd"))
    assert torch.equal(state["1.weight"], before)
    assert not torch.equal(state["3.weight"], make_net(2)[3].weight)


@dataclass(frozen=True)
class Watch(us.Objective):
    """Notes how far each batch's progress is."""

    seen: list[float]

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        self.seen.append(batch.progress)
        return {"soft": (student.logits - teacher.logits).square().mean(1)}


def test_a_schedule_sees_the_share_that_lies_behind(make_net: Nets, train_it: Callable[..., Any]) -> None:
    seen: list[float] = []
    train_it(make_net(2), make_net(1), Watch(seen))
    assert seen == pytest.approx([i / 10 for i in range(10)])
