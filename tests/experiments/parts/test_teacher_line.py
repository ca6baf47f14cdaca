"""Starts on the line between two networks, and what the inputs are shown as."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.experiments.parts.teacher_line import MixedUp, ShownSD, start_towards
from understudy.sources import Augmented
from understudy.sources.base import AsIs, Cast
from understudy.testing import tiny_conv, tiny_mlp


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in net.state_dict().values()])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_line(share: float) -> None:
    student, teacher = tiny_mlp(seed=1), tiny_mlp(seed=2)
    own, other = weights(student), weights(teacher)
    start_towards(student, teacher, share)
    wanted = share * own + (1 - share) * other
    assert torch.equal(weights(teacher), other)
    if share in (0.0, 1.0):
        assert torch.equal(weights(student), wanted)
    torch.testing.assert_close(weights(student), wanted)


def test_what_has_no_line() -> None:
    with pytest.raises(InputError, match=r"from 0 to 1, found 1\.5"):
        start_towards(tiny_mlp(seed=1), tiny_mlp(seed=2), 1.5)
    with pytest.raises(InputError, match="one architecture"):
        start_towards(tiny_mlp(seed=1), tiny_conv(seed=2), 0.5)
    with pytest.raises(InputError, match="batch norm"):
        start_towards(tiny_conv(seed=1), tiny_conv(seed=2), 0.5)


def test_mixed_images_lie_between_two_of_the_batch() -> None:
    torch.manual_seed(0)
    images = torch.rand(6, 1, 4, 4)
    random = Randomness(3)
    random.begin(0)
    batch = Batch({"clean": images}, torch.arange(6))
    mixed = MixedUp().show(batch, Cast(tiny_mlp(seed=1), None), random).clean
    flat = images.flatten(1)
    found = []
    for row, one in enumerate(mixed.flatten(1)):
        for partner in range(6):
            if partner == row:
                continue
            way = flat[row] - flat[partner]
            share = float((one - flat[partner]) @ way / (way @ way))
            if torch.allclose(one, flat[partner] + share * way, atol=1e-5):
                found.append((row, share))
    assert [row for row, _ in found] == list(range(6))
    assert all(abs(share - found[0][1]) < 1e-4 and 0 <= share < 1 for _, share in found)
    assert MixedUp().whole_batch


def test_ways_to_show() -> None:
    assert ShownSD().source(0.0, 1.0) == AsIs()
    assert ShownSD(shown="shift").source(0.5, 1.0) == Augmented(1, fill=0.5)
    assert ShownSD(shown="mixup", temperature=4.0).source(0.0, 1.0) == MixedUp()
    assert not ShownSD().needs.labels
    with pytest.raises(InputError, match="temperature"):
        ShownSD(temperature=0.0)
