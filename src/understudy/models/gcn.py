"""The graph convolutional network (Kipf and Welling, arXiv 1609.02907), and the dropout MLP that is taught by it.

    H' = D^-1/2 (A + I) D^-1/2 H W + b        A: the edges, D: the degrees of A + I, H: (N, width), ReLU in between

The graph is kept inside the network, as a buffer: it is asked about all nodes at once, and a node's answer depends on
its neighbours' features. The layer is ten lines on `index_add`, without a library: a sparse product is all there is.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.look import logits_of

GCN_OPTIONS = ("hidden units", "layers", "dropout in percent", "nodes", "edges")
DROPOUT_MLP_OPTIONS = ("hidden units", "layers", "dropout in percent")


def propagate(
    hidden: Float[Tensor, "n d"], edges: Int[Tensor, "2 e"], scale: Float[Tensor, " n"]
) -> Float[Tensor, "n d"]:
    """s_i (s_i h_i + sum over edges (j, i) of s_j h_j) a node i, s = `scale`: (N, D)."""
    scaled = hidden * scale[:, None]
    return scaled.index_add(0, edges[1], scaled[edges[0]]) * scale[:, None]


class Convolution(nn.Linear):
    """One graph convolution: a `Linear` in all but what it is given, so that the last one is found as the head."""

    def reset_parameters(self) -> None:
        """Glorot and Bengio's weights and no bias, as the paper has them."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edges: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        return propagate(F.linear(x, self.weight), edges, scale) + self.bias


class GCN(nn.Module):
    """Graph convolutions over one fixed graph: features (N, F) of all its nodes -> logits (N, C).

    It does not know its graph until `bind` names it or a saved state is loaded; `nodes` tells those who try a model
    out on a few inputs that this one takes exactly so many.

    Raises:
        InputError: sizes that make no network; asked about another number of nodes.
    """

    edges: Tensor
    scale: Tensor

    def __init__(self, widths: tuple[int, ...], dropout: float, nodes: int, edges: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.layers = nn.ModuleList(Convolution(a, b) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("edges", torch.zeros(2, edges, dtype=torch.int64))
        self.register_buffer("scale", torch.ones(nodes))

    def bind(self, edges: Int[Tensor, "2 e"]) -> None:
        """Keep these edges (from, to), as many as were announced.

        Raises:
            InputError: another number of edges, or one that leads out of the graph.
        """
        if edges.shape != self.edges.shape:
            raise InputError(
                f"this network was built for {self.edges.shape[1]} edges, found {edges.shape[1]}"
            )
        if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < self.nodes:
            raise InputError(f"edges must join nodes of 0..{self.nodes - 1}")
        degree = torch.ones(self.nodes).index_add(0, edges[1], torch.ones(edges.shape[1]))
        self.edges.copy_(edges)
        self.scale.copy_(degree.rsqrt())

    def forward(self, x: Tensor) -> Tensor:
        if len(x) != self.nodes:
            raise InputError(
                f"a graph network is asked about all of its {self.nodes} nodes at once, found {len(x)}"
            )
        hidden = x.flatten(1)
        for place, layer in enumerate(self.layers):
            hidden = layer(hidden, self.edges, self.scale)
            if place + 1 < len(self.layers):
                hidden = self.dropout(hidden.relu())
        return hidden


def build_gcn(shape: tuple[int, ...], classes: int, options: tuple[int, ...]) -> GCN:
    """A network of (hidden units, layers, dropout in percent, nodes, edges); the last two come from the data.

    Raises:
        InputError: no graph to be built for, or a dropout of 100 percent or more.
    """
    if len(options) < len(GCN_OPTIONS):
        raise InputError(
            "gcn is for a graph: its data must have edges (cora, citeseer, or a DataSet with edges)"
        )
    hidden, layers, percent, nodes, edges = options
    return GCN((math.prod(shape), *[hidden] * (layers - 1), classes), _share(percent), nodes, edges)


def build_dropout_mlp(shape: tuple[int, ...], classes: int, options: tuple[int, ...]) -> nn.Sequential:
    """Flatten, then Linear, ReLU, Dropout a hidden layer, then Linear: (B, *shape) -> logits (B, classes)."""
    hidden, layers, percent = options
    widths = (math.prod(shape), *[hidden] * (layers - 1), classes)
    parts: list[nn.Module] = [nn.Flatten()]
    for a, b in pairwise(widths[:-1]):
        parts += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(_share(percent))]
    return nn.Sequential(*parts, nn.Linear(widths[-2], classes))


class InGraph(nn.Module):
    """A model asked about nodes by number: (B, 1) floats -> logits (B, C), the features of all nodes kept inside."""

    features: Tensor

    def __init__(self, model: nn.Module, features: Float[Tensor, "n ..."]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("features", features, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.model(self.features))[x.flatten().round().long()]


def bind(module: nn.Module, edges: Int[Tensor, "2 e"]) -> None:
    """Give every graph network inside `module` its edges."""
    for part in module.modules():
        if isinstance(part, GCN):
            part.bind(edges)


def asked_at_once(module: nn.Module, otherwise: int) -> int:
    """How many inputs a model takes: the nodes of the graph that it has inside, else any number, `otherwise`."""
    for part in module.modules():
        nodes = getattr(part, "nodes", None)
        if isinstance(nodes, int):
            return nodes
    return otherwise


def _share(percent: int) -> float:
    if percent >= 100:
        raise InputError(f"dropout must be below 100 percent, found {percent}")
    return percent / 100
