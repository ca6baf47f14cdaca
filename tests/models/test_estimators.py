"""Trees and additive models as saved arrays: held against scikit-learn, against arithmetic, and across a file."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from torch import Tensor, nn
from torch.nn.functional import one_hot

from understudy.data.resolve import load_data
from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.estimators import Additive, Tree, build_estimator, is_estimator, without_gradients
from understudy.models.estimators.base import check_fit, rounded_down
from understudy.models.estimators.tree import CLIP, in_words
from understudy.models.opening import open_model
from understudy.models.saved import save_model

SEEDS = st.integers(0, 10_000)


def rows(seed: int, count: int = 60, columns: int = 4, outputs: int = 3) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    targets = (2 * torch.randn(count, outputs, generator=draw, dtype=torch.float64)).softmax(1)
    return torch.rand(count, columns, generator=draw), targets


def parts(tree: Tree, inputs: Tensor) -> list[list[int]]:
    """The partition of the rows, leaves in the order in which rows name them."""
    ends = tree.leaf(inputs).tolist()
    return [[row for row, end in enumerate(ends) if end == leaf] for leaf in dict.fromkeys(ends)]


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 6))
def test_a_tree_says_what_scikit_learn_says(seed: int, depth: int) -> None:
    inputs, targets = rows(seed)
    tree = Tree.fit(inputs, targets, depth=depth, seed=3)
    other = DecisionTreeRegressor(max_depth=depth, random_state=3).fit(inputs.numpy(), targets.numpy())
    fresh = torch.rand(200, 4, generator=torch.Generator().manual_seed(seed + 1))
    assert np.abs(tree.value[tree.leaf(fresh)].numpy() - other.predict(fresh.numpy())).max() < 1e-6
    assert len(tree.feature) == other.tree_.node_count
    assert int(tree.depths().max()) == other.get_depth()
    said = tree.predict_proba(fresh)
    assert (
        float((said - torch.from_numpy(other.predict(fresh.numpy()))).abs().max()) < 1e-4
    )  # but for the clip
    assert torch.equal(said.argmax(1), tree.value[tree.leaf(fresh)].argmax(1))


def test_with_one_hot_targets_it_is_the_gini_tree() -> None:
    """Held-out digits, several depths: same predictions, same leaf distributions."""
    train, test = load_data("digits"), load_data("digits", "test")
    x, new = train.inputs(slice(None)), test.inputs(slice(None))
    assert train.labels is not None
    for depth in (2, 5, 8):
        tree = Tree.fit(x, one_hot(train.labels, 10).double(), depth=depth)
        gini = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x.flatten(1), train.labels)
        assert np.array_equal(tree(new).argmax(1).numpy(), gini.predict(new.flatten(1)))
        assert np.allclose(tree.value[tree.leaf(new)].numpy(), gini.predict_proba(new.flatten(1)), atol=1e-6)


def test_leaves_of_probabilities_are_probabilities_and_means() -> None:
    inputs, targets = rows(1)
    tree = Tree.fit(inputs, targets, depth=3)
    assert float(tree.value.min()) >= 0
    assert torch.allclose(tree.value.sum(1), torch.ones(len(tree.value)), atol=1e-6)
    for part in parts(tree, inputs):
        assert torch.allclose(
            tree.value[tree.leaf(inputs)][part[0]].double(), targets[part].mean(0), atol=1e-6
        )
    assert torch.allclose(Tree.fit(inputs, targets, depth=0).value, targets.mean(0).float()[None])


def test_without_a_limit_it_knows_its_rows_by_heart() -> None:
    inputs, targets = rows(2)
    tree = Tree.fit(inputs, targets)
    assert torch.allclose(tree.value[tree.leaf(inputs)].double(), targets, atol=1e-6)
    assert min(len(part) for part in parts(Tree.fit(inputs, targets, min_leaf=7), inputs)) >= 7


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_what_leaves_the_splits_as_they_are(seed: int) -> None:
    """A constant vector added, a factor, an orthogonal rotation of the outputs, a monotone map of a feature."""
    inputs, targets = rows(seed)
    before = parts(Tree.fit(inputs, targets, depth=3), inputs)
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).Q
    for moved in (targets + torch.tensor([1.0, -2.0, 0.5]), 3 * targets, targets @ turn):
        assert parts(Tree.fit(inputs, moved, depth=3, answer=lambda leaf: leaf), inputs) == before
    bent = inputs.clone()
    bent[:, 1] = (1 + bent[:, 1]) ** 3
    assert parts(Tree.fit(bent, targets, depth=3), bent) == before


def test_the_path_explains_the_leaf() -> None:
    inputs, targets = rows(5)
    tree = Tree.fit(inputs, targets, depth=4)
    for one in inputs[:20]:
        path = tree.path(one)
        assert all(bool(one[feature] <= threshold) == below for feature, threshold, below in path)
        assert len(path) == int(tree.depths()[tree.leaf(one[None])])
    assert in_words([(1, 0.5, True), (0, 0.25, False)], ["a", "b"]) == "b <= 0.5, a > 0.25"
    assert in_words([], []) == "nothing is asked"


def test_a_class_that_a_leaf_never_saw_keeps_a_finite_logit() -> None:
    tree = Tree.fit(torch.tensor([[0.0], [1.0]]), torch.eye(2, dtype=torch.float64))
    assert tree(torch.tensor([[0.0]])).tolist() == [[0.0, pytest.approx(-CLIP)]]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_threshold_parts_float32_values_as_before(thresholds: list[float]) -> None:
    exact = np.array(thresholds)
    short = rounded_down(exact)
    assert (short.astype(np.float64) <= exact).all()
    assert (np.nextafter(short, np.float32(np.inf)).astype(np.float64) > exact).all()


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_boosted_terms_sum_to_scikit_learns_model(seed: int) -> None:
    inputs, targets = rows(seed, 300)
    outcome = (targets[:, 0] + inputs[:, 0] > 0.8).double()
    model = Additive.fit(inputs, outcome, logistic=True, rounds=20)
    reference = HistGradientBoostingClassifier(
        max_iter=20, max_leaf_nodes=4, interaction_cst="no_interactions", early_stopping=False, random_state=0
    ).fit(inputs.double().numpy(), outcome.numpy())
    seen = reference.decision_function(inputs.double().numpy())
    assert np.abs(model.margin(inputs).numpy() - seen).max() < 1e-4
    terms = model.terms(inputs).double()
    assert float(terms.mean(0).abs().max()) < 1e-5
    middle = model.margin(inputs).double() - model.margin(inputs).double().mean()
    assert torch.allclose(terms.sum(1), middle, atol=1e-5)
    logits = model(inputs)
    assert torch.allclose(logits.softmax(1)[:, 1], model.margin(inputs).sigmoid())


def test_linear_terms_are_slopes() -> None:
    inputs, targets = rows(3)
    goal = targets[:, 0].logit()
    model = Additive.fit(inputs, goal, logistic=False, kind="linear")
    reference = LinearRegression().fit(inputs.double().numpy(), goal.numpy())
    assert np.allclose(model.slopes.numpy(), reference.coef_, atol=1e-5)
    centred = inputs - inputs.mean(0)
    assert torch.allclose(model.terms(inputs), torch.from_numpy(reference.coef_).float() * centred, atol=1e-5)
    assert np.allclose(model.margin(inputs).numpy(), reference.predict(inputs.double().numpy()), atol=1e-5)


@pytest.mark.parametrize("kind", ["tree", "additive", "linear"])
def test_a_file_brings_it_back(kind: str, tmp_path: Path) -> None:
    inputs, targets = rows(4, outputs=2)
    inputs = inputs.view(-1, 1, 2, 2)
    model: nn.Module
    if kind == "tree":
        model = Tree.fit(inputs, targets, depth=3)
    else:
        made = "linear" if kind == "linear" else "boosted"
        model = Additive.fit(inputs, targets[:, 0].logit(), logistic=False, kind=made, rounds=10)  # type: ignore[arg-type]
    spec = without_gradients(model)
    assert spec is not None
    assert is_estimator(spec)
    save_model(tmp_path / "m.safetensors", model, ModelConfig(spec, (1, 2, 2), 2))
    opened = open_model(tmp_path / "m.safetensors", shape=(1, 2, 2), classes=2)
    assert torch.equal(opened.module(inputs), model(inputs))
    assert without_gradients(opened.module) == spec
    assert opened.parameters > 0
    double = copy.deepcopy(opened.module).double()
    assert torch.allclose(double(inputs.double()), model(inputs).double(), atol=1e-6)
    with pytest.raises(InputError, match=r"inputs of shape"):
        open_model(tmp_path / "m.safetensors", shape=(4,), classes=2)


def test_what_cannot_be_fitted_or_built() -> None:
    inputs, targets = rows(0)
    with pytest.raises(InputError, match="60 rows and 59 targets"):
        check_fit(inputs, targets[:59])
    with pytest.raises(InputError, match="finite targets"):
        Tree.fit(inputs, targets / 0)
    with pytest.raises(InputError, match="outcomes must be 0 and 1, both of them"):
        Additive.fit(inputs, torch.ones(60), logistic=True)
    with pytest.raises(InputError, match="odd number of nodes"):
        build_estimator(ModelConfig("tree[4,1]", (4,), 3))
    with pytest.raises(InputError, match="2 classes"):
        build_estimator(ModelConfig("additive[4]", (4,), 3))
    with pytest.raises(InputError, match="names no estimator"):
        build_estimator(ModelConfig("mlp[4]", (4,), 3))
    assert not is_estimator("tree")
    assert without_gradients(nn.Linear(2, 2)) is None
