"""A network as sparse rows: every activation's argument, and the logits, on earlier activations and the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.bounds.graph import Activation, Add, Graph, Input
from understudy.bounds.ops import offset, size
from understudy.bounds.unit import unit_rows
from understudy.errors import InputError

MOST = 20_000  # activations of a network
MOST_NONZEROS = 10_000_000  # coefficients of a network
LOGITS = -1  # where the logits' rows are kept
AT_ONCE = 2**22  # numbers in the dense rows made at once


@dataclass(frozen=True, eq=False)
class Affines:
    """value = sum over cuts of matrices[cut] @ value(cut) + constant; the matrices are scipy CSR arrays."""

    matrices: dict[int, Any]
    constant: np.ndarray


def sparse_rows(graph: Graph) -> dict[int, Affines]:
    """For every activation's position its argument's rows, and for LOGITS the logits'.

    Raises:
        InputError: a network with more than MOST activations or MOST_NONZEROS coefficients.
    """
    entries = sum(size(graph.nodes[i].shape) for i in graph.activations)
    if entries > MOST:
        raise InputError(
            f"mode 'milp' takes networks of at most {MOST} activations, this one has {entries}: "
            "use 'crown' or 'exact'"
        )
    wanted = {position: graph.nodes[position].parents[0] for position in graph.activations}
    wanted[LOGITS] = len(graph.nodes) - 1
    found, total = {}, 0
    for key, position in wanted.items():
        found[key] = _affines(graph, position)
        total += sum(matrix.nnz for matrix in found[key].matrices.values())
        if total > MOST_NONZEROS:
            raise InputError(
                f"mode 'milp' takes networks of at most {MOST_NONZEROS} coefficients, this one has more than "
                f"{total}: use 'crown' or 'exact'"
            )
    return found


def _affines(graph: Graph, position: int) -> Affines:
    from scipy.sparse import csr_array, vstack

    count = size(graph.nodes[position].shape)
    blocks: dict[int, list[Any]] = {}
    constants = []
    index = torch.arange(count, device=graph.device)
    for part in index.split(max(1, AT_ONCE // graph.width)):
        rows, constant = _walk(graph, position, part)
        constants.append(constant.cpu().numpy())
        for cut, dense in rows.items():
            blocks.setdefault(cut, []).append(csr_array(dense.flatten(1).cpu().numpy()))
    return Affines(
        {cut: vstack(parts, format="csr") for cut, parts in blocks.items()}, np.concatenate(constants)
    )


def _walk(graph: Graph, position: int, index: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """Rows on the nearest activations and the input before (or at) a node, for entries of it."""
    start, rows, constant = unit_rows(graph, position, index)
    pending, cuts = {start: rows}, {}
    for at in range(start, -1, -1):
        a = pending.pop(at, None)
        if a is None:
            continue
        node = graph.nodes[at]
        if isinstance(node.op, Input | Activation):
            cuts[at] = a
            continue
        if isinstance(node.op, Add):
            steps = [(parent, c * a) for c, parent in zip(node.op.coefficients, node.parents, strict=True)]
        else:
            affine = node.op
            added = offset(affine, a)
            constant = constant if added is None else constant + added
            steps = [(node.parents[0], affine.adjoint(a))]
        for parent, part in steps:
            pending[parent] = pending[parent] + part if parent in pending else part
    return cuts, constant
