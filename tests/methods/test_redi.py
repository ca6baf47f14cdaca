"""REDI: worked numbers, its reductions, and what pushing away does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import understudy as us
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.language.redi import REDI, pushed_away
from understudy.methods.language.sft import SFT
from understudy.models.outputs import View
from understudy.objectives.base import describe

GOOD, BAD = [-0.2, -0.4, -0.3], [-0.5, -0.1, -0.9, -0.3]


def said(scores: list[float], prompt: int = 2, length: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """(logits (1, L, 2), tokens (1, L), mask (1, L)) that give token 1 these log-probabilities behind a prompt."""
    logits = 3 * torch.randn(
        1, length, 2, generator=torch.Generator().manual_seed(prompt), dtype=torch.float64
    )
    mask = torch.zeros(1, length, dtype=torch.bool)
    for place, score in enumerate(scores, start=prompt - 1):
        logits[0, place] = torch.tensor([math.log1p(-math.exp(score)), score], dtype=torch.float64)
        mask[0, place] = True
    return logits, torch.ones(1, length, dtype=torch.int64), mask


def value(good: list[float], bad: list[float], method: us.Objective | None = None, prompt: int = 2) -> float:
    """The sum of the terms for one pair."""
    sides = {"clean": said(good, prompt), "bad": said(bad, prompt)}
    batch = us.Batch(
        {name: side[1] for name, side in sides.items()},
        torch.tensor([0]),
        masks={name: side[2] for name, side in sides.items()},
    )
    student = us.Outputs({name: View(side[0]) for name, side in sides.items()})
    return sum(float(x) for x in (method or REDI()).terms(student, us.Outputs({}), batch).values())


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 0.3), (0.8, -0.06), (1.0, -0.15)])
def test_the_worked_numbers(alpha: float, expected: float) -> None:
    by_hand = -sum(GOOD) / 3 + alpha * sum(BAD) / 4
    assert by_hand == pytest.approx(expected, abs=5e-7)
    assert value(GOOD, BAD, REDI(alpha=alpha)) == pytest.approx(expected, abs=5e-7)


def test_the_prompt_does_not_count_nor_does_what_follows() -> None:
    assert value(GOOD, BAD, prompt=4) == pytest.approx(value(GOOD, BAD, prompt=1))


def test_alpha_0_is_supervised_fine_tuning_on_the_good_traces() -> None:
    assert value(GOOD, BAD, REDI(alpha=0.0)) == pytest.approx(value(GOOD, [-3.0], SFT()))


@settings(deadline=None, max_examples=20)
@given(
    scores=st.lists(st.floats(-5, -0.01), min_size=1, max_size=3),
    alpha=st.floats(0, 1),
)
def test_equal_traces_leave_one_minus_alpha_and_repetition_changes_nothing(
    scores: list[float], alpha: float
) -> None:
    method, mean = REDI(alpha=alpha), -sum(scores) / len(scores)
    assert value(scores, scores, method) == pytest.approx((1 - alpha) * mean, abs=1e-9)
    assert value(scores * 2, BAD, method) == pytest.approx(value(scores, BAD, method), abs=1e-9)
    assert value(GOOD, scores * 2, method) == pytest.approx(value(GOOD, scores, method), abs=1e-9)


def pairs(rows: int = 3) -> tuple[Tensor, us.Batch]:
    """Logits (2, B, L, V) of a student that is asked for a gradient, and a batch of pairs."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, rows, 6, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    tokens = {name: torch.randint(5, (rows, 6), generator=draw) for name in ("clean", "bad")}
    mask = torch.zeros(rows, 6, dtype=torch.bool)
    mask[:, 1:4] = True
    return logits, us.Batch(tokens, torch.arange(rows), masks={"clean": mask, "bad": mask.roll(1, 1)})


def log_probability(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean over a trace, written out: (B,)."""
    each = logits.log_softmax(2)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
    return (each * mask[:, :-1]).sum(1) / mask.sum(1)


def gradient(method: REDI) -> Tensor:
    logits, batch = pairs()
    student = us.Outputs({"clean": View(logits[0]), "bad": View(logits[1])})
    loss = torch.stack(list(method.terms(student, us.Outputs({}), batch).values())).sum(0).mean()
    return torch.autograd.grad(loss, logits)[0]


def test_simpo_tends_to_the_symmetric_loss_as_beta_goes_to_0() -> None:
    logits, batch = pairs()
    good, bad = (
        log_probability(logits[i], batch.views[name], batch.masks[name])
        for i, name in enumerate(("clean", "bad"))
    )
    margin, factor = 1.0, torch.sigmoid(torch.tensor(1.0)).item()
    assert factor == pytest.approx(0.731059, abs=5e-7)
    symmetric = gradient(REDI(alpha=1.0))
    for beta in (1e-1, 1e-3):
        loss = -torch.nn.functional.logsigmoid(beta * (good - bad) - margin).mean() / beta
        found = torch.autograd.grad(loss, logits, retain_graph=True)[0]
        most = beta * (good - bad).abs().max() / 4 * len(good) * symmetric.abs().max()
        assert (found - factor * symmetric).abs().max() <= most
    expected = math.log1p(math.exp(-(2 * (sum(GOOD) / 3 - sum(BAD) / 4) - 1)))
    assert expected == pytest.approx(1.103186, abs=5e-7)


def test_the_push_goes_away_from_bad_traces_by_alpha() -> None:
    pulled, pushed = gradient(REDI(alpha=0.0)), gradient(REDI(alpha=0.5))
    assert not pulled[1].any()
    assert torch.equal(pulled[0], pushed[0])
    assert torch.allclose(2 * pushed[1], gradient(REDI(alpha=1.0))[1])
    logits, batch = pairs()
    moved = logits[1] - 0.1 * pushed[1]
    views = batch.views["bad"], batch.masks["bad"]
    assert (log_probability(moved, *views) < log_probability(logits[1], *views)).all()


def test_gamma_fades_the_push_and_is_part_of_the_gradient() -> None:
    bad = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    found = pushed_away(bad, 0.8, 1.0)
    assert torch.allclose(found, -0.8 * bad * (-bad).exp())
    (slope,) = torch.autograd.grad(found.sum(), bad)
    assert torch.allclose(slope, -0.8 * (1 - bad) * (-bad).exp())
    assert torch.equal(pushed_away(bad, 0.8), -0.8 * bad)


def test_it_has_no_lowest_value() -> None:
    assert value(GOOD, [-1e3]) < value(GOOD, [-1e2]) < 0


def test_no_teacher_takes_part() -> None:
    assert REDI().needs.teacher == ()
    assert set(describe(REDI())) == {"class", "alpha", "gamma"}


@pytest.mark.parametrize(
    ("options", "says"), [({"alpha": "1.5"}, "alpha must be"), ({"gamma": "-1"}, "gamma must be")]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_method("redi", options)
