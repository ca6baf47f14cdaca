"""Objectives add and scale, say what they need, and can be written down."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
import torch

import understudy as us
from understudy.methods import make_method
from understudy.models.outputs import View
from understudy.objectives.base import Sum, describe
from understudy.objectives.reduction import reduce_terms
from understudy.sources import AsIs

BATCH = us.Batch({"clean": torch.zeros(4, 2)}, torch.arange(4), torch.tensor([0, 1, 2, 0]))


def outputs(seed: int) -> us.Outputs:
    return us.Outputs({"clean": View(torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)))})


STUDENT, TEACHER = outputs(1), outputs(2)


def loss(objective: us.Objective) -> float:
    return reduce_terms(objective.terms(STUDENT, TEACHER, BATCH), 4)[0].item()


HARD, SOFT = us.CrossEntropy(), us.SoftTargets(temperature=4.0)


def test_a_sum_is_the_weighted_sum_of_its_parts() -> None:
    both = 0.1 * HARD + 0.9 * SOFT
    assert loss(both) == pytest.approx(0.1 * loss(HARD) + 0.9 * loss(SOFT))
    assert set(both.terms(STUDENT, TEACHER, BATCH)) == {"hard", "soft"}


def test_scaling_and_adding_nest() -> None:
    nested = 2.0 * (HARD * 0.5 + SOFT) + 3.0 * (HARD + 0.5 * SOFT)
    assert isinstance(nested, Sum)
    assert [weight for weight, _ in nested.parts] == [1.0, 2.0, 3.0, 1.5]
    assert loss(nested) == pytest.approx(4 * loss(HARD) + 3.5 * loss(SOFT))


def test_terms_of_one_name_are_numbered_and_none_is_lost() -> None:
    terms = (SOFT + us.SoftTargets() + 2.0 * SOFT).terms(STUDENT, TEACHER, BATCH)
    assert list(terms) == ["soft", "soft_2", "soft_3"]
    torch.testing.assert_close(terms["soft_3"], 2 * terms["soft"])


def test_needs_are_united() -> None:
    assert HARD.needs == us.Needs(teacher=(), labels=True, graph_labels=True)
    assert (HARD + SOFT).needs == us.Needs(labels=True, graph_labels=True)
    attacked, mid = make_method("ard"), us.Needs(features=("mid",), whole_batch=True)
    assert (SOFT + attacked).needs == us.Needs(student=("clean", "attacked"), labels=True)
    assert (mid | HARD.needs).features == ("mid",)
    assert (HARD.needs | mid).whole_batch


def test_a_sum_shows_what_its_attacking_part_shows() -> None:
    method = make_method("faithful_kd", {"eps": "0.1"})
    assert (SOFT + HARD).source(0.0, 1.0) == AsIs()
    assert isinstance((SOFT + 0.5 * method).source(0.0, 1.0), us.Attacked)
    assert (SOFT + method).source(0.0, 1.0).ball == us.Ball(0.1)
    with pytest.raises(us.InputError, match="each bring a source of their own"):
        (make_method("ard", {"eps": "0.1"}) + method).source(0.0, 1.0)


def test_an_attack_without_a_radius_is_refused() -> None:
    with pytest.raises(us.InputError, match="FaithfulKD needs a training radius: state eps"):
        make_method("fd").source(0.0, 1.0)
    assert make_method("fd").with_radius(0.2, "l2").source(0.0, 1.0).ball == us.Ball(0.2, "l2")
    assert make_method("fd", {"eps": "0.1"}).with_radius(0.2).source(0.0, 1.0).ball.eps == 0.1
    assert make_method("kd").with_radius(0.2) == make_method("kd")
    unclipped = make_method("fd", {"eps": "3", "clip": "false"}).source(0.0, 1.0).ball
    assert (unclipped.low, unclipped.high) == (float("-inf"), float("inf"))


@dataclass(frozen=True)
class Plain(us.Objective):
    """A class attribute instead of a property."""

    needs = us.Needs(features=("mid",), whole_batch=True)

    def terms(self, student, teacher, batch):
        return {"none": student.features["mid"].mean(1)}


def test_needs_may_be_a_plain_class_attribute() -> None:
    assert Plain().needs.features == ("mid",)
    assert (HARD + Plain()).needs.whole_batch


def test_a_description_names_class_and_fields() -> None:
    assert describe(SOFT) == {"class": "understudy.objectives.soft_targets:SoftTargets", "temperature": 4.0}
    both = json.loads(json.dumps(describe(0.1 * HARD + SOFT)))
    assert both["sum"][0] == {"weight": 0.1, "class": "understudy.objectives.cross_entropy:CrossEntropy"}
    assert describe(make_method("fd", {"eps": "0.1"}))["eps"] == 0.1


def test_objectives_are_equal_by_value_and_cannot_be_changed() -> None:
    assert us.SoftTargets(temperature=2.0) == us.SoftTargets(temperature=2.0) != SOFT
    with pytest.raises(AttributeError):
        SOFT.temperature = 1.0


def test_a_view_that_was_not_asked_for_is_named() -> None:
    with pytest.raises(us.InputError, match=re.escape("unknown view 'attacked': known: clean")):
        STUDENT["attacked"]


def test_a_part_that_reads_no_labels_does_not_forbid_missing_ones() -> None:
    soft, every = us.Needs(), us.Needs(labels=True)
    few = us.Needs(labels=True, unlabelled=True, graph_labels=True)
    for one, other, welcome in (
        (soft, few, True),
        (few, few, True),
        (few, every, False),
        (every, soft, False),
        (soft, soft, False),
    ):
        for united in (one | other, other | one):
            assert (united.unlabelled, united.graph_labels) == (welcome, welcome)
