"""T^2 KL at temperature T, against scipy and against its own gradient at high temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

import understudy as us
from understudy.models.outputs import View

BATCH = us.Batch({"clean": torch.zeros(5, 2)}, torch.arange(5))
GENERATOR = torch.Generator().manual_seed(0)
TEACHER, STUDENT = (3 * torch.randn(2, 5, 7, generator=GENERATOR, dtype=torch.float64)).unbind()


def values(temperature: float, student: torch.Tensor = STUDENT) -> torch.Tensor:
    views = [us.Outputs({"clean": View(logits)}) for logits in (student, TEACHER)]
    return us.SoftTargets(temperature).terms(*views, BATCH)["soft"]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 30.0])
def test_values_are_scipys(temperature: float) -> None:
    p, q = (softmax(logits.numpy() / temperature, axis=1) for logits in (TEACHER, STUDENT))
    np.testing.assert_allclose(values(temperature), temperature**2 * rel_entr(p, q).sum(1), rtol=1e-10)


def test_at_high_temperature_the_gradient_is_that_of_matching_centred_logits() -> None:
    """Hinton et al., section 2.1: T^2 dKL/ds -> (s - t) / C for logits that are zero on average."""
    student = STUDENT.clone().requires_grad_(True)
    values(1e4, student).sum().backward()
    difference = STUDENT - TEACHER
    expected = (difference - difference.mean(1, keepdim=True)) / 7
    torch.testing.assert_close(student.grad, expected, rtol=1e-2, atol=1e-3)


def test_equality_is_exactly_zero() -> None:
    assert not values(4.0, TEACHER).any()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_means_nothing_is_refused(temperature: float) -> None:
    with pytest.raises(us.InputError, match="temperature must be above 0, found"):
        us.SoftTargets(temperature)
