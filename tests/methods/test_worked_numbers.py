"""One sample worked by hand: C = 3, T = 1, label 0. Six digits of every method's loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.methods import make_method
from understudy.methods.robust.iad import teacher_trust
from understudy.models.outputs import View
from understudy.objectives.divergences import max_gap
from understudy.objectives.reduction import reduce_terms

TEACHER = {"clean": [2.0, 0.0, -1.0], "attacked": [1.0, 0.5, -0.5]}
STUDENT = {"clean": [1.5, 0.5, -1.0], "attacked": [0.2, 0.8, -0.3]}


def row(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def outputs(said: dict[str, list[float]]) -> us.Outputs:
    return us.Outputs({name: View(row(logits)) for name, logits in said.items()})


def loss(name: str, progress: float = 0.9, **options: str) -> float:
    """The method's loss on the one sample."""
    inputs = torch.zeros(1, 2)
    batch = us.Batch({"clean": inputs, "attacked": inputs}, torch.tensor([0]), torch.tensor([0]), progress)
    terms = make_method(name, options).terms(outputs(STUDENT), outputs(TEACHER), batch)
    return reduce_terms(terms, 1)[0].item()


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [
        ("kd", {}, 0.066493),
        ("ard", {"temperature": "1"}, 0.660388),
        ("ard", {}, 0.736599),
        ("rslad", {}, 0.561405),
        ("faithful_kd", {}, 0.141435),
        ("adaad", {}, 0.141435),
        ("iad", {}, 0.641691),
        ("iad", {"form": "code"}, 0.680406),
    ],
)
def test_a_method_has_its_worked_value(name: str, options: dict[str, str], value: float) -> None:
    assert loss(name, **options) == pytest.approx(value, abs=5e-7)


def kl_by_hand(p: list[float], q: list[float]) -> float:
    """KL of two softmaxes, in Python floats: nothing of the library in it."""
    p, q = ([math.exp(z) / sum(map(math.exp, logits)) for z in logits] for logits in (p, q))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def cross_entropy_by_hand(logits: list[float], label: int) -> float:
    return -math.log(math.exp(logits[label]) / sum(map(math.exp, logits)))


def test_terms_without_a_worked_number() -> None:
    hard = cross_entropy_by_hand(STUDENT["clean"], 0)
    hard_attacked = cross_entropy_by_hand(STUDENT["attacked"], 0)
    constancy = kl_by_hand(STUDENT["clean"], STUDENT["attacked"])
    clean, attacked = kl_by_hand(TEACHER["clean"], STUDENT["clean"]), 0.141435
    assert loss("ce") == pytest.approx(hard)
    assert loss("at") == pytest.approx(hard_attacked)
    assert loss("trades") == pytest.approx(hard + 6 * constancy)
    assert loss("kd", alpha="0.3") == pytest.approx(0.7 * hard + 0.3 * clean)
    both = loss("faithful_kd", alpha="0.25", hard_weight="0.5")
    assert both == pytest.approx(0.25 * attacked + 0.75 * clean + 0.5 * hard, abs=1e-6)
    assert loss("adaad", alpha="0.25") == pytest.approx(0.25 * attacked + 0.75 * clean, abs=1e-6)


def test_the_released_rslad_is_ours_over_the_number_of_classes() -> None:
    """Elementwise mean of the released code: 0.187145 here (its 1e-5 inside the logarithm left out)."""
    assert loss("rslad") / 3 == pytest.approx(0.187145, abs=1e-5)


def test_the_released_ard_is_ours_over_the_number_of_classes() -> None:
    assert loss("ard") / 3 == pytest.approx(0.245533, abs=5e-7)


def test_iad_trusts_the_teacher_as_the_formula_says() -> None:
    batch = us.Batch({}, torch.tensor([0]), torch.tensor([0]))
    assert teacher_trust(row(TEACHER["attacked"]), batch, 0.1).item() == pytest.approx(0.941376, abs=5e-7)
    assert teacher_trust(row(TEACHER["attacked"]), batch, 0.0).item() == 1.0


def test_the_gaps_in_confidence_are_the_worked_ones() -> None:
    for view, gap in (("clean", 0.154123), ("attacked", 0.254889)):
        assert max_gap(row(TEACHER[view]), row(STUDENT[view])).item() == pytest.approx(gap, abs=5e-7)


def test_iad_is_ard_during_warm_up_and_not_after() -> None:
    ard = loss("ard", temperature="2", alpha="0.5")
    options = {"temperature": "2", "alpha": "0.5", "warmup": "0.3"}
    assert loss("iad", progress=0.0, **options) == ard
    assert loss("iad", progress=0.29, **options) == ard
    assert loss("iad", progress=0.3, **options) != ard
    assert loss("iad", progress=0.0, temperature="2", alpha="0.5", warmup="0") != ard


def test_constants_added_to_the_logits_change_nothing() -> None:
    """To either net's logits, in any view; labels and trust included."""
    inputs = torch.zeros(1, 2)
    batch = us.Batch({"clean": inputs, "attacked": inputs}, torch.tensor([0]), torch.tensor([0]), 0.9)
    moved = (
        {name: [z + 7.0 for z in logits] for name, logits in STUDENT.items()},
        {name: [z - 3.0 for z in logits] for name, logits in TEACHER.items()},
    )
    for name in ("kd", "ard", "rslad", "iad", "adaad", "faithful_kd", "ce", "at", "trades"):
        method = make_method(name)
        plain = method.terms(outputs(STUDENT), outputs(TEACHER), batch)
        shifted = method.terms(outputs(moved[0]), outputs(moved[1]), batch)
        for term, values in plain.items():
            torch.testing.assert_close(shifted[term], values, rtol=1e-12, atol=1e-12, msg=f"{name} {term}")
