"""A small convolutional net for several labels an example, with an embedding of its own for every label.

Each label looks where it wants by attention over the places of the map: a query a label, as in Lanchantin et al.,
arXiv 2011.14027, and Ridnik et al., arXiv 2111.12933, without their transformers.
"""

from __future__ import annotations

from typing import no_type_check

import torch
from torch import Tensor, nn

PER_LABEL = "per_label"  # the layer whose output is (B, C, D), one embedding a label


class LabelAttention(nn.Module):
    """A map (B, dim, H, W) -> one embedding a label, (B, labels, dim): the map's mean under the label's attention."""

    def __init__(self, labels: int, dim: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(labels, dim))
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)

    @no_type_check  # torch.fx traces with proxies, which run-time type checks would refuse
    def forward(self, maps: Tensor) -> Tensor:
        places = maps.flatten(2).transpose(1, 2)  # (B, H W, dim)
        scores = self.queries @ self.key(places).transpose(1, 2) / self.queries.shape[1] ** 0.5
        return torch.relu(scores.softmax(2) @ self.value(places))


class LabelHead(nn.Module):
    """Embeddings (B, labels, dim) -> logits (B, labels), each label by weights of its own."""

    def __init__(self, labels: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(labels, dim) / dim**0.5)
        self.bias = nn.Parameter(torch.zeros(labels))

    @no_type_check
    def forward(self, embeddings: Tensor) -> Tensor:
        return (embeddings * self.weight).sum(2) + self.bias


def build_label_cnn(shape: tuple[int, int, int], labels: int, first: int, dim: int) -> nn.Sequential:
    """Three convolutions with batch norm, two of stride 2, then attention and head: (B, c, h, w) -> (B, labels).

    h and w must be 4 or more. The layer "per_label" gives (B, labels, dim).
    """
    body = nn.Sequential()
    for i, (wide, out, side, stride) in enumerate(
        ((shape[0], first, 3, 1), (first, dim, 4, 2), (dim, dim, 4, 2)), 1
    ):
        body.add_module(f"conv{i}", nn.Conv2d(wide, out, side, stride=stride, padding=1))
        body.add_module(f"norm{i}", nn.BatchNorm2d(out))
        body.add_module(f"relu{i}", nn.ReLU())
    body.add_module(PER_LABEL, LabelAttention(labels, dim))
    body.add_module("head", LabelHead(labels, dim))
    return body
