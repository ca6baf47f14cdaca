"""CWTM and DKPP: worked numbers, what they reduce to, the battery."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.methods.robust.kd import SD
from understudy.methods.self_distillation.cwtm import CWTM
from understudy.methods.self_distillation.dkpp import DKPP, hashed, scrambled
from understudy.models.outputs import View
from understudy.objectives.base import Objective
from understudy.objectives.reduction import reduce_terms
from understudy.recipes import make_recipe

TEACHER = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
STUDENT = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2])
ENTROPY = -(TEACHER.softmax(1) * TEACHER.log_softmax(1)).sum(1).mean().item()


def loss(objective: Objective, teacher: Tensor = TEACHER, student: Tensor = STUDENT) -> float:
    inputs = torch.zeros(len(teacher), 2)
    batch = us.Batch(
        {"clean": inputs}, torch.arange(len(teacher)), torch.arange(len(teacher)) % teacher.shape[1]
    )
    said = (us.Outputs({"clean": View(logits)}) for logits in (student, teacher))
    return reduce_terms(objective.terms(*said, batch), len(teacher))[0].item()


def of(variant: str) -> Objective:
    (stage,) = make_recipe("born_again", {"generations": "1", "variant": variant}).stages("mlp")
    return stage.objective


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        (of("ban"), 0.163658),
        (of("labels"), 1.664438 - ENTROPY),
        (CWTM(), 0.754270),
        (SD(temperature=5, alpha=0.5), 0.486754),  # TAKD's single stage
    ],
)
def test_worked_numbers(objective: Objective, value: float) -> None:
    assert loss(objective) == pytest.approx(value, abs=6e-7)


def test_dkpps_worked_number() -> None:
    swapped = scrambled(TEACHER, torch.tensor([[0, 2, 1], [2, 0, 1], [2, 1, 0]]))
    assert torch.equal(swapped, TEACHER.gather(1, torch.tensor([[0, 2, 1], [2, 1, 0], [1, 0, 2]])))
    soft = -(swapped.softmax(1) * STUDENT.log_softmax(1)).sum(1).mean().item()
    assert soft == pytest.approx(0.940938, abs=6e-7)


def test_scrambling_keeps_the_largest_and_the_sorted_values() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 7, generator=generator)
    moved = scrambled(logits, hashed(torch.arange(200), 3, 7))
    assert torch.equal(moved.argmax(1), logits.argmax(1))
    assert torch.equal(moved.amax(1), logits.amax(1))
    assert torch.equal(moved.sort(1).values, logits.sort(1).values)
    assert (moved != logits).any(1).float().mean() > 0.9
    two = torch.randn(20, 2, generator=generator)
    assert torch.equal(scrambled(two, hashed(torch.arange(20), 0, 2)), two)


def test_permutations_are_drawn_anew_and_evenly() -> None:
    index = torch.arange(3000)
    first, later = (hashed(index, epoch, 5) for epoch in (0, 1))
    assert torch.equal(first, hashed(index, 0, 5))
    assert torch.equal(first[7:9], hashed(index[7:9], 0, 5))  # of the example, not of its place in a batch
    orders = [order.argsort(1) for order in (first, later)]
    assert ((orders[0] == orders[1]).all(1).float().mean()) < 0.03  # 1 in 120 by chance
    logits = torch.tensor([9.0, 1.0, 2.0, 3.0, 4.0]).expand(3000, 5)
    means = scrambled(logits, first).mean(0)
    assert means[0] == 9
    assert (means[1:] - 2.5).abs().max() < 4 * (1.25 / 3000) ** 0.5


def test_weights_that_are_equal_change_nothing() -> None:
    even = TEACHER[:1].expand(3, 3)
    inputs = torch.zeros(3, 2)
    batch = us.Batch({"clean": inputs}, torch.arange(3), LABELS)
    said = (us.Outputs({"clean": View(logits)}) for logits in (STUDENT, even))
    hard = CWTM().terms(*said, batch)["hard"]
    assert torch.allclose(hard, torch.nn.functional.cross_entropy(STUDENT, LABELS, reduction="none"))


@pytest.mark.parametrize("objective", [CWTM(), DKPP()])
def test_the_battery(objective: Objective) -> None:
    held = us.testing.check_method(objective)
    assert "equality" in held
