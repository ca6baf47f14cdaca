"""A model that remembers what it said of a tensor, within one batch, without gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.models.memo import Memo


class Counting(nn.Module):
    """A linear model that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.head(inputs)


@pytest.fixture
def model() -> Counting:
    return Counting()


def test_a_tensor_is_asked_about_once(model: Counting) -> None:
    memo, inputs = Memo(model), torch.rand(4, 3)
    first = memo(inputs)
    assert memo(inputs) is first
    assert model.calls == 1
    assert not first.requires_grad
    torch.testing.assert_close(first, model.head(inputs))


def test_equal_values_in_another_tensor_are_another_question(model: Counting) -> None:
    memo, inputs = Memo(model), torch.rand(4, 3)
    memo(inputs)
    memo(inputs.clone())
    assert model.calls == 2


def test_a_freed_tensors_place_in_memory_is_not_mistaken_for_it(model: Counting) -> None:
    memo = Memo(model)
    for i in range(50):
        inputs = torch.full((1, 3), float(i))
        torch.testing.assert_close(memo(inputs), model.head(inputs))
        del inputs
    assert model.calls == 50


def test_what_carries_a_gradient_is_answered_with_one_and_not_remembered(model: Counting) -> None:
    memo, inputs = Memo(model), torch.rand(4, 3)
    plain = memo(inputs)
    inputs.requires_grad_(True)
    climbing = memo(inputs)
    (gradient,) = torch.autograd.grad(climbing.sum(), inputs)
    assert gradient.any()
    torch.testing.assert_close(plain, climbing.detach())
    memo(inputs)
    assert model.calls == 3


def test_forgetting_asks_again(model: Counting) -> None:
    memo, inputs = Memo(model), torch.rand(4, 3)
    before = memo(inputs)
    with torch.no_grad():
        model.head.bias.add_(1.0)
    assert memo(inputs) is before
    memo.forget()
    torch.testing.assert_close(memo(inputs), before + 1.0)
    assert model.calls == 2


def test_the_weights_get_their_gradient_under_autocast_after_it_was_asked() -> None:
    """Autocast keeps the weights it cast without gradient; the training pass after it must not use those."""
    model, inputs = nn.Linear(3, 2), torch.rand(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        Memo(model)(inputs)
        model(inputs).float().sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad.any()
