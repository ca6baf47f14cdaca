"""Sizes of long tails against the lists that the paper's code ships, and what is drawn by them."""

from __future__ import annotations

import pytest
import torch

from understudy.data.dataset import DataSet
from understudy.data.tailed import long_tailed, tail_counts
from understudy.errors import InputError


@pytest.mark.parametrize(("imbalance", "total", "last"), [(10, 19573, 50), (50, 12608, 10), (100, 10847, 5)])
def test_the_sizes_of_the_shipped_lists(imbalance: float, total: int, last: int) -> None:
    counts = tail_counts(100, 500, imbalance)
    assert (sum(counts), counts[0], counts[-1]) == (total, 500, last)
    assert counts == sorted(counts, reverse=True)


def _data(sizes: list[int], **more: object) -> DataSet:
    labels = torch.cat([torch.full((size,), i) for i, size in enumerate(sizes)])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    stored = torch.arange(len(labels)).float()[:, None]
    return DataSet("made up", "train", stored, labels[order], high=1000.0, **more)  # type: ignore[arg-type]


def test_what_is_drawn() -> None:
    data = _data([40, 50, 60])
    cut = long_tailed(data, 4.0, seed=1)
    assert cut.labels is not None
    assert torch.bincount(cut.labels).tolist() == [40, 20, 10] == tail_counts(3, 40, 4.0)
    places = cut.stored[:, 0]
    assert torch.equal(places, places.sort().values)  # in the set's order, none twice
    assert len(places.unique()) == 70
    assert data.labels is not None
    assert torch.equal(data.labels[places.long()], cut.labels)
    assert torch.equal(long_tailed(data, 4.0, seed=1).stored, cut.stored)
    assert not torch.equal(long_tailed(data, 4.0, seed=2).stored, cut.stored)
    even = long_tailed(data, 1.0, 7).labels
    assert even is not None
    assert torch.bincount(even).tolist() == [7, 7, 7]
    assert tail_counts(1, 5, 3.0) == [5]


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match=r"class 2 .* has 3 examples, asked for 5"):
        long_tailed(_data([10, 10, 3]), 2.0)
    with pytest.raises(InputError, match="leave the last class without any"):
        tail_counts(10, 5, 10.0)
    with pytest.raises(InputError, match="imbalance"):
        tail_counts(10, 5, 0.5)
    with pytest.raises(InputError, match="found 0 and 5"):
        tail_counts(0, 5, 1.0)
    with pytest.raises(InputError, match="one label an example"):
        long_tailed(DataSet("x", "train", torch.rand(4, 2)), 2.0)
    with pytest.raises(InputError, match="one label an example"):
        long_tailed(_data([4, 4]).hide_labels(3, 0), 2.0)
