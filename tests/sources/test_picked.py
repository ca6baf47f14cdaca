"""The augmented view, and what is picked for it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.models.memo import Memo
from understudy.sources import Cast, Chain, Picked, WithAugmented
from understudy.sources.picked import entropy, pick
from understudy.testing import TINY_SHAPE, tiny_conv, tiny_mlp

INPUTS = torch.rand(8, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
KINDS = ("identity", "flip", "shift", "cutout", "mixup", "cutmix")


def show(source: us.Source, cast: Cast | None = None, rows: slice = slice(None)) -> us.Batch:
    random = Randomness(0)
    random.begin(0, rows, 8)
    cast = cast or Cast(tiny_conv(seed=2), Memo(tiny_mlp(seed=1).eval()))
    return source.show(us.Batch({"clean": INPUTS[rows]}, torch.arange(8)[rows]), cast, random)


def test_entropy_of_the_worked_number() -> None:
    p = torch.tensor(
        [[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6], [0.6, 0.3, 0.1]], dtype=torch.float64
    )
    found = entropy(p.log())
    assert found.tolist() == pytest.approx([0.801819, 0.950271, 0.897946, 0.897946], abs=5e-7)
    assert pick(found, 2).tolist() in ([1, 2], [1, 3])
    assert pick(found, 1, "least").tolist() == [0]


@given(st.lists(st.floats(-200, 200), min_size=2, max_size=6))
def test_entropy_lies_between_nothing_and_the_logarithm_of_the_classes(logits: list[float]) -> None:
    (found,) = entropy(torch.tensor([logits], dtype=torch.float64)).tolist()
    assert -1e-12 <= found <= math.log(len(logits)) + 1e-12


def test_of_equal_scores_the_first_are_kept_in_their_order() -> None:
    assert pick(torch.zeros(6), 3).tolist() == [0, 1, 2]
    assert pick(torch.tensor([1.0, 3.0, 2.0, 3.0]), 3).tolist() == [1, 2, 3]
    assert pick(torch.tensor([1.0, 3.0, 2.0, 3.0]), 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_added_and_the_clean_one_stays(kind: str) -> None:
    shown = show(WithAugmented(kind, fill=-1.0))
    assert set(shown.views) == {"clean", "augmented"}
    assert torch.equal(shown.clean, INPUTS)
    assert torch.equal(shown.views["augmented"], INPUTS) == (kind == "identity")
    assert bool((shown.views["augmented"] == -1).any()) == (kind in ("shift", "cutout"))
    parts = torch.cat(
        [show(WithAugmented(kind), rows=rows).views["augmented"] for rows in (slice(0, 3), slice(3, 8))]
    )
    assert torch.equal(parts, show(WithAugmented(kind)).views["augmented"]) != WithAugmented(kind).whole_batch


@pytest.mark.parametrize("score", ["teacher", "student"])
def test_what_is_kept_is_what_one_of_them_is_least_sure_of(score: str) -> None:
    cast = Cast(tiny_conv(seed=2).train(), Memo(tiny_mlp(seed=1).eval()))
    judge = (tiny_mlp(seed=1) if score == "teacher" else tiny_conv(seed=2)).eval()
    before = {name: value.clone() for name, value in cast.student.state_dict().items()}
    kept = show(Picked(runs=3, score=score), cast).views["augmented"]
    left = show(Picked(runs=3, score=score, keep="least"), cast).views["augmented"]
    random = Randomness(0)
    random.begin(0, slice(None), 8)
    pool = torch.cat([WithAugmented().change(INPUTS, random) for _ in range(3)])
    scores = entropy(judge(pool)).sort().values
    torch.testing.assert_close(entropy(judge(kept)).sort().values, scores[-8:])
    torch.testing.assert_close(entropy(judge(left)).sort().values, scores[:8])
    assert scores[-8] > scores[7]
    assert cast.student.training
    assert all(torch.equal(value, before[name]) for name, value in cast.student.state_dict().items())


def test_one_run_picks_nothing_and_asks_nobody() -> None:
    nobody = Cast(nn.Identity(), None)
    for kind in KINDS:
        one = show(Picked(WithAugmented(kind), runs=1), nobody).views["augmented"]
        assert torch.equal(one, show(WithAugmented(kind)).views["augmented"])


def test_who_shows_examples_together_says_so() -> None:
    assert Picked().whole_batch
    assert Picked(WithAugmented("flip")).whole_batch
    assert not Picked(WithAugmented("flip"), runs=1).whole_batch
    assert Chain((us.Augmented(), Picked())).whole_batch
    assert not Chain((us.Augmented(),)).whole_batch


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(us.InputError, match="teacher's entropy, and there is no teacher"):
        show(Picked(), Cast(tiny_conv(), None))
    with pytest.raises(us.InputError, match="runs must be 1 or more, found 0"):
        Picked(runs=0)
    with pytest.raises((us.InputError, TypeError)):
        WithAugmented("cut")  # type: ignore[arg-type]
    with pytest.raises(us.InputError, match="pixels must be 0 or more, found -1"):
        WithAugmented(pixels=-1)
    with pytest.raises((us.InputError, TypeError)):
        Picked(score="me")  # type: ignore[arg-type]
    with pytest.raises((us.InputError, TypeError)):
        Picked(keep="all")  # type: ignore[arg-type]
    flat = us.Batch({"clean": torch.rand(4, 9)}, torch.arange(4))
    with pytest.raises(us.InputError, match=r"augmentation needs images .* found \(9,\)"):
        WithAugmented().show(flat, Cast(nn.Identity(), None), Randomness(0))
