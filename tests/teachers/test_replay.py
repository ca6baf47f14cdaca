"""Replay: the same crop of the same image for whoever asks, in any batch, and another one in another view."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from understudy.data import Batch, DataSet
from understudy.data.loader import batches
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.sources import Augmented, Cast
from understudy.teachers.replay import ExampleRandomness, Replay
from understudy.testing import tiny_mlp

IMAGES = torch.rand(60, 1, 9, 9, generator=torch.Generator().manual_seed(0))
DATA = DataSet("pixels", "train", IMAGES)
CAST = Cast(tiny_mlp(seed=0), None)
REPLAY = Replay(Augmented(pixels=2, mirror=True), seed=3, views=4)


def batch(index: Tensor) -> Batch:
    return Batch({"clean": IMAGES[index]}, index)


def shown(index: Tensor, view: int, replay: Replay = REPLAY) -> Tensor:
    return replay.at(batch(index), view, CAST).clean


def test_an_example_looks_the_same_in_any_company() -> None:
    whole = shown(torch.arange(60), 1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(shown(order, 1), whole[order])
    assert torch.equal(shown(order[:7], 1), whole[order[:7]])
    assert torch.equal(shown(torch.tensor([5, 5]), 1), whole[[5, 5]])


def test_another_view_or_seed_shows_other_crops() -> None:
    whole = shown(torch.arange(60), 0)
    for other in (shown(torch.arange(60), 1), shown(torch.arange(60), 0, replace(REPLAY, seed=4))):
        assert float((other == whole).flatten(1).all(1).float().mean()) < 0.2


def test_a_training_sees_what_the_teacher_was_shown() -> None:
    """Shuffled batches of an unhelpful size, epoch after epoch, against file order in another batch size."""
    random = Randomness(0)
    for epoch in range(10):
        stored = torch.cat([shown(torch.arange(i, i + 20), epoch % 4) for i in range(0, 60, 20)])
        for item in batches(DATA, batch_size=7, seed=5, epoch=epoch):
            random.begin(item.step)
            now = replace(item.batch, epoch=epoch)
            assert REPLAY.number(now) == epoch % 4
            assert torch.equal(REPLAY.show(now, CAST, random).clean, stored[item.batch.index])


def test_the_runs_own_randomness_is_left_alone() -> None:
    random = Randomness(0)
    random.begin(0)
    before = random.generator.get_state()
    REPLAY.show(batch(torch.arange(5)), CAST, random)
    assert torch.equal(random.generator.get_state(), before)


def test_draws_have_the_distributions_they_are_named_for() -> None:
    index, like = torch.arange(5000), torch.zeros(5000, 3)
    random = ExampleRandomness(0, 0, index)
    uniform, normal = random.uniform(like, -2.0, 1.0), random.normal(like)
    assert uniform.shape == normal.shape == like.shape
    assert uniform.dtype == torch.float32
    assert stats.kstest((uniform.flatten().double() + 2) / 3, "uniform").pvalue > 1e-3
    assert stats.kstest(normal.flatten().double(), "norm").pvalue > 1e-3
    assert bool((uniform < 1.0).all())
    whole = random.integers(like, -1, 4)
    assert whole.dtype == torch.int64
    assert stats.chisquare(torch.bincount(whole + 1, minlength=5)).pvalue > 1e-3
    assert not torch.equal(random.uniform(like), random.uniform(like))
    random.begin(17)
    assert torch.equal(random.uniform(like, -2.0, 1.0), uniform)


def test_its_words_say_every_setting() -> None:
    assert REPLAY.view == "Augmented(pixels=2, mirror=True, fill=0.0)"


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="views must be 1 or more, found 0"):
        Replay(Augmented(), views=0)
    with pytest.raises(InputError, match="draws are for 2 examples, asked for 3"):
        ExampleRandomness(0, 0, torch.arange(2)).normal(torch.zeros(3))
