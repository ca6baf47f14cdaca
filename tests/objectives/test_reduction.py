"""One denominator: however a batch is split, the parts add up to the mean over the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config

from understudy.errors import InputError
from understudy.objectives.reduction import reduce_terms

VALUES = torch.rand(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_it_is_the_mean_over_the_global_batch() -> None:
    loss, shares = reduce_terms({"a": VALUES, "b": 2 * VALUES}, 12)
    assert loss.item() == pytest.approx(3 * VALUES.mean().item())
    assert shares["b"].item() == pytest.approx(2 * VALUES.mean().item())
    assert list(shares) == ["a", "b"]
    assert reduce_terms({"a": VALUES}, 24)[0].item() == pytest.approx(VALUES.mean().item() / 2)


@given(cuts=st.lists(st.integers(1, 11), max_size=5, unique=True))
@settings(max_examples=30, deadline=None)
def test_uneven_parts_add_up_to_the_whole(cuts: list[int]) -> None:
    parts = torch.tensor_split(VALUES, sorted(cuts))
    total = sum(reduce_terms({"a": part, "b": part.square()}, 12)[0].item() for part in parts)
    assert total == pytest.approx(reduce_terms({"a": VALUES, "b": VALUES.square()}, 12)[0].item(), rel=1e-12)


def test_gradients_reach_every_term() -> None:
    a, b = VALUES.clone().requires_grad_(True), VALUES.clone().requires_grad_(True)
    loss, _ = reduce_terms({"a": a, "b": 3 * b}, 12)
    loss.backward()
    torch.testing.assert_close(a.grad, torch.full_like(a, 1 / 12))
    torch.testing.assert_close(b.grad, torch.full_like(b, 3 / 12))


def test_no_terms_are_refused() -> None:
    with pytest.raises(InputError, match="gave no terms"):
        reduce_terms({}, 4)


@pytest.mark.parametrize("early", [VALUES.mean(), VALUES[:, None], VALUES[:3]])
def test_values_that_are_not_one_an_example_are_named(
    early: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # users run without the shape checks of the tests
    with pytest.raises(InputError, match="one value an example") as caught:
        reduce_terms({"good": VALUES, "early": early}, 12)
    assert f"early {tuple(early.shape)}" in str(caught.value)
