"""A module at weights that are not its own, with the graph kept: for learning that looks one step ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Weights = Mapping[str, Tensor]


def learning(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that ask for a gradient, by name; shared ones once."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def said_at(module: nn.Module, weights: Weights, inputs: Tensor) -> Any:
    """What the module would return for `inputs` (B, ...) if its parameters of these names were `weights`.

    Gradients reach `weights`. The module stays as it is: batch norm in train mode normalises by this batch, and the
    running statistics that it moves are copies.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return functional_call(module, {**buffers, **weights}, (inputs,))


def one_step(loss: Tensor, weights: Weights, rate: float, *, second_order: bool = True) -> dict[str, Tensor]:
    """weights - rate * (gradient of the loss): one step of plain gradient descent, as a function of all before it.

    Gradients flow through the result to the weights and, with `second_order`, to whatever the loss depends on
    (a weight an example, the curvature); without, the step itself is a constant.
    """
    found = torch.autograd.grad(
        loss, list(weights.values()), create_graph=second_order, retain_graph=True, allow_unused=True
    )
    moved = zip(weights.items(), found, strict=True)
    return {name: value if grad is None else value - rate * grad for (name, value), grad in moved}
