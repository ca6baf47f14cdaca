"""The library's graphs of the corpus's modules."""

from __future__ import annotations

import torch
from torch import nn

from understudy.bounds.graph import Graph, Input, Node, Relu
from understudy.bounds.ops import Linear
from understudy.bounds.trace import trace


def graph(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    """Traced; a plain network of linear layers and ReLUs is put together here, which takes no time."""
    plain = isinstance(module, nn.Sequential) and all(
        isinstance(part, nn.Linear | nn.ReLU) for part in module
    )
    if not plain or len(shape) != 1:
        return trace(module, shape)
    nodes = [Node(Input(), (), shape, "input")]
    for place, part in enumerate(module):
        before = len(nodes) - 1
        if isinstance(part, nn.Linear):
            nodes.append(Node(Linear(part.weight, part.bias), (before,), (part.out_features,), str(place)))
        else:
            nodes.append(Node(Relu(), (before,), nodes[before].shape, str(place)))
    return Graph(tuple(nodes), torch.float64, torch.device("cpu"))
