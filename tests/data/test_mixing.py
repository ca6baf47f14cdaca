"""Augmentations that mix: whose pixels are where, and how often."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from understudy.data.mixing import cutmix, cutout, derangement, mixup
from understudy.data.randomness import Randomness
from understudy.errors import InputError


def drawn(seed: int, step: int = 0) -> Randomness:
    random = Randomness(seed)
    random.begin(step)
    return random


def numbered(rows: int, height: int = 8, width: int = 6) -> Tensor:
    """Images of which every pixel says whose it is and where."""
    return torch.arange(rows * height * width, dtype=torch.float64).view(rows, 1, height, width)


@given(rows=st.integers(2, 9), seed=st.integers(0, 1000))
def test_nobody_is_their_own_partner(rows: int, seed: int) -> None:
    order = derangement(numbered(rows), drawn(seed))
    assert sorted(order.tolist()) == list(range(rows))
    assert not (order == torch.arange(rows)).any()


def test_all_orders_without_a_fixed_point_are_equally_likely() -> None:
    random = drawn(0)
    found = [tuple(derangement(numbered(4), random).tolist()) for _ in range(1800)]
    counts = torch.tensor([found.count(order) for order in set(found)])
    assert len(counts) == 9  # of 4 examples
    assert ((counts - 200).abs() < 60).all()  # more than four standard deviations


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_who_is_alone_stays_as_it_is(mix) -> None:
    alone = numbered(1)
    for seed in range(20):
        torch.testing.assert_close(mix(alone, drawn(seed)), alone)


def test_mixup_has_one_proportion_a_batch() -> None:
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = []
    for seed in range(200):
        order = derangement(images, drawn(seed))
        mixed = mixup(images, drawn(seed))
        share = (mixed - images[order]) / (images - images[order])
        assert (share.max() - share.min()) < 1e-6
        shares.append(share.mean().item())
    assert 0 <= min(shares) < 0.05 < 0.95 < max(shares) <= 1
    assert abs(sum(shares) / 200 - 0.5) < 0.1  # five standard deviations


def test_cutmix_replaces_one_rectangle_by_the_partners() -> None:
    images = numbered(5)
    areas = []
    for seed in range(300):
        order = derangement(images, drawn(seed))
        mixed = cutmix(images, drawn(seed))
        own, other = mixed == images, mixed == images[order]
        assert (own ^ other).all()  # every pixel is of the one or of the other, at its place
        assert (other == other[:1]).all()
        rows, columns = other[0, 0].any(1), other[0, 0].any(0)
        assert torch.equal(other[0, 0], rows[:, None] & columns)
        for side in (rows, columns):
            assert (side.int().diff().abs().sum() + side[0] + side[-1]) in (0, 2)  # in one piece
        areas.append(other[0, 0].double().mean().item())
    assert min(areas) == 0
    assert max(areas) > 0.6  # a large one rarely lies inside
    assert torch.equal(images, numbered(5))


def test_cutout_paints_a_square_of_each_image() -> None:
    images = torch.ones(400, 2, 8, 8)
    painted = cutout(images, drawn(0), hole=0.5, fill=-3.0)
    assert set(painted.unique().tolist()) == {-3.0, 1.0}
    holes = (painted == -3.0)[:, 0]
    assert torch.equal(holes, (painted == -3.0)[:, 1])
    sizes = holes.flatten(1).sum(1)
    assert sizes.max() == 16  # 4 x 4, less where it is cut off
    assert sizes.min() == 4
    assert torch.equal(cutout(images, drawn(0), hole=0.0), images)
    parts = []
    for rows in (slice(0, 100), slice(100, 400)):
        random = Randomness(0)
        random.begin(0, rows, 400)
        parts.append(cutout(images[rows], random, fill=-3.0))
    assert torch.equal(torch.cat(parts), painted)


def test_a_hole_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="the hole must be between 0 and 1"):
        cutout(numbered(2), drawn(0), hole=1.5)
