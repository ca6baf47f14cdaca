"""Distillation into a tree: the worked number, what targets do to splits, and the pattern on digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from understudy.errors import InputError
from understudy.models.estimators import Tree
from understudy.models.estimators.tree import CLIP
from understudy.recipes.decision_tree import DecisionTree, impurity, leaf_logits, tree_targets
from understudy.recipes.estimator import Shown


def shown(logits: Tensor, inputs: Tensor, labels: Tensor | None = None, **more: Any) -> Shown:
    """Rows whose teacher says `logits`, whatever it is asked."""
    names = tuple(f"x{i}" for i in range(inputs.shape[1]))
    return Shown(inputs, labels, logits.shape[1], names, ask=lambda asked: logits[: len(asked)], **more)


def some(seed: int, count: int = 50, classes: int = 3) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(count, classes, generator=draw), torch.rand(count, 4, generator=draw)


def test_worked_number() -> None:
    """Four rows, one feature: the impurity, all three gains, the split and its leaves."""
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    y = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]], dtype=torch.float64)
    assert impurity(y) == pytest.approx(0.483750, abs=1e-9)
    gains = [impurity(y) - impurity(y[:cut]) - impurity(y[cut:]) for cut in (1, 2, 3)]
    assert gains == pytest.approx([0.220417, 0.451250, 0.070417], abs=5e-7)
    tree = Tree.fit(x, y, depth=1)
    assert (int(tree.feature[0]), float(tree.threshold[0])) == (0, 2.5)
    leaves = tree.value[tree.leaf(x)].flatten().tolist()
    assert leaves == pytest.approx([0.85, 0.15, 0.85, 0.15, 0.375, 0.625, 0.375, 0.625], abs=1e-6)
    fitted = DecisionTree(depth=1, temperature=1).fit(shown(y.log(), x))
    assert fitted.loss == pytest.approx(0.0325 / 4, abs=1e-6)
    assert fitted.facts["explained"] == pytest.approx(0.451250 / 0.483750, abs=1e-5)
    assert (fitted.facts["nodes"], fitted.facts["depth"], fitted.facts["mean_path"]) == (3, 1, 1.0)
    classes = one_hot(torch.tensor([0, 0, 1, 2, 1]), 3).double()
    assert impurity(classes) == pytest.approx(3.2, abs=1e-9)


def test_a_teacher_of_labels_is_hard_distillation() -> None:
    logits, x = some(0)
    hard = 50.0 * one_hot(logits.argmax(1), 3)
    soft = DecisionTree(depth=4, temperature=1).fit(shown(hard, x)).student
    labels = Tree.fit(x, one_hot(logits.argmax(1), 3).double(), depth=4)
    assert torch.equal(soft(x).argmax(1), labels(x).argmax(1))
    assert isinstance(soft, Tree)
    assert torch.equal(soft.threshold, labels.threshold)


def test_no_share_of_the_teacher_is_the_tree_of_labels() -> None:
    logits, x = some(1)
    labels = torch.arange(50) % 3
    found = DecisionTree(depth=4, alpha=0).fit(shown(logits, x, labels)).student
    plain = Tree.fit(x, one_hot(labels, 3).double(), depth=4)
    assert isinstance(found, Tree)
    assert torch.equal(found.value, plain.value)
    half = DecisionTree(depth=0, alpha=0.5, temperature=2).fit(shown(logits, x, labels)).student
    assert isinstance(half, Tree)
    wanted = 0.5 * (logits.double() / 2).softmax(1).mean(0) + 0.5 * one_hot(labels, 3).double().mean(0)
    assert torch.allclose(half.value[0].double(), wanted, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_very_soft_targets_split_as_centred_logits_do(seed: int) -> None:
    """Their first questions gain the same on centred logits (which of two that tie is asked may change)."""
    logits, x = some(seed)
    centred = logits.double() - logits.double().mean(1, keepdim=True)

    def gain(targets: Tensor) -> float:
        ends = Tree.fit(x, targets, depth=1, answer=lambda leaf: leaf).leaf(x)
        return impurity(centred) - sum(impurity(centred[ends == end]) for end in ends.unique())

    assert gain(tree_targets(logits, "probabilities", 1e4)) == pytest.approx(gain(centred), rel=2e-3)
    assert gain(centred) > 0


def test_row_constants_move_logits_and_not_probabilities() -> None:
    logits, x = some(3)
    moved = logits + 4 * torch.rand(50, 1, generator=torch.Generator().manual_seed(9))
    for kind, same in (("probabilities", True), ("log_probabilities", True), ("logits", False)):
        one, two = (Tree.fit(x, tree_targets(z, kind, 2.0), depth=3) for z in (logits, moved))  # type: ignore[arg-type]
        assert torch.equal(one.leaf(x), two.leaf(x)) == same, kind


@pytest.mark.parametrize("kind", ["probabilities", "log_probabilities", "logits"])
def test_a_tree_without_limit_answers_as_its_teacher_does(kind: Any) -> None:
    """Whatever the targets were, the confidences come back at temperature 1."""
    logits, x = some(4)
    student = DecisionTree(depth=None, targets=kind).fit(shown(logits, x)).student
    assert float((student.predict_proba(x) - logits.softmax(1)).abs().max()) < 1e-5


def test_targets_stay_within_the_clip() -> None:
    logits = torch.tensor([[100.0, 0.0, -100.0]])
    assert tree_targets(logits, "log_probabilities", 1.0).tolist() == [[0.0, -CLIP, -CLIP]]
    assert tree_targets(logits, "logits", 4.0).tolist() == [[CLIP, 0.0, -CLIP]]
    assert leaf_logits(torch.tensor([[1.0, 0.0]]), "probabilities", 2.0).tolist() == [
        [0.0, pytest.approx(-2 * CLIP)]
    ]


def test_copies_are_asked_about_inside_the_range() -> None:
    asked: list[Tensor] = []

    def ask(inputs: Tensor) -> Tensor:
        asked.append(inputs)
        return torch.zeros(len(inputs), 2) + inputs[:, :1]

    x = torch.rand(30, 2)
    made: Callable[[int], Shown] = lambda seed: Shown(x, None, 2, ("a", "b"), ask=ask, seed=seed)  # noqa: E731
    DecisionTree(copies=2, noise=0.3).fit(made(0))
    assert [len(part) for part in asked] == [30, 30, 30]
    assert torch.equal(asked[0], x)
    assert not torch.equal(asked[1], asked[2])
    assert all(float(part.min()) >= 0 and float(part.max()) <= 1 for part in asked)
    before = asked[1]
    DecisionTree(copies=1, noise=0.3).fit(made(0))
    assert torch.equal(asked[4], before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"alpha": 1.5}, "alpha"),
        ({"noise": -1.0}, "noise"),
        ({"depth": -1}, "depth must be 0 or more"),
        ({"min_leaf": 0}, "min_leaf must be 1 or more"),
        ({"copies": -1}, "copies must be 0 or more"),
        ({"alpha": 0.5, "targets": "logits"}, "labels mix with probabilities only"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        DecisionTree(**options)


def test_what_it_needs() -> None:
    logits, x = some(0)
    with pytest.raises(InputError, match="asks a teacher"):
        DecisionTree().fit(Shown(x, None, 3, ("a", "b", "c", "d")))
    for labels in (None, torch.full((50,), -1)):
        with pytest.raises(InputError, match="not every example has one"):
            DecisionTree(alpha=0.5).fit(shown(logits, x, labels))
