"""Wrong labels, blocks in a last layer, and the student that is watched while it learns."""

from __future__ import annotations

import pytest
import torch

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.experiments.parts.teacher_levels import (
    ALL,
    LABELS_ALONE,
    LEARNED,
    SMOOTHED,
    WatchedCE,
    block_structure,
    cosines,
    method_of,
    mislabelled,
    tenths,
)
from understudy.fidelity.rescaling import EpochsWrong
from understudy.jobs.training_job import TrainingRequest, run_training
from understudy.methods.logits.label_smoothing import LabelSmoothing
from understudy.methods.logits.understanding_kd import TeacherLevels
from understudy.methods.robust.kd import SD


def made(count: int = 50, classes: int = 5) -> DataSet:
    torch.manual_seed(0)
    return DataSet("made", "train", torch.rand(count, 1, 6, 6), torch.arange(count) % classes, classes)


def test_wrong_labels() -> None:
    data = made(500)
    assert data.labels is not None
    noisy, wrong = mislabelled(data, 0.2, seed=3)
    assert noisy.labels is not None
    assert int(wrong.sum()) == 100
    assert torch.equal(noisy.labels != data.labels, wrong)
    assert noisy.labels.min() == 0
    assert noisy.labels.max() == 4
    moved = (noisy.labels - data.labels)[wrong] % 5
    assert torch.bincount(moved, minlength=5)[1:].min() > 10  # evenly over the other four, 25 each
    assert torch.equal(mislabelled(data, 0.2, seed=3)[1], wrong)
    assert not torch.equal(mislabelled(data, 0.2, seed=4)[1], wrong)
    assert not mislabelled(data, 0.0, seed=3)[1].any()
    with pytest.raises(InputError, match="share of wrong labels"):
        mislabelled(data, 1.2, seed=3)
    with pytest.raises(InputError, match="no single label"):
        mislabelled(DataSet("bare", "train", torch.rand(5, 3)), 0.2, seed=3)


def test_blocks() -> None:
    weights = torch.tensor([[1.0, 0], [5, 0], [0, 1], [0, 2], [-1, 0]])
    # within {0, 1}, {2, 3}: 1, 1; across: 0 four times, then 4 against each: -1, -1, 0, 0
    assert block_structure(weights, [(0, 1), (2, 3)]) == pytest.approx(1 + 2 / 8)
    assert block_structure(3 * weights, [(0, 1), (2, 3)]) == pytest.approx(1 + 2 / 8)
    torch.testing.assert_close(cosines(weights)[0], torch.tensor([1.0, 1, 0, 0, -1], dtype=torch.float64))
    for groups, match in [
        ([(0, 1), (1, 2)], "once at most"), ([(0, 7)], r"classes 0\.\.4"), ([], "pairs of classes"),
        ([(0, 1, 2, 3, 4)], "pairs of classes"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=match):
            block_structure(weights, groups)


def test_tenths() -> None:
    confidence = torch.linspace(1, 0, 40, dtype=torch.float64)
    assert tenths(confidence, 1 - confidence) == sorted(tenths(confidence, 1 - confidence), reverse=True)
    assert tenths(confidence, confidence)[0] == pytest.approx(float(confidence[-4:].mean()))


def test_every_pass_is_watched_and_nothing_else_changes() -> None:
    data, passes = made(), EpochsWrong(50)
    request = TrainingRequest(command="train", data=data, model="mlp[4]", epochs=3, batch_size=16)
    plain = run_training(request, device="cpu").student
    method = WatchedCE(watch=passes)
    watched = run_training(
        TrainingRequest(command="train", data=data, model="mlp[4]", epochs=3, batch_size=16, method=method),
        device="cpu",
    ).student
    assert passes.seen.eq(3).all()
    assert 0 < passes.share().mean() < 1
    for own, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(own, other)


def test_every_way_to_learn() -> None:
    base, passes = TeacherLevels(alpha=0.4, k=3), EpochsWrong(6)
    methods = {learned: method_of(learned, base, passes) for learned in LEARNED}
    asked = [learned for learned, method in methods.items() if method.needs.teacher]
    assert asked == list(LEARNED[2:])
    assert isinstance(methods[LABELS_ALONE], WatchedCE)
    assert methods[SMOOTHED] == LabelSmoothing(share=0.4)
    assert methods[ALL] == SD(alpha=0.4)
    kept = [m.keep for m in methods.values() if isinstance(m, TeacherLevels) and (m.alpha, m.k) == (0.4, 3)]
    assert kept == ["rel", "pt", "pt+rel", "topk"]
