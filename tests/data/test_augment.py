from __future__ import annotations

import pytest
import torch

from understudy.data.augment import flip, shift
from understudy.data.randomness import Randomness
from understudy.errors import InputError


def _rng(seed: int = 0) -> Randomness:
    rng = Randomness(seed)
    rng.begin(0)
    return rng


def _moved(image: torch.Tensor, down: int, right: int, fill: float) -> torch.Tensor:
    """By hand: the image seen through a window displaced by (down, right)."""
    out = torch.full_like(image, fill)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            r, c = row + down, column + right
            if 0 <= r < image.shape[1] and 0 <= c < image.shape[2]:
                out[:, row, column] = image[:, r, c]
    return out


@pytest.mark.parametrize("shape", [(64, 1, 5, 7), (64, 3, 6, 4)])
def test_every_shifted_image_is_some_displacement_and_all_occur(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(shape)
    out = shift(inputs, 2, _rng(), fill=0.25)
    seen = set()
    for image, moved in zip(inputs, out, strict=True):
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(_moved(image, down, right, 0.25), moved)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 18
    assert {d for d, _ in seen} == {r for _, r in seen} == {-2, -1, 0, 1, 2}


def test_no_shift_and_too_much() -> None:
    inputs = torch.rand(2, 1, 4, 6)
    assert torch.equal(shift(inputs, 0, _rng()), inputs)
    for wrong in (-1, 4, 5):
        with pytest.raises(InputError, match=f"found {wrong}"):
            shift(inputs, wrong, _rng())


def test_about_half_are_mirrored_exactly() -> None:
    inputs = torch.rand(400, 3, 4, 5)
    out = flip(inputs, _rng())
    same = (out == inputs).flatten(1).all(1)
    mirrored = (out == inputs.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("function", [lambda x, r: shift(x, 2, r), flip])
def test_a_split_batch_is_augmented_as_the_whole_one(function: object) -> None:
    inputs = torch.rand(10, 2, 6, 6)
    assert callable(function)
    whole = function(inputs, _rng(4))
    parts = []
    for rows in (slice(0, 4), slice(4, 4), slice(4, 10)):
        rng = Randomness(4)
        rng.begin(0, rows, 10)
        parts.append(function(inputs[rows], rng))
    assert torch.equal(torch.cat(parts), whole)


def test_gradients_pass_through() -> None:
    inputs = torch.rand(3, 1, 5, 5, requires_grad=True)
    flip(shift(inputs, 1, _rng()), _rng()).sum().backward()
    assert inputs.grad is not None
    assert set(inputs.grad.unique().tolist()) <= {0.0, 1.0}
