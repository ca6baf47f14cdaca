"""ULD: its number, how positions are paired, and that no token's name is read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.data.token_rows import meeting
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.language.uld import ULD
from understudy.models.outputs import View
from understudy.objectives.tokens import next_token_loss

OURS, THEIRS = meeting("clean", "teacher")


def log(rows: list[list[float]]) -> Tensor:
    return torch.tensor([rows], dtype=torch.float64).clamp_min(1e-300).log()


def terms(
    student: Tensor, teacher: Tensor, masks: dict[str, list[int]], method: ULD | None = None
) -> dict[str, float]:
    """Of one sequence."""
    views = {
        name: torch.zeros(1, len(mask), dtype=torch.int64) for name, mask in masks.items() if " " not in name
    }
    held = {name: torch.tensor([mask], dtype=torch.bool) for name, mask in masks.items()}
    batch = us.Batch(views, torch.tensor([0]), masks=held)
    said = us.Outputs({"clean": View(student)}), us.Outputs({"teacher": View(teacher)})
    return {name: values.item() for name, values in (method or ULD()).terms(*said, batch).items()}


P, Q = [0.5, 0.3, 0.15, 0.05], [0.2, 0.6, 0.2]
FLAT, SURE = [0.25] * 4, [1.0, 0.0, 0.0, 0.0]


def test_the_worked_number_in_a_sequence() -> None:
    found = terms(log([Q, [1 / 3] * 3]), log([P, FLAT]), {"clean": [1, 0], "teacher": [1, 0]})
    assert found["transport"] == pytest.approx(1.5 * 0.300000, abs=5e-7)


def test_answers_are_paired_by_number_from_their_own_starts() -> None:
    """The student's answer is at positions 2 and 3, the teacher's at 0, 1, 2: the first two of each are paired."""
    other = [1 / 3, 1 / 3, 1 / 3]
    found = terms(
        log([other, other, Q, [1.0, 0.0, 0.0], other]),
        log([P, SURE, FLAT, FLAT]),
        {"clean": [0, 0, 1, 1, 0], "teacher": [1, 1, 1, 0]},
    )
    assert found["transport"] == pytest.approx(1.5 * (0.3 + 0.0) / 2)
    skipping = terms(
        log([other, other, Q, [1.0, 0.0, 0.0], other]),
        log([P, SURE, FLAT, FLAT]),
        {"clean": [0, 0, 1, 1, 0], "teacher": [1, 1, 1, 0]},
        ULD(skip_end=True),
    )
    assert skipping["transport"] == pytest.approx(1.5 * 0.3)


def test_by_text_only_the_meetings_are_paired() -> None:
    masks = {"clean": [1, 1, 0], "teacher": [1, 1, 1, 0], OURS: [1, 1, 0], THEIRS: [1, 0, 1, 0]}
    student, teacher = log([Q, [1.0, 0.0, 0.0], Q]), log([P, FLAT, SURE, FLAT])
    assert terms(student, teacher, masks, ULD(align="text"))["transport"] == pytest.approx(1.5 * 0.15)
    index = terms(student, teacher, masks, ULD(align="index"))["transport"]
    assert index == pytest.approx(1.5 * (0.3 + 1.5) / 2)


def random_scene(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "student": torch.randn(1, 6, 7, generator=generator, dtype=torch.float64),
        "teacher": torch.randn(1, 8, 9, generator=generator, dtype=torch.float64),
        "masks": {"clean": [0, 1, 1, 1, 1, 0], "teacher": [0, 0, 1, 1, 1, 1, 1, 0]},
    }


def test_a_teacher_with_its_vocabulary_shuffled_says_the_same() -> None:
    scene = random_scene()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled = {**scene, "teacher": scene["teacher"][..., order]}
    assert terms(**scene) == pytest.approx(terms(**shuffled), abs=1e-14)


def test_lambda_0_is_supervised_fine_tuning() -> None:
    scene = random_scene()
    found = terms(**scene, method=ULD(lam=0.0))
    mask = torch.tensor([scene["masks"]["clean"]], dtype=torch.bool)
    expected = next_token_loss(scene["student"], torch.zeros(1, 6, dtype=torch.int64), mask).item()
    assert found == {"hard": pytest.approx(expected)}
    assert list(terms(**scene, method=ULD(ce_weight=0.0))) == ["transport"]
    assert terms(**scene, method=ULD(lam=0.0, ce_weight=0.0)) == {"transport": 0.0}


def test_the_gradient_reaches_the_token_that_holds_the_rank() -> None:
    """W is a sum of |p_(k) - q_(k)|: with q's order fixed its slope in q is the sign at each rank."""
    student = torch.tensor([[[1.0, 3.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[[0.0, 0.5, 0.2, -1.0]]], dtype=torch.float64)
    batch = us.Batch(
        {"clean": torch.zeros(1, 1).long(), "teacher": torch.zeros(1, 1).long()},
        torch.tensor([0]),
        masks={name: torch.ones(1, 1, dtype=torch.bool) for name in ("clean", "teacher")},
    )
    said = us.Outputs({"clean": View(student)}), us.Outputs({"teacher": View(teacher)})
    (found,) = torch.autograd.grad(
        ULD(lam=1.0, ce_weight=0.0).terms(*said, batch)["transport"].sum(), student
    )
    q, p = student.detach()[0, 0].softmax(0), teacher[0, 0].softmax(0)
    ranks = q.argsort(descending=True).argsort()
    slope = (q - p.sort(descending=True).values[:3][ranks]).sign()
    expected = q * (slope - (q * slope).sum())
    assert torch.allclose(found[0, 0], expected)


def test_sequences_without_a_pair_are_zero() -> None:
    scene = random_scene()
    scene["masks"] = {"clean": [0] * 6, "teacher": [0] * 8}
    assert terms(**scene) == {"hard": 0.0, "transport": 0.0}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lam": "-1"}, "lam must be"),
        ({"teacher_temperature": "0"}, "teacher_temperature must be"),
        ({"align": "luck"}, "unknown uld.align 'luck'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_method("uld", options)
