"""The trait "elsewhere" and `batch.past` in the battery: methods that are wrong about them are told so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.methods import make_method
from understudy.objectives.divergences import kl
from understudy.testing import CHECKS, check_method
from understudy.testing.case import Case


def sharper(**body: Any) -> us.Objective:
    """Soft targets of a teacher twice as sure, lowest at twice the teacher's logits."""
    plain: dict[str, Any] = {
        "terms": lambda self, s, t, b: {"soft": kl(2 * t.logits, s.logits)},
        "rest": lambda self, term, teacher, batch: 2 * teacher.logits,
        "zero_when": {"soft": "elsewhere"},
    }
    kind = type("Sharper", (us.Objective,), {**plain, **body})
    return dataclass(frozen=True)(kind)()


def test_a_term_that_is_lowest_elsewhere_passes() -> None:
    held = check_method(sharper())
    assert held["equality"] == "soft: least where the method says"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"rest": lambda self, term, t, b: 3 * t.logits}, "is lower than where `rest` says"),
        (
            {
                "terms": lambda self, s, t, b: {"soft": kl(t.logits, s.logits)},
                "rest": lambda self, m, t, b: t.logits,
            },
            "is as low where student and teacher are equal",
        ),
    ],
)
def test_a_place_that_is_not_lowest_or_not_elsewhere_is_told(body: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        CHECKS["equality"](Case(sharper(**body), 5, {}))


def test_a_place_must_be_said() -> None:
    with pytest.raises(us.InputError, match="define `rest`"):
        CHECKS["equality"](Case(sharper(rest=us.Objective.rest), 5, {}))


def test_the_battery_gives_a_past_late_and_none_early() -> None:
    method = make_method("ps_kd")
    case = Case(method, 5, {})
    early, late = case.scene(0.0), case.scene(0.9)
    assert early.past == {}
    assert list(early.terms(method)) == ["hard"]
    torch.testing.assert_close(late.past["confidence"].sum(1), torch.ones(6, dtype=torch.float64))
    assert list(late.terms(method)) == ["refined"]
    assert not torch.allclose(late.past["confidence"], case.scene(0.9, shift=1).past["confidence"])


def test_a_method_that_reads_a_past_in_its_order_of_rows_fails() -> None:
    """The index bug: rows of the past against the wrong examples."""
    method = make_method("ps_kd")

    @dataclass(frozen=True, kw_only=True)
    class Shuffled(type(method)):  # type: ignore[misc]
        def _targets(self, batch: us.Batch, past: Tensor) -> Tensor:
            return super()._targets(batch, past.roll(1, 0))

    with pytest.raises(AssertionError, match="micro-batches"):
        CHECKS["accumulation"](Case(Shuffled(), 5, {}))
