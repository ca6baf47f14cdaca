"""Points with their times, and sets of noise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import understudy as us
from understudy.data.noise import noise_data, noise_shape, pack, unpack
from understudy.data.resolve import load_data

QUICK = settings(max_examples=25, deadline=None, derandomize=True)


@QUICK
@given(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 99))
def test_unpacking_gives_what_was_packed(rows: int, shape: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    point, time = torch.randn(rows, *shape, generator=generator), torch.rand(rows, generator=generator)
    packed = pack(point, time)
    assert packed.shape == (rows, shape[0] + 1, *shape[1:])
    found, again = unpack(packed)
    assert torch.equal(found, point)
    assert torch.equal(again, time)


def test_a_point_without_a_channel_for_the_time_is_refused() -> None:
    with pytest.raises(us.InputError, match=r"found \(3, 1\)"):
        unpack(torch.zeros(3, 1))


def test_a_set_of_noise_is_standard_normal_at_time_one_and_the_same_each_time() -> None:
    train = noise_data((2, 3))
    points, times = unpack(train.inputs(slice(None)))
    assert points.shape == (4096, 2, 3)
    assert (times == 1).all()
    assert abs(points.mean()) < 0.02
    assert abs(points.std() - 1) < 0.02
    assert (train.low, train.high, train.labels, train.classes) == (-math.inf, math.inf, None, None)
    assert train.fingerprint() == noise_data((2, 3)).fingerprint() != noise_data((2, 3), "test").fingerprint()


def test_its_name_opens_it() -> None:
    assert load_data("noise[2, 3]").fingerprint() == noise_data((2, 3)).fingerprint()
    assert load_data("noise[5]", "test").fingerprint() == noise_data((5,), "test").fingerprint()
    assert noise_shape("noise[1,8,8]") == (1, 8, 8)
    for name in ("noise", "noise[]", "noise[2", "noise[-1]", "digits"):
        assert noise_shape(name) is None


def test_bad_noise_is_refused() -> None:
    with pytest.raises(us.InputError, match="positive sides"):
        load_data("noise[2,0]")
    with pytest.raises(us.InputError, match="and examples, found"):
        noise_data((2,), examples=0)
    with pytest.raises(us.InputError, match="splits train and test"):
        load_data("noise[2]", "dev")
    with pytest.raises(us.InputError, match="unknown data set"):
        load_data("noise[x]")
