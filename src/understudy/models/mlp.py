"""The multi-layer perceptron: any widths, ReLU between them."""

from __future__ import annotations

import math

from torch import nn


def build_mlp(shape: tuple[int, ...], classes: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Flatten, then Linear and ReLU a width, then Linear to the logits: (B, *shape) -> (B, classes).

    A plain `nn.Sequential` (not a subclass), so that it can be sliced and its tensors are called "1.weight",
    "1.bias", "3.weight", ... No widths give a linear classifier.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(shape)
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))
