"""Graphs: one file of nodes and edges, opened as a `DataSet` whose single batch is the whole graph.

Every split holds all nodes, because a graph network reads its neighbours' features whoever they are; only the labels
are the split's own, -1 elsewhere (Yang, Cohen and Salakhutdinov, arXiv 1603.08861: the transductive setting).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from understudy.data.dataset import DataSet
from understudy.errors import InputError, unknown

SPLITS = ("train", "val", "test")
FILE = "graph.npz"
KEYS = ("x_data", "x_indices", "x_indptr", "x_shape", "edge_index", "y", *(f"{s}_index" for s in SPLITS))


@dataclass(frozen=True)
class GraphDeclaration:
    """What is known of a named graph before it is opened: the class names, in class order."""

    class_names: tuple[str, ...]


# the files number the classes without naming them: each was told by how many papers the original data give it
GRAPHS: dict[str, GraphDeclaration] = {
    "cora": GraphDeclaration(
        (
            *("Theory", "Reinforcement learning", "Genetic algorithms", "Neural networks"),
            *("Probabilistic methods", "Case based", "Rule learning"),
        )
    ),
    "citeseer": GraphDeclaration(("AI", "ML", "IR", "DB", "Agents", "HCI")),
}


def load_named_graph(name: str, split: str, root: Path | None) -> DataSet:
    """A graph of `GRAPHS`, from ROOT/<name>/graph.npz.

    Raises:
        InputError: there is no such file, and as `load_graph` does.
    """
    if root is None:
        raise InputError(
            f"data set {name!r} is not embedded: give a folder ROOT that holds {name}/{FILE}, "
            "as UNDERSTUDY_DATA, --data-root or data_root="
        )
    file = root / name / FILE
    if not file.is_file():
        raise InputError(f"data set {name!r} is looked for as {file}, and there is no such file")
    return load_graph(file, split, name, GRAPHS[name].class_names)


def load_graph(file: Path, split: str, name: str, class_names: tuple[str, ...] | None = None) -> DataSet:
    """All nodes of a .npz file, with the labels of one split.

    The file holds the features as a compressed sparse matrix (`x_data`, `x_indices`, `x_indptr`, `x_shape`),
    `edge_index` (2, E) with both directions of an undirected edge, `y` (N,), and the rows `train_index`, `val_index`,
    `test_index`. Features are divided by their sum over each node, so that they lie in [0, 1].

    Raises:
        InputError: the file cannot be read or lacks an array; a split that does not exist; features below 0; what
            `DataSet` refuses (labels, edges).
    """
    if split not in SPLITS:
        raise unknown(f"split of {name}", split, SPLITS)
    try:
        with np.load(file, allow_pickle=False) as found:
            missing = [key for key in KEYS if key not in found]
            if missing:
                raise InputError(f"{file} holds no graph: it lacks {', '.join(missing)}")
            arrays = {key: found[key] for key in KEYS}
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as a .npz file: {error}") from error
    features = _row_shares(_dense(arrays, file), file)
    labels = torch.full((len(features),), -1, dtype=torch.int64)
    chosen = torch.from_numpy(arrays[f"{split}_index"].astype(np.int64))
    truth = torch.from_numpy(arrays["y"].astype(np.int64))
    if len(truth) != len(labels) or not ((chosen >= 0) & (chosen < len(labels))).all():
        raise InputError(f"{file}: y and {split}_index must belong to {len(labels)} nodes")
    labels[chosen] = truth[chosen]
    return DataSet(
        name,
        split,
        torch.from_numpy(features),
        labels,
        classes=len(class_names) if class_names is not None else int(truth.max()) + 1,
        class_names=class_names,
        partly=True,
        edges=torch.from_numpy(arrays["edge_index"].astype(np.int64)),
    )


def labelled_nodes(data: DataSet) -> Tensor:
    """The nodes that bear a label in this split, in file order: (n,) int64; all of them without labels."""
    if data.labels is None:
        return torch.arange(len(data))
    return (data.labels >= 0).nonzero()[:, 0]


def _dense(arrays: dict[str, np.ndarray], file: Path) -> Float32[np.ndarray, "n f"]:
    """The compressed sparse rows as a dense matrix."""
    data, columns, starts = (arrays[key] for key in ("x_data", "x_indices", "x_indptr"))
    nodes, width = (int(side) for side in arrays["x_shape"])
    whole = len(starts) == nodes + 1 and starts[0] == 0 and starts[-1] == len(columns) == len(data)
    if not whole or (np.diff(starts) < 0).any() or columns.min() < 0 or columns.max() >= width:
        raise InputError(f"{file}: x_data, x_indices, x_indptr do not make a sparse matrix {nodes} x {width}")
    dense = np.zeros((nodes, width), dtype=np.float32)
    np.add.at(dense, (np.repeat(np.arange(nodes), np.diff(starts)), columns), data.astype(np.float32))
    return dense


def _row_shares(features: Float32[np.ndarray, "n f"], file: Path) -> Float32[np.ndarray, "n f"]:
    """Each row divided by its sum; a row of zeros (a paper without a known word) stays."""
    if not np.isfinite(features).all() or features.min() < 0:
        raise InputError(f"{file}: features must be finite and 0 or more, found {features.min():g}")
    total = features.sum(1, keepdims=True)
    return features / np.where(total > 0, total, np.float32(1))
