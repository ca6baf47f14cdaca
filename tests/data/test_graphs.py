from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.data.dataset import DataSet, edges_among
from understudy.data.graphs import labelled_nodes, load_graph
from understudy.data.loader import batches
from understudy.data.resolve import load_data
from understudy.errors import InputError

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # 0 - 1 - 2, both directions


def arrays(**changes: Any) -> dict[str, Any]:
    """Four nodes of three words: 2 0 2, 0 1 0, nothing, 0 3 1; a path through the first three."""
    return {
        "x_data": np.array([2.0, 2, 1, 3, 1]),
        "x_indices": np.array([0, 2, 1, 1, 2], dtype=np.int32),
        "x_indptr": np.array([0, 2, 3, 3, 5], dtype=np.int32),
        "x_shape": np.array([4, 3]),
        "edge_index": PATH.numpy().astype(np.int32),
        "y": np.array([1, 0, 2, 1]),
        "train_index": np.array([0, 1]),
        "val_index": np.array([2]),
        "test_index": np.array([3]),
        **changes,
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "own.npz", **arrays())
    return tmp_path / "own.npz"


def test_every_split_holds_all_nodes_and_its_own_labels(file: Path) -> None:
    found = {split: load_data(file, split) for split in ("train", "val", "test")}
    shares = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0, 0, 0], [0, 0.75, 0.25]])
    for data in found.values():
        assert torch.equal(data.inputs(slice(None)), shares)
        assert data.edges is not None
        assert torch.equal(data.edges, PATH)
        assert (data.classes, data.low, data.high, data.partly) == (3, 0.0, 1.0, True)
    labels = {split: data.labels.tolist() for split, data in found.items() if data.labels is not None}
    assert labels == {"train": [1, 0, -1, -1], "val": [-1, -1, 2, -1], "test": [-1, -1, -1, 1]}
    assert labelled_nodes(found["train"]).tolist() == [0, 1]
    assert len({data.fingerprint() for data in found.values()}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.array([1, 0])}, "must belong to 4 nodes"),
        ({"train_index": np.array([4])}, "train_index must belong to 4 nodes"),
        ({"x_indices": np.array([0, 2, 1, 1, 3])}, "do not make a sparse matrix 4 x 3"),
        ({"x_indptr": np.array([0, 2, 3, 5])}, "do not make a sparse matrix"),
        ({"x_indptr": np.array([0, 3, 2, 3, 5])}, "do not make a sparse matrix"),
        ({"x_data": np.array([2.0, -2, 1, 3, 1])}, "must be finite and 0 or more, found -2"),
        ({"edge_index": np.array([[0], [4]])}, r"two different nodes of 0..3, found \(0, 4\) at edge 0"),
        ({"edge_index": np.array([[0, 1], [1, 1]])}, r"found \(1, 1\) at edge 1"),
        ({"y": np.array([-2, 0, 2, 1])}, "found -2 at example 0"),
    ],
)
def test_a_file_that_is_no_graph_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays(**changes))
    with pytest.raises(InputError, match=message):
        load_graph(tmp_path / "bad.npz", "train", "bad")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, file: Path) -> None:
    few = arrays()
    del few["y"], few["edge_index"]
    np.savez(tmp_path / "few.npz", **few)
    with pytest.raises(InputError, match="lacks edge_index, y"):
        load_graph(tmp_path / "few.npz", "train", "few")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match=r"cannot be read as a \.npz file"):
        load_graph(tmp_path / "text.npz", "train", "text")
    np.savez(tmp_path / "pickled.npz", **arrays(y=np.array([None, 0, 1, 2])))
    with pytest.raises(InputError, match=r"cannot be read as a \.npz file"):
        load_graph(tmp_path / "pickled.npz", "train", "pickled")
    with pytest.raises(InputError, match=r"split of own.*validation"):
        load_graph(file, "validation", "own")


def test_a_named_graph_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_DATA", raising=False)
    with pytest.raises(InputError, match=r"holds cora/graph\.npz"):
        load_data("cora")
    with pytest.raises(InputError, match="there is no such file"):
        load_data("citeseer", data_root=tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "nodes", "words", "edges", "classes", "labelled"),
    [("cora", 2708, 1433, 10556, 7, 140), ("citeseer", 3327, 3703, 9104, 6, 120)],
)
def test_named_graphs_are_the_planetoid_ones(
    name: str, nodes: int, words: int, edges: int, classes: int, labelled: int, shared_data: Path
) -> None:
    data = load_data(name, "train", data_root=shared_data)
    assert (len(data), data.shape, data.classes) == (nodes, (words,), classes)
    assert data.edges is not None
    assert data.edges.shape == (2, edges)
    assert labelled_nodes(data).tolist() == list(range(labelled))
    assert data.labels is not None
    assert torch.bincount(data.labels[:labelled]).tolist() == [20] * classes
    test = load_data(name, "test", data_root=shared_data)
    assert len(labelled_nodes(test)) == 1000
    both = {tuple(edge) for edge in data.edges.T.tolist()}
    assert {(b, a) for a, b in both} == both


def graph(edges: torch.Tensor = PATH) -> DataSet:
    return DataSet("g", "train", torch.rand(4, 2), torch.tensor([0, 1, -1, -1]), partly=True, edges=edges)


def test_a_graph_is_one_batch_in_file_order_with_its_edges() -> None:
    data = graph()
    for epoch in range(3):
        (item,) = batches(data, batch_size=4, seed=0, epoch=epoch)
        assert torch.equal(item.batch.clean, data.stored)
        assert item.batch.edges is not None
        assert torch.equal(item.batch.edges, PATH)
    with pytest.raises(InputError, match="a graph is one batch on one device: batch_size must be 4, found 3"):
        batches(data, batch_size=3, seed=0, epoch=0)
    with pytest.raises(InputError, match="a graph is one batch on one device"):
        batches(data, batch_size=4, seed=0, epoch=0, world=2)


def test_a_part_of_a_graph_keeps_the_edges_among_its_nodes() -> None:
    some = graph().take(2).edges
    assert some is not None
    assert some.tolist() == [[0, 1], [1, 0]]
    turned = graph().rows(torch.tensor([2, 3, 1])).edges
    assert turned is not None
    assert turned.tolist() == [[2, 0], [0, 2]]
    assert graph().take(9).fingerprint() != graph(PATH[:, :2]).fingerprint()
    assert edges_among(PATH, torch.tensor([0, 2]), 3).shape == (2, 0)
