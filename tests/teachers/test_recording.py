"""A whole teacher on a whole data set: what is stored is what it would have said live, view by view."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.data import Batch, DataSet
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.models.saved import sha256_state
from understudy.sources import Augmented, Cast, Source
from understudy.teachers import (
    Dense,
    DenseTargets,
    Replay,
    Sampled,
    SparseTargets,
    identity_of,
    open_store,
    record_teacher,
)
from understudy.testing import tiny_conv, tiny_mlp

GENERATOR = torch.Generator().manual_seed(0)
DATA = DataSet("pixels", "train", torch.rand(50, 1, 6, 6, generator=GENERATOR))
REPLAY = Replay(Augmented(pixels=1, mirror=True), seed=3, views=3)
ORDER = torch.randperm(50, generator=GENERATOR)


def test_the_store_says_what_the_teacher_would_have_said(tmp_path: Path) -> None:
    """Each view, in another order and batch size than was recorded; the teacher in eval mode, and left as it was."""
    teacher = tiny_conv(seed=1).train()
    before = sha256_state(teacher)
    identity = record_teacher(tmp_path, teacher, before, DATA, Dense("float32"), replay=REPLAY, batch=16)
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())
    assert sha256_state(teacher) == before
    assert identity == identity_of(before, DATA, 5, replay=REPLAY)
    store = open_store(tmp_path, identity)
    teacher.eval()
    cast = Cast(nn.Identity(), None)
    for view in range(3):
        batch = Batch({"clean": DATA.inputs(ORDER)}, ORDER, epoch=view)
        live = teacher(REPLAY.at(batch, view, cast).clean).detach()
        found = store.read(ORDER, REPLAY.number(batch))
        assert isinstance(found, DenseTargets)
        torch.testing.assert_close(found.logits, live, rtol=1e-5, atol=1e-5)
    wrong = store.read(ORDER, 0)
    assert isinstance(wrong, DenseTargets)
    assert float((wrong.logits - live).abs().max()) > 0.1  # the answers of one view are not those of another


def test_clean_data_and_sparse_answers(tmp_path: Path) -> None:
    teacher = tiny_mlp(seed=1)
    identity = record_teacher(tmp_path, teacher, "aa", DATA, Sampled(4000), temperature=2.0)
    found = open_store(tmp_path, identity).read(ORDER)
    assert isinstance(found, SparseTargets)
    live = (teacher(DATA.inputs(ORDER)).detach() / 2).softmax(1)
    assert float((found.dense() - live).abs().max()) < 5 * 0.5 / 4000**0.5


def test_other_data_another_teacher_or_augmentation_is_refused(tmp_path: Path) -> None:
    teacher = tiny_mlp(seed=1)
    record_teacher(tmp_path, teacher, sha256_state(teacher), DATA, Dense(), replay=REPLAY)
    other = tiny_mlp(seed=2)
    less = DataSet("pixels", "train", DATA.stored.flip(0))
    for sha256, data, replay, message in (
        (sha256_state(other), DATA, REPLAY, "teacher is"),
        (sha256_state(teacher), less, REPLAY, "fingerprint is"),
        (sha256_state(teacher), DATA, None, r"view is Augmented\(.*asked for clean"),
        (sha256_state(teacher), DATA, Replay(Augmented(pixels=2), 3, 3), r"asked for Augmented\(pixels=2"),
        (sha256_state(teacher), DATA, Replay(REPLAY.inner, 4, 3), "seed is 3, asked for 4"),
        (sha256_state(teacher), DATA, Replay(REPLAY.inner, 3, 4), "views is 3, asked for 4"),
    ):
        with pytest.raises(InputError, match=message):
            open_store(tmp_path, identity_of(sha256, data, 5, replay=replay))


class Peeking(Source):
    """Shows what the student would rather see."""

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        cast.student(batch.clean)
        return batch


def test_a_source_that_looks_at_the_student_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="looks at the student cannot be stored"):
        record_teacher(tmp_path / "new", tiny_mlp(), "aa", DATA, Dense(), replay=Replay(Peeking()))
    assert not (tmp_path / "new").exists()


def test_a_teacher_in_half_precision_is_asked_in_it(tmp_path: Path) -> None:
    teacher = tiny_mlp(seed=1).bfloat16()
    identity = record_teacher(tmp_path, teacher, "aa", DATA, Dense())
    assert identity.precision == "bfloat16"
    with pytest.raises(InputError, match="precision is bfloat16, asked for float32"):
        open_store(tmp_path, identity_of("aa", DATA, 5))
    found = open_store(tmp_path, identity).read(torch.arange(50))
    assert isinstance(found, DenseTargets)
    live = teacher(DATA.inputs(slice(None)).bfloat16()).detach().float()
    torch.testing.assert_close(found.logits, live, rtol=2e-2, atol=2e-2)
