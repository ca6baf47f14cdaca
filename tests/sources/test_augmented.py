"""Augmentation and chains: what the teacher sees is what the student sees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.data.randomness import Randomness
from understudy.sources import AsIs, Cast, Chain
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

INPUTS = torch.rand(16, 1, 6, 6, generator=torch.Generator().manual_seed(0))
SHIFTED = us.Augmented(pixels=2, mirror=True)


def batch(rows: slice = slice(None)) -> us.Batch:
    return us.Batch({"clean": INPUTS[rows]}, torch.arange(16)[rows], torch.zeros(16, dtype=torch.int64)[rows])


def show(source: us.Source, rows: slice = slice(None), step: int = 0) -> us.Batch:
    random = Randomness(0)
    random.begin(step, rows, 16)
    return source.show(batch(rows), Cast(nn.Identity(), None), random)


def test_it_replaces_the_clean_view() -> None:
    shown = show(SHIFTED)
    assert set(shown.views) == {"clean"}
    assert shown.clean.shape == INPUTS.shape
    changed = (shown.clean != INPUTS).flatten(1).any(1)
    assert changed.float().mean() > 0.8
    assert torch.equal(shown.index, torch.arange(16))
    assert torch.equal(INPUTS, batch().clean)


def test_nothing_asked_for_changes_nothing() -> None:
    assert torch.equal(show(us.Augmented()).clean, INPUTS)
    same = batch()
    assert AsIs().show(same, Cast(nn.Identity(), None), Randomness(0)) is same


def test_a_split_batch_is_augmented_as_the_whole_one() -> None:
    parts = [show(SHIFTED, rows).clean for rows in (slice(0, 3), slice(3, 16))]
    assert torch.equal(torch.cat(parts), show(SHIFTED).clean)
    assert not torch.equal(show(SHIFTED, step=1).clean, show(SHIFTED).clean)


def test_a_fill_of_its_own_moves_in() -> None:
    shown = show(us.Augmented(pixels=3, fill=-7.0)).clean
    assert (shown == -7.0).any()
    assert set(shown.unique().tolist()) <= {*INPUTS.unique().tolist(), -7.0}


@pytest.mark.parametrize("views", ["clean", "attacked"])
def test_teacher_and_student_see_the_same_view(views: str) -> None:
    """Also when an attack follows: it starts from the augmented image."""
    seen: dict[str, list[Tensor]] = {"teacher": [], "student": []}
    models = {}
    for who in seen:
        models[who] = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
        models[who].register_forward_pre_hook(lambda _, inputs, who=who: seen[who].append(inputs[0].detach()))

    method = us.SoftTargets()
    source: us.Source = SHIFTED
    if views == "attacked":
        from understudy.methods import make_method

        method = make_method("faithful_kd", {"eps": "0.1"})
        source = Chain((SHIFTED, method.source(0.0, 1.0)))
    player = Player(models["student"], models["teacher"], method, source, TrainingSettings())
    random = Randomness(0)
    random.begin(0)
    with player:
        player.contribute(batch(), 16, random)
    assert torch.equal(seen["teacher"][-1], seen["student"][-1])
    away = (seen["student"][-1] - show(SHIFTED).clean).abs().max()
    assert away == 0 if views == "clean" else 0 < away <= 0.1 + 1e-6


def test_a_chain_is_seen_in_order() -> None:
    chained = show(Chain((us.Augmented(pixels=1), us.Augmented(mirror=True))))
    assert not torch.equal(chained.clean, INPUTS)
    assert torch.equal(show(Chain(())).clean, INPUTS)


def test_what_is_no_image_is_refused() -> None:
    flat = us.Batch({"clean": torch.rand(4, 9)}, torch.arange(4))
    with pytest.raises(us.InputError, match=r"augmentation needs images .* found \(9,\)"):
        SHIFTED.show(flat, Cast(nn.Identity(), None), Randomness(0))
    with pytest.raises(us.InputError, match="pixels must be 0 or more, found -1"):
        us.Augmented(pixels=-1)
