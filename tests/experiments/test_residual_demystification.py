"""Depth without residuals: what must hold at any size, and the rule by which it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from understudy.errors import InputError
from understudy.experiments.base import Result
from understudy.experiments.residual_demystification import (
    BY_WEAKER,
    PLAIN,
    RESIDUAL,
    RESIDUAL_TAUGHT,
    SMOOTHED,
    TAUGHT,
    Ready,
    ResidualDemystification,
    Sizes,
    smoothing_share,
)
from understudy.methods.logits.label_smoothing import smoothed

NAMES = [
    *(f"8 layers: {way}" for way in (RESIDUAL, PLAIN, TAUGHT, BY_WEAKER)),
    *(f"14 layers: {way}" for way in (RESIDUAL, PLAIN, TAUGHT, BY_WEAKER, RESIDUAL_TAUGHT, SMOOTHED)),
]


@pytest.fixture(scope="module")
def small() -> Sizes:
    return Sizes(
        seeds=(0,), examples=60, width=6, depths=(8, 14), teacher_width=8, weak_width=4, weak_epochs=1, epochs=2,
        batch_size=20,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ready(small: Sizes) -> Ready:
    return ResidualDemystification(small).prepare(small, 0, None, "cpu")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, small: Sizes) -> Result:
    return ResidualDemystification(small).run(tmp_path_factory.mktemp("depth") / "out", device="cpu")


def test_a_row_a_setting(done: Result) -> None:
    assert [row["setting"] for row in done.rows] == NAMES
    for row in done.rows:
        taught = "taught" in row["setting"] or "weaker" in row["setting"]
        assert ("teacher_accuracy" in row) == ("agreement" in row) == ("kl" in row) == taught
        assert 0 <= row["student_accuracy"] <= 1
        assert 0 <= row["train_accuracy"] <= 1
        if taught:
            assert row["agreement"] >= row["student_accuracy"] + row["teacher_accuracy"] - 1 - 1e-9
    of = {row["setting"]: row for row in done.rows}
    assert len({of[f"{d} layers: {TAUGHT}"]["teacher_accuracy"] for d in (8, 14)}) == 1
    assert (
        of[f"14 layers: {TAUGHT}"]["teacher_accuracy"]
        == of[f"14 layers: {RESIDUAL_TAUGHT}"]["teacher_accuracy"]
    )


def test_a_teacher_of_weight_0_changes_nothing(small: Sizes, ready: Ready) -> None:
    """alpha = 0 and one learning rate: the taught network is the one that learns from labels."""
    alone = replace(small, alpha=0.0, taught_lr=small.lr)
    of = {one.name: one for one in ResidualDemystification(alone).settings(alone)}
    one, other = (
        ResidualDemystification(alone).measure(alone, of[f"8 layers: {way}"], 0, ready)
        for way in (PLAIN, TAUGHT)
    )
    for metric in ("student_accuracy", "train_accuracy"):
        assert one[metric] == other[metric]


def test_smoothed_labels_are_as_unsure(small: Sizes, ready: Ready) -> None:
    assert ready.train.labels is not None
    labels, net = ready.train.labels, ready.teachers[TAUGHT]
    with torch.no_grad():
        soft = (net(ready.train.inputs(slice(None))) / small.temperature).softmax(1)
    wanted = soft.gather(1, labels[:, None]).mean()
    found = smoothed(labels, 10, smoothing_share(ready)).gather(1, labels[:, None])
    torch.testing.assert_close(found, wanted.expand_as(found), atol=1e-5, rtol=0)


def test_what_is_drawn(done: Result) -> None:
    page = (done.folder / "report.html").read_text()
    assert page.count("<svg") == 3  # two depths, and accuracy over them
    for said in (*NAMES, done.sentence, "What depth costs", "Accuracy on test inputs, by depth"):
        assert said in page


def made_up(**changed: float) -> Mapping[tuple[str, str], Sequence[float]]:
    """Values under which every part appears; `changed` moves the accuracy of a network with 14 layers."""
    first = {RESIDUAL: 0.95, PLAIN: 0.93, TAUGHT: 0.95, BY_WEAKER: 0.95}
    last = {RESIDUAL: 0.95, PLAIN: 0.7, TAUGHT: 0.85, BY_WEAKER: 0.8, RESIDUAL_TAUGHT: 0.96, SMOOTHED: 0.72}
    last |= {key.replace("_", " "): one for key, one in changed.items()}
    values = {
        (f"{depth} layers: {way}", "student_accuracy"): [found, found + 0.001, found - 0.001]
        for depth, ways in ((8, first), (14, last))
        for way, found in ways.items()
    }
    return {**values, (f"8 layers: {BY_WEAKER}", "teacher_accuracy"): [0.9, 0.91, 0.9]}


def test_the_rule(small: Sizes) -> None:
    def verdicts(values: Mapping[tuple[str, str], Sequence[float]]) -> list[str]:
        return [one.verdict for one in ResidualDemystification(small).judge(small, values)]

    assert verdicts(made_up()) == ["appeared"] * 7
    assert verdicts(made_up(plain=0.96))[2:4] == ["did not appear", "did not appear"]
    assert (
        verdicts({**made_up(), (f"14 layers: {TAUGHT}", "student_accuracy"): [0.97, 0.96, 0.97]})[4]
        == "did not appear"
    )
    assert (
        verdicts({**made_up(), (f"14 layers: {SMOOTHED}", "student_accuracy"): [0.9, 0.91, 0.9]})[5]
        == "did not appear"
    )
    assert (
        verdicts({**made_up(), (f"14 layers: {RESIDUAL_TAUGHT}", "student_accuracy"): [1.15, 1.15, 1.15]})[6]
        == "did not appear"
    )
    better = {**made_up(), (f"8 layers: {BY_WEAKER}", "teacher_accuracy"): [0.97, 0.98, 0.97]}
    assert (
        verdicts(better)[1] == "did not appear"
    )  # a teacher that is better than the student is no weaker one


def test_what_is_refused(small: Sizes, tmp_path: Path) -> None:
    for depths in ((8,), (14, 8), (8, 8)):
        with pytest.raises(InputError, match="ascending"):
            replace(small, depths=depths)
    with pytest.raises(InputError, match="6n"):
        ResidualDemystification(replace(small, depths=(8, 15))).run(tmp_path / "a", device="cpu")
    with pytest.raises(InputError, match="has 1347 examples, asked for 5000"):
        ResidualDemystification(replace(small, examples=5000)).run(tmp_path / "b", device="cpu")
