"""T.stddev: the worked number, what does not change it, and how it falls with the size of the parts."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import nn

import understudy as us
from understudy.data import DataSet
from understudy.fidelity import deviation_of_means, teacher_stddev
from understudy.sources import AsIs, Picked, WithAugmented
from understudy.testing import tiny_conv, tiny_mlp

DATA = DataSet(
    "made", "train", torch.rand(320, 1, 6, 6, generator=torch.Generator().manual_seed(0)), None, None
)


def test_the_worked_number() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6], [0.6, 0.3, 0.1]])
    means = torch.stack((p[:2].mean(0), p[2:].mean(0)))
    assert deviation_of_means(means) == pytest.approx(0.094281, abs=5e-7)
    by_hand = statistics.mean(statistics.stdev(column) for column in means.t().tolist())
    assert deviation_of_means(means) == pytest.approx(by_hand, rel=1e-6)
    assert deviation_of_means(means[:, [2, 0, 1]]) == pytest.approx(by_hand, rel=1e-6)
    assert deviation_of_means(means[:1].expand(3, -1)) == 0


def test_one_part_has_no_deviation() -> None:
    with pytest.raises(us.InputError, match="two parts at least, found 1"):
        deviation_of_means(torch.rand(1, 3))
    with pytest.raises(us.InputError, match="1 epochs of 320 examples in batches of 64 have 5 batches"):
        teacher_stddev(tiny_mlp(), DATA, AsIs(), epochs=1)


def test_a_constant_teacher_deviates_nowhere() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    nn.init.zeros_(teacher[1].weight)
    assert teacher_stddev(teacher, DATA, WithAugmented("cutmix")) < 1e-8


def test_it_falls_as_the_root_of_the_examples_in_a_part() -> None:
    teacher = tiny_mlp(seed=1)
    small, large = (
        teacher_stddev(teacher, DATA, AsIs(), batch_size=size, part=1, epochs=40) for size in (4, 16)
    )
    assert small / large == pytest.approx(2, rel=0.15)


def test_the_same_images_twice_are_as_good_as_once_and_left_as_they_were() -> None:
    teacher = tiny_conv(seed=1).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    once = teacher_stddev(teacher, DATA, AsIs(), seed=3, part=2)
    assert teacher_stddev(teacher, DATA, WithAugmented("identity"), seed=3, part=2) == pytest.approx(
        once, rel=1e-9
    )
    assert teacher_stddev(teacher, DATA, AsIs(), seed=4, part=2) != once
    assert once > 1e-4
    whole = teacher_stddev(teacher, DATA, AsIs(), part=5)  # every part is the whole set
    assert whole < 1e-9
    assert teacher.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


class Fresh(us.Source):
    """Another image of chance beside each."""

    def show(self, batch, cast, random):
        return batch.with_view("other", random.uniform(batch.clean, 0.0, 1.0))


def test_images_that_have_nothing_to_do_with_the_others_lower_it_as_more_examples_do() -> None:
    teacher = tiny_mlp(seed=1)
    plain, fresh = (
        teacher_stddev(teacher, DATA, source, batch_size=16, part=1, epochs=20)
        for source in (AsIs(), Fresh())
    )
    assert fresh / plain == pytest.approx(0.5**0.5, rel=0.15)


def test_a_picking_student_is_asked() -> None:
    teacher, asking = tiny_mlp(seed=1), Picked(score="student")
    assert teacher_stddev(teacher, DATA, asking, student=tiny_conv()) > 0
    with pytest.raises(us.InputError, match="logits"):
        teacher_stddev(teacher, DATA, asking)
