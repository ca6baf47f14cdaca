"""Scores as logits of the outcome: rates, the rule for rates of 0 and 1, and the monotone smooth map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from understudy.errors import InputError
from understudy.recipes.score_scale import BINS, EPS, pushed, rates_by_score, score_scale


def graded(rates: list[float], each: int = 400, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores 1, 2, ... of `each` rows, and outcomes of these rates."""
    scores = torch.arange(1.0, len(rates) + 1).repeat_interleave(each)
    chance = torch.tensor(rates).repeat_interleave(each)
    outcome = (torch.rand(len(chance), generator=torch.Generator().manual_seed(seed)) < chance).double()
    return scores, outcome


def test_rates_are_means() -> None:
    values, counts, rates = rates_by_score(
        torch.tensor([3.0, 1.0, 3.0, 3.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    )
    assert values.tolist() == [1.0, 3.0]
    assert counts.tolist() == [1, 3]
    assert rates.tolist() == [0.0, pytest.approx(2 / 3)]


def test_many_scores_are_binned() -> None:
    scores = torch.rand(5000, generator=torch.Generator().manual_seed(0))
    values, counts, rates = rates_by_score(scores, (scores > 0.5).float())
    assert len(values) <= BINS
    assert counts.sum() == 5000
    assert counts.min() > 5000 / BINS / 2
    assert float(values @ counts) == pytest.approx(float(scores.double().sum()), rel=1e-6)
    assert (np.diff(rates) >= 0).all()


def test_rates_without_a_logit_are_pushed() -> None:
    assert pushed(np.array([0.0, 0.5, 1.0])).tolist() == [EPS, 0.5, 1 - EPS]
    assert pushed(np.array([0.0, 0.5])).tolist() == [EPS, 0.5 + EPS]
    assert pushed(np.array([0.5, 1.0])).tolist() == [0.5 - EPS, 1 - EPS]
    assert pushed(np.array([0.2, 0.5])).tolist() == [0.2, 0.5]


def test_a_line_is_the_logistic_regression() -> None:
    scores, outcome = graded([0.2, 0.3, 0.42, 0.55, 0.67])
    found = score_scale(scores, outcome)
    assert found.straight
    reference = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000).fit(scores[:, None], outcome)
    assert np.allclose(found.logits, reference.decision_function(found.values[:, None]), atol=1e-4)
    assert torch.allclose(
        found(scores), torch.from_numpy(reference.decision_function(scores[:, None])), atol=1e-4
    )


def test_a_bend_is_followed_and_a_dip_smoothed() -> None:
    wanted = [0.05, 0.06, 0.5, 0.47, 0.52, 0.9]
    scores, outcome = graded(wanted, 2000)
    found = score_scale(scores, outcome)
    assert not found.straight
    assert found.rates[3] < found.rates[2]
    assert (np.diff(found.logits) >= 0).all()
    share = 1 / (1 + np.exp(-found.logits))
    assert np.abs(share - found.rates).max() < 0.12
    assert np.average(share, weights=found.counts) == pytest.approx(float(outcome.mean()), abs=1e-5)
    ends = found(torch.tensor([-5.0, 1.0, 6.0, 99.0]))
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=9), st.integers(0, 100))
def test_it_never_falls(rates: list[float], seed: int) -> None:
    scores, outcome = graded(sorted(rates), 30, seed)
    assume(float(((scores - scores.mean()) * outcome).sum()) > 0)  # else the line falls, and that is refused
    found = score_scale(scores, outcome)
    assert (np.diff(found.logits) >= 0).all()
    assert np.isfinite(found.logits).all()


def test_a_score_that_decides_the_outcome_stays_finite() -> None:
    scores = torch.rand(300, generator=torch.Generator().manual_seed(0))
    for outcome in (scores > 0.5, scores > 0.999 * float(scores.max())):
        found = score_scale(scores, outcome.double())
        assert np.isfinite(found.logits).all()
        assert (np.diff(found.logits) >= 0).all()
    few = score_scale(torch.tensor([0.0, 1.0]).repeat(50), torch.tensor([0.0, 1.0]).repeat(50))
    assert few.logits.tolist() == pytest.approx([np.log(EPS / (1 - EPS)), np.log((1 - EPS) / EPS)], abs=1e-3)


def test_scores_that_say_nothing() -> None:
    with pytest.raises(InputError, match="takes one value"):
        score_scale(torch.ones(5), torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]))
    scores, outcome = graded([0.8, 0.5, 0.2])
    with pytest.raises(InputError, match="give it with the other sign"):
        score_scale(scores, outcome)
    assert score_scale(-scores, outcome).straight
