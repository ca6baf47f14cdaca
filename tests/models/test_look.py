from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.models.look import frozen, logits_of

LOGITS = torch.randn(3, 4)


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, "features"),
        [LOGITS],
        SimpleNamespace(logits=LOGITS),
        SimpleNamespace(logits=(LOGITS,)),
    ],
    ids=["tensor", "tuple", "list", "object", "object with a tuple"],
)
def test_logits_are_found(output: Any) -> None:
    assert logits_of(output) is LOGITS


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (None, "found NoneType"),
        ((), "found tuple"),
        ({"scores": LOGITS}, "found dict"),
        (LOGITS[0], r"found torch.float32 of shape \(4,\)"),
        (LOGITS.long(), r"found torch.int64 of shape \(3, 4\)"),
        (LOGITS[None], r"of shape \(1, 3, 4\)"),
    ],
)
def test_what_is_no_logits_is_named(output: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        logits_of(output)


def _mixed() -> nn.Sequential:
    """A model with flags of every kind: a frozen batch norm inside a model in training, a frozen bias."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)))
    model.train()
    model[1].eval()
    model[2].training = False  # a parent in eval mode over children in training
    model[0].bias.requires_grad_(False)
    return model


def _flags(model: nn.Module) -> tuple[list[bool], list[bool]]:
    return [part.training for part in model.modules()], [p.requires_grad for p in model.parameters()]


def test_a_guest_is_frozen_inside_and_as_it_was_afterwards() -> None:
    model = _mixed()
    before = _flags(model)
    x = torch.randn(4, 3, requires_grad=True)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with frozen(model) as guest:
        assert guest is model
        modes, wanted = _flags(model)
        assert not any(modes + wanted)
        output = model(x)
        assert torch.equal(output, model(x))  # no dropout
        (gradient,) = torch.autograd.grad(output.sum(), x)
        assert gradient.abs().sum() > 0
    assert _flags(model) == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_flags_return_after_an_exception_and_from_nested_blocks() -> None:
    model = _mixed()
    before = _flags(model)
    with pytest.raises(ZeroDivisionError), frozen(model), frozen(model[2]):
        1 / 0  # noqa: B018
    assert _flags(model) == before
    with frozen(model):
        with frozen(model):
            pass
        modes, wanted = _flags(model)
        assert not any(modes + wanted)
    assert _flags(model) == before
