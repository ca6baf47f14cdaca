"""Rollouts: who writes, what counts afterwards, and that nothing else is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.models.memo import Memo
from understudy.sources import Cast
from understudy.sources.rolled_out import RolledOut
from understudy.testing import tiny_lm

ROWS, LENGTH, END = 6, 8, 2
STUDENT, TEACHER = tiny_lm(5, seed=1).double(), tiny_lm(5, seed=2).double().eval()


def batch(rows: slice = slice(None)) -> us.Batch:
    tokens = torch.randint(5, (ROWS, LENGTH), generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    for row in range(ROWS):
        mask[row, row % 3 : 4 + row % 3] = True
    return us.Batch({"clean": tokens[rows]}, torch.arange(ROWS)[rows], masks={"clean": mask[rows]})


def show(
    source: RolledOut, step: int = 0, rows: slice = slice(None), student: nn.Module = STUDENT
) -> us.Batch:
    random = Randomness(0)
    random.begin(step, rows, ROWS)
    return source.show(batch(rows), Cast(student, Memo(TEACHER)), random)


def rollout_steps(share: float) -> list[bool]:
    return [not same(show(RolledOut(share), step)) for step in range(60)]


def same(shown: us.Batch) -> bool:
    return torch.equal(shown.clean, batch().clean) and torch.equal(
        shown.masks["clean"], batch().masks["clean"]
    )


def test_nobody_writes_at_share_zero_and_always_somebody_at_one() -> None:
    assert not any(rollout_steps(0.0))
    assert all(rollout_steps(1.0))


def test_the_share_is_that_of_the_steps_and_one_decision_holds_for_a_batch() -> None:
    chosen = rollout_steps(0.5)
    assert 20 <= sum(chosen) <= 40
    for step in range(6):
        parts = [show(RolledOut(0.5), step, rows) for rows in (slice(0, 1), slice(1, ROWS))]
        whole = show(RolledOut(0.5), step)
        assert torch.equal(torch.cat([part.clean for part in parts]), whole.clean)
        assert torch.equal(torch.cat([part.masks["clean"] for part in parts]), whole.masks["clean"])


def test_prompts_stay_and_what_follows_the_end_does_not_count() -> None:
    given, shown = batch(), show(RolledOut(1.0, end=END))
    ended = 0
    for row in range(ROWS):
        begin = row % 3 + 1
        assert torch.equal(shown.clean[row, :begin], given.clean[row, :begin])
        answer = shown.clean[row, begin:].tolist()
        length = answer.index(END) + 1 if END in answer else len(answer)
        ended += length < len(answer)
        counted = shown.masks["clean"][row].nonzero()[:, 0].tolist()
        assert counted == list(range(begin - 1, begin - 1 + length))
    assert ended > 0
    assert torch.equal(shown.index, given.index)


def test_without_an_end_every_row_is_filled() -> None:
    shown = show(RolledOut(1.0))
    assert shown.masks["clean"].sum(1).tolist() == [LENGTH - 1 - row % 3 for row in range(ROWS)]


def test_the_writer_is_who_it_says() -> None:
    """At temperature 0 an answer is the likeliest one of the model that wrote it."""

    def likeliest(model: nn.Module, shown: us.Batch) -> bool:
        with torch.no_grad():
            said = model(shown.clean).argmax(2).roll(1, 1)
        counts = shown.masks["clean"].roll(1, 1)
        return bool((said == shown.clean)[counts].all())

    by_student = show(RolledOut(1.0, "student", temperature=0.0))
    by_teacher = show(RolledOut(0.0, "student", "teacher", temperature=0.0))
    assert likeliest(STUDENT, by_student)
    assert likeliest(TEACHER, by_teacher)
    assert not likeliest(TEACHER, by_student)


def test_the_student_is_left_as_it_was_and_writes_in_eval_mode() -> None:
    modes = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.dropout = tiny_lm(5).double(), nn.Dropout(0.5)

        def forward(self, tokens: Tensor) -> Tensor:
            modes.append((self.training, self.dropout.training, torch.is_grad_enabled()))
            return self.inner(tokens)

    student = Watched().train()
    student.inner.eval()
    show(RolledOut(1.0), student=student)
    assert set(modes) == {(False, False, False)}
    assert (student.training, student.inner.training, student.dropout.training) == (True, False, True)
    assert all(p.grad is None for p in student.parameters())


def test_rows_that_ask_for_nothing_stay() -> None:
    given = batch()
    empty = replace(given, masks={"clean": given.masks["clean"] & (given.index[:, None] > 0)})
    random = Randomness(0)
    random.begin(0)
    shown = RolledOut(1.0).show(empty, Cast(STUDENT, None), random)
    assert torch.equal(shown.clean[0], given.clean[0])
    assert not shown.masks["clean"][0].any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"share": 1.5}, "share of rollouts must be from 0 to 1"),
        ({"temperature": -1.0}, "temperature of rollouts"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        RolledOut(**options)


def test_images_and_a_missing_teacher_are_refused() -> None:
    random = Randomness(0)
    random.begin(0)
    with pytest.raises(InputError, match="the batch has no mask for its view 'clean'"):
        RolledOut().show(replace(batch(), masks={}), Cast(STUDENT, None), random)
    with pytest.raises(InputError, match="the teacher is to write rollouts, and there is none"):
        RolledOut(1.0, "teacher").show(batch(), Cast(STUDENT, None), random)
