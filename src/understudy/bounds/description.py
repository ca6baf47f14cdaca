"""A network as a certificate holds it: named operations, whole numbers and float64 arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.bounds import ops
from understudy.bounds.graph import Add, Graph, Input, Node, Relu

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class NetworkNode:
    """One operation: its parents' positions, its result's shape for one example, whole numbers, arrays.

    `op` is one of input, linear, conv2d, scale, add, relu, reshape, gather, scatter. The arrays are float64, but
    for the int32 `index` of the last two.
    """

    op: str
    parents: tuple[int, ...]
    shape: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Network:
    """A network as the checker reads it: node 0 is the input, the last node the logits.

    Attributes:
        nodes: empty where the network cannot be written down.
        file: SHA-256 of the model file it came from.
        reason: why it cannot be written down, else "".
    """

    nodes: tuple[NetworkNode, ...]
    file: str
    reason: str = ""

    @property
    def relus(self) -> tuple[int, ...]:
        """Positions of the ReLUs, in the order they are computed."""
        return tuple(i for i, node in enumerate(self.nodes) if node.op == "relu")

    @property
    def digest(self) -> str:
        """SHA-256 of the nodes' canonical JSON, then of every array's bytes (little-endian)."""
        content = json.dumps(outline(self), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(content.encode())
        for node in self.nodes:
            for name in sorted(node.arrays):
                digest.update(np.ascontiguousarray(node.arrays[name]).tobytes())
        return digest.hexdigest()


def outline(network: Network) -> list[dict[str, Any]]:
    """The nodes without their numbers: what the header holds, and the digest starts with."""
    return [
        {
            "op": node.op,
            "parents": list(node.parents),
            "shape": list(node.shape),
            "settings": dict(node.settings),
            "arrays": {name: list(np.shape(array)) for name, array in node.arrays.items()},
        }
        for node in network.nodes
    ]


def network(graph: Graph, file: str) -> Network:
    """The checker's description of a traced network; `file` is the SHA-256 of what it came from.

    An operation that the checker does not know gives a network without nodes and with a reason.
    """
    nodes: list[NetworkNode] = []
    last: list[int] = []  # where each of the graph's nodes ended up
    for node in graph.nodes:
        before = graph.nodes[node.parents[0]].shape if node.parents else ()
        steps = _described(node, before)
        if steps is None:
            name = type(node.op).__name__
            return Network((), file, f"{name} at {node.where or 'an unnamed place'} cannot be checked")
        parents = tuple(last[parent] for parent in node.parents)
        for op, settings, arrays, shape in steps:
            nodes.append(NetworkNode(op, parents, shape, settings, arrays))
            parents = (len(nodes) - 1,)
        last.append(len(nodes) - 1)
    return Network(tuple(nodes), file)


def _described(
    node: Node, before: tuple[int, ...]
) -> list[tuple[str, dict[str, Any], dict[str, Array], tuple[int, ...]]] | None:
    """One operation in the checker's terms: one or several steps of (name, whole numbers, arrays, shape)."""
    op, shape = node.op, node.shape
    match op:
        case Input():
            return [("input", {}, {}, shape)]
        case Relu():
            return [("relu", {}, {}, shape)]
        case Add():
            return [("add", {}, {"coefficients": np.array(op.coefficients, np.float64)}, shape)]
        case ops.Linear():
            return [("linear", {}, _float64(weight=op.weight, bias=op.bias), shape)]
        case ops.Conv2d():
            settings = {"stride": list(op.stride), "padding": list(op.padding), "dilation": list(op.dilation)}
            arrays = _float64(weight=op.weight, bias=op.bias)
            return [("conv2d", settings | {"groups": op.groups}, arrays, shape)]
        case ops.Scale():
            return [("scale", {}, _float64(scale=op.scale, bias=op.bias), shape)]
        case ops.Reshape():
            return [("reshape", {}, {}, shape)]
        case ops.Reduce():
            places = ops.Reduce(op.axes, 1.0, op.before).adjoint(_places(shape))
            factor = np.array([op.factor], np.float64)
            return [
                ("scatter", {}, {"index": _index(places)}, shape),
                ("scale", {}, {"scale": factor}, shape),
            ]
        case ops.Pool():
            height, width = len(op.rows), len(op.columns)
            wide = (*shape[:-2], op.rows.shape[1], width)
            turn = ops.Permute((*range(len(shape) - 1), len(shape), len(shape) - 1))
            there, back = (_index(turn.linear(_places(s))) for s in (wide, (*shape[:-2], width, height)))
            return [
                ("linear", {}, _float64(weight=op.columns), wide),
                ("gather", {}, {"index": there}, (*shape[:-2], width, wide[-2])),
                ("linear", {}, _float64(weight=op.rows), (*shape[:-2], width, height)),
                ("gather", {}, {"index": back}, shape),
            ]
        case ops.Permute() | ops.Broadcast() | ops.Pad() | ops.Slice():
            return [("gather", {}, {"index": _index(op.linear(_places(before)))}, shape)]
    return None


def _places(shape: tuple[int, ...]) -> Tensor:
    """(1, *shape): 1, 2, 3, ..., so that 0 means no place."""
    return torch.arange(1, ops.size(shape) + 1, dtype=torch.float64).reshape(1, *shape)


def _index(places: Tensor) -> Array:
    """Positions from 0, and -1 for no place."""
    return places[0].numpy().astype(np.int32) - np.int32(1)


def _float64(**tensors: Tensor | None) -> dict[str, Array]:
    found = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return {name: torch.atleast_1d(tensor.detach().cpu().double()).numpy() for name, tensor in found.items()}
