"""The audit of a black box: worked numbers, scales, controls in which the answer is known, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from torch import Tensor

from understudy.data.resolve import load_data
from understudy.data.tabular import Table
from understudy.errors import InputError
from understudy.models.estimators import Additive
from understudy.recipes.black_box import GRID, Scored, compare_terms, grid_of, held_out
from understudy.recipes.distill_and_compare import DistillAndCompare
from understudy.recipes.estimator import Fitted, Shown
from understudy.recipes.term_comparison import (
    Scale,
    auc,
    correlation,
    permutation_test,
    scale_factor,
    scaled_difference,
)

QUICK: dict[str, Any] = {"kind": "linear", "bags": 4, "permutations": 200, "folds": 3}


def linear(rows: Tensor, targets: Tensor, logistic: bool, seed: int) -> Additive:
    return Additive.fit(rows, targets, logistic=logistic, kind="linear", seed=seed)


def made_up(seed: int, weights: list[float], rows: int = 3000, noise: float = 0.5) -> tuple[Shown, Tensor]:
    """Rows whose outcome follows 4 (x0 + x1 - 1); the score is `weights` x and noise. Also the outcome's logit."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, 3, generator=draw)
    logit = 4 * (x[:, 0] + x[:, 1] - 1)
    outcome = (torch.rand(rows, generator=draw) < logit.sigmoid()).long()
    score = x @ torch.tensor(weights) + noise * torch.randn(rows, generator=draw)
    return Shown(x, outcome, 2, ("a", "b", "c"), scores=score), logit


def fitted(shown: Shown, **options: Any) -> Fitted:
    return DistillAndCompare(**{**QUICK, **options}).fit(shown)


def test_worked_numbers() -> None:
    score = torch.tensor([2.0, 4.0, 6.0, 8.0], dtype=torch.float64)
    outcome = torch.tensor([-1.0, -0.5, 0.5, 1.0], dtype=torch.float64)
    scale = scale_factor(score, outcome)
    assert scale == pytest.approx(0.353553, abs=5e-7)
    centred = score - score.mean()
    assert (scale * centred).tolist() == pytest.approx([-1.060660, -0.353553, 0.353553, 1.060660], abs=5e-7)
    apart = scaled_difference(centred, outcome - outcome.mean(), scale)
    assert apart.tolist() == pytest.approx([-0.060660, 0.146447, -0.146447, 0.060660], abs=5e-7)
    off, other = torch.tensor([0.5, -0.3, 0.2, -0.4]), torch.tensor([0.4, -0.2, 0.3, -0.5])
    assert correlation(off, other) == pytest.approx(0.962963, abs=5e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-5, 5))
def test_an_affine_score_compares_as_before(seed: int, factor: float, shift: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(40, generator=draw, dtype=torch.float64) for _ in range(2))
    spreads: tuple[Scale, ...] = ("sd_predictions", "range_predictions", "sd_targets", "range_targets")
    for spread in spreads:
        before = scale_factor(one, two, spread) * (one - one.mean())
        moved = factor * one + shift
        assert torch.allclose(scale_factor(moved, two, spread) * (moved - moved.mean()), before, atol=1e-9)
    assert correlation(one, two) == pytest.approx(float(pearsonr(one.numpy(), two.numpy())[0]), abs=1e-9)


def test_the_permutation_test_knows_chance_from_more() -> None:
    draw = torch.Generator().manual_seed(1)
    one, two = (torch.randn(400, generator=draw) for _ in range(2))
    _, spread, p = permutation_test(one, two, 300)
    assert spread == pytest.approx(1 / np.sqrt(400), rel=0.2)
    assert p > 0.01
    found, _, p = permutation_test(one, two + one, 300)
    assert found > 0.5
    assert p == pytest.approx(1 / 301)
    assert permutation_test(one, two - one, 300)[2] == 1.0


def test_auc_counts_pairs() -> None:
    score, outcome = torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert auc(score, outcome) == pytest.approx(3.5 / 4)


def test_a_score_of_the_students_class_is_recovered() -> None:
    shown, _ = made_up(0, [4.0, 4.0, 1.5], noise=0.0)
    assert shown.scores is not None
    table = Scored(shown.inputs, shown.scores, shown.labels.double(), shown.names)  # type: ignore[union-attr]
    fidelity, _ = held_out(table, linear, lambda *_: lambda score: score, folds=3, permutations=50)
    assert fidelity["r2"] == pytest.approx(1.0, abs=1e-6)
    factor, terms = compare_terms(table, shown.scores, linear, bags=6, spread="sd_predictions")
    assert [any(term["differs"]) for term in terms][2]
    bias = terms[2]
    slope = (bias["difference"][-1] - bias["difference"][0]) / (bias["values"][-1] - bias["values"][0])
    assert slope == pytest.approx(1.5 * factor, abs=0.35)


def test_a_score_that_is_the_outcomes_logit_differs_nowhere() -> None:
    shown, logit = made_up(1, [4.0, 4.0, 0.0], noise=0.0)
    table = Scored(shown.inputs, logit, shown.labels.double(), shown.names)  # type: ignore[union-attr]
    factor, terms = compare_terms(table, logit, linear, bags=10, spread="sd_predictions")
    assert factor == pytest.approx(1.0, abs=0.1)
    for term in terms:
        assert max(map(abs, term["difference"])) < 0.35
        assert sum(term["differs"]) <= 2


def test_terms_compare_alike_after_an_affine_change() -> None:
    shown, _ = made_up(2, [4.0, 2.0, 1.0])
    assert shown.scores is not None
    table = Scored(shown.inputs, shown.scores, shown.labels.double(), shown.names)  # type: ignore[union-attr]
    one, two = (
        compare_terms(table, target, linear, bags=3, spread="sd_predictions")[1]
        for target in (shown.scores, 7 * shown.scores - 3)
    )
    for before, after in zip(one, two, strict=True):
        assert after["difference"] == pytest.approx(before["difference"], abs=1e-3)
        assert after["weight_score"] == pytest.approx(before["weight_score"], abs=1e-3)


def test_a_missing_feature_is_noticed_and_no_other() -> None:
    """The black box sees a and b; an audit without b notices, one with it does not."""
    for seed in range(2):
        shown, _ = made_up(seed, [4.0, 4.0, 0.0])
        blind, seeing = (fitted(shown, features=seen).facts for seen in ("a, c", ""))
        assert blind["missing_correlation"] > 0.25
        assert blind["missing_p"] < 0.01
        assert abs(seeing["missing_correlation"]) < 0.07
        assert seeing["missing_p"] > 0.01


def test_the_boosted_kind_sees_a_threshold_that_a_line_cannot() -> None:
    shown, _ = made_up(3, [0.0, 4.0, 0.0])
    step = 3.0 * (shown.inputs[:, 0] > 0.5)
    assert shown.scores is not None
    bent = Shown(shown.inputs, shown.labels, 2, shown.names, scores=shown.scores + step)
    straight, boosted = (fitted(bent, kind=kind, bags=2, rounds=40) for kind in ("linear", "boosted"))
    assert boosted.facts["r2"] > straight.facts["r2"] + 0.03
    assert boosted.loss < straight.loss


def test_the_teachers_logit_is_the_score_as_it_is() -> None:
    shown, _ = made_up(4, [0.0, 0.0, 0.0])

    def ask(inputs: Tensor) -> Tensor:
        return torch.stack([inputs[:, 1], 3 * inputs[:, 0]], 1)

    found = fitted(Shown(shown.inputs, shown.labels, 2, shown.names, ask=ask))
    assert found.report is not None
    assert found.report["score"] == "the teacher's logit"
    assert found.facts["r2"] == pytest.approx(1.0, abs=1e-6)
    said = found.student(shown.inputs)
    assert torch.allclose(said[:, 1] - said[:, 0], 3 * shown.inputs[:, 0] - shown.inputs[:, 1], atol=1e-4)


def test_the_grid_is_of_values_that_occur() -> None:
    rows = torch.stack([torch.arange(100.0), torch.arange(100.0) % 2], 1)
    long, short = grid_of(rows)
    assert len(long) == GRID
    assert (long[0], long[-1]) == (0, 99)
    assert short.tolist() == [0, 1]


def test_features_that_are_hidden_have_no_term() -> None:
    shown, _ = made_up(5, [4.0, 4.0, 2.0])
    found = fitted(shown, features="a")
    assert found.report is not None
    assert [term["weight_score"] != 0 for term in found.report["terms"]] == [True, False, False]
    moved = shown.inputs.clone()
    moved[:, 1:] = 0.5
    assert torch.allclose(found.student(moved), found.student(shown.inputs), atol=1e-5)


@pytest.mark.data
def test_compas_shows_what_the_paper_says(data_root: Path) -> None:
    """Features are missing, and race weighs more in the score than in the outcome."""
    table = load_data("compas", data_root=data_root)
    assert isinstance(table, Table)
    shown = Shown(table.inputs(slice(None)), table.labels, 2, table.features, scores=table.scores)
    found = fitted(shown)
    assert found.facts["missing_p"] < 0.01
    assert found.facts["r2"] == pytest.approx(0.45, abs=0.02)
    assert found.report is not None
    race = next(term for term in found.report["terms"] if term["feature"] == "african_american")
    assert race["weight_score"] > race["weight_outcome"] + 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bags": 1}, "bags must be 2 or more"),
        ({"folds": 1}, "folds must be 2 or more"),
        ({"rounds": 0}, "rounds must be 1 or more"),
        ({"permutations": 0}, "permutations must be 1 or more"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        DistillAndCompare(**options)


def test_what_it_needs() -> None:
    shown, _ = made_up(0, [1.0, 0.0, 0.0], rows=50)
    with pytest.raises(InputError, match="feature 'd'"):
        fitted(shown, features="a,d")
    with pytest.raises(InputError, match="a teacher, or a table with recorded scores"):
        fitted(Shown(shown.inputs, shown.labels, 2, shown.names))
    with pytest.raises(InputError, match="found 3 classes and every label"):
        fitted(Shown(shown.inputs, shown.labels, 3, shown.names, scores=shown.scores))
    with pytest.raises(InputError, match="labels missing"):
        fitted(Shown(shown.inputs, None, 2, shown.names, scores=shown.scores))
    with pytest.raises(InputError, match="60 folds need as many rows, found 50"):
        fitted(shown, folds=60)
    with pytest.raises(InputError, match="the same everywhere"):
        scale_factor(torch.ones(4), torch.rand(4))
    with pytest.raises(InputError, match="a constant correlates with nothing"):
        correlation(torch.ones(4), torch.rand(4))
