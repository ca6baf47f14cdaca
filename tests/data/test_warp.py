"""Turning, scaling and moving against what torch does with whole pixels."""

from __future__ import annotations

import math

import pytest
import torch

from understudy.data.randomness import Randomness
from understudy.data.warp import affine, warp
from understudy.errors import InputError

ZERO, ONE = torch.zeros(2), torch.ones(2)


def _rng(seed: int = 0) -> Randomness:
    rng = Randomness(seed)
    rng.begin(0)
    return rng


@pytest.mark.parametrize("shape", [(2, 1, 5, 5), (2, 3, 6, 4)])
def test_whole_pixels_and_quarter_turns(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    torch.testing.assert_close(affine(images, ZERO, ONE, ZERO, ZERO), images)
    torch.testing.assert_close(affine(images, ZERO + math.pi, ONE, ZERO, ZERO), images.rot90(2, (2, 3)))
    moved = torch.full_like(images, 0.25)
    moved[:, :, 1:, :-2] = images[:, :, :-1, 2:]
    torch.testing.assert_close(affine(images, ZERO, ONE, ONE, ZERO - 2, fill=0.25), moved)
    if shape[2] == shape[3]:
        quarter = ZERO + math.pi / 2
        torch.testing.assert_close(affine(images, quarter, ONE, ZERO, ZERO), images.rot90(1, (2, 3)))
        after = torch.zeros_like(images)  # turned first, moved then
        after[:, :, 1:] = images.rot90(1, (2, 3))[:, :, :-1]
        torch.testing.assert_close(affine(images, quarter, ONE, ONE, ZERO), after)


def test_an_oblong_image_is_turned_without_being_stretched() -> None:
    image = torch.zeros(2, 1, 5, 9)
    image[:, :, 2, 4:7] = 1.0  # a bar to the right of the middle
    upright = torch.zeros_like(image)
    upright[:, :, :3, 4] = 1.0  # points up after a quarter turn anticlockwise
    torch.testing.assert_close(affine(image, ZERO + math.pi / 2, ONE, ZERO, ZERO), upright)


def test_scaled_lengths() -> None:
    image = torch.zeros(2, 1, 9, 9)
    image[:, :, 3:6, 3:6] = 1.0
    larger, smaller = affine(image, ZERO, ONE * 2, ZERO, ZERO), affine(image, ZERO, ONE / 3, ZERO, ZERO)
    assert float(larger[0].sum()) == pytest.approx(4 * 9, rel=0.05)
    assert float(smaller[0].sum()) == pytest.approx(1, rel=0.05)
    with pytest.raises(InputError, match="above 0, found 0"):
        affine(image, ZERO, ZERO, ZERO, ZERO)


def test_draws() -> None:
    images = torch.rand(6, 2, 7, 7)
    out = warp(images, _rng(), 40.0, 0.3, 2.0, fill=0.5)
    assert torch.equal(out, warp(images, _rng(), 40.0, 0.3, 2.0, fill=0.5))
    assert not torch.allclose(out, warp(images, _rng(1), 40.0, 0.3, 2.0, fill=0.5))
    assert float(out.min()) >= 0.0
    assert float(out.max()) <= 1.0
    torch.testing.assert_close(warp(images, _rng()), images)
    split = _rng()
    split.begin(0, slice(2, 4), 6)  # a part of the batch is warped as the whole one would be
    torch.testing.assert_close(warp(images[2:4], split, 40.0, 0.3, 2.0, fill=0.5), out[2:4])
    for wrong, said in (
        ({"degrees": 181.0}, "degrees"),
        ({"scale": 1.0}, "scale"),
        ({"pixels": -1.0}, "pixels"),
    ):
        with pytest.raises(InputError, match=said):
            warp(images, _rng(), **wrong)
