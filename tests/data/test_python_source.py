from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from understudy.data.resolve import load_data
from understudy.errors import InputError


class Listed(Dataset):
    """A map-style set over a list; it raises where a careless reader asks beyond the end."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        assert 0 <= row < len(self.items)
        return self.items[row]


class Streamed(IterableDataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


X, Y = torch.rand(10, 2, 3), torch.arange(10) % 4
PAIRS = [(x, int(y)) for x, y in zip(X, Y, strict=True)]


@pytest.mark.parametrize(
    "source",
    [
        (X, Y),
        TensorDataset(X, Y),
        Subset(TensorDataset(X, Y), range(10)),
        Listed(PAIRS),
        Listed([[x.numpy(), np.int64(y)] for x, y in PAIRS]),
        Listed([(x, torch.tensor(y)) for x, y in PAIRS]),
        Streamed(PAIRS),
        DataLoader(TensorDataset(X, Y), batch_size=4),
        DataLoader(Listed(PAIRS), batch_size=3),
        DataLoader(Streamed(PAIRS), batch_size=4),
        DataLoader(Listed(PAIRS), batch_size=None),
    ],
)
def test_all_labelled_forms_give_the_same(source: Any) -> None:
    data = load_data(source, "test")
    assert data.split == "test"
    assert torch.equal(data.inputs(slice(None)), X)
    assert data.labels is not None
    assert data.labels.dtype == torch.int64
    assert torch.equal(data.labels, Y)
    assert data.classes == 4


@pytest.mark.parametrize(
    "source",
    [
        (X, None),
        (X, torch.full((10,), -1)),
        TensorDataset(X),
        Listed(list(X)),
        Listed([(x,) for x in X]),
        Listed([(x, None) for x in X]),
        Listed([(x, -1) for x in X]),
        Streamed(list(X)),
        DataLoader(TensorDataset(X), batch_size=4),
        DataLoader(Listed(list(X)), batch_size=4),
    ],
)
def test_all_unlabelled_forms_give_the_same(source: Any) -> None:
    data = load_data(source)
    assert torch.equal(data.inputs(slice(None)), X)
    assert data.labels is None
    assert data.classes is None


def test_a_loader_is_taken_at_its_word() -> None:
    loader = DataLoader(
        TensorDataset(X, Y),
        batch_size=4,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(0),
    )
    data = load_data(loader)
    assert len(data) == 8
    matches = (data.stored[:, None] == X[None]).flatten(2).all(2)
    assert data.labels is not None
    assert torch.equal(Y[matches.int().argmax(1)], data.labels)


def test_tensors_are_not_copied() -> None:
    for source in ((X, Y), TensorDataset(X, Y)):
        assert load_data(source).stored.data_ptr() == X.data_ptr()
    array = np.zeros((4, 2), dtype=np.float32)
    assert load_data((torch.from_numpy(array), None)).stored.data_ptr() == array.ctypes.data


def test_ranges_and_number_types() -> None:
    wide = 6 * X - 3
    data = load_data((wide.requires_grad_(), Y), low=-3.0, high=3.0)
    assert (data.low, data.high) == (-3.0, 3.0)
    assert not data.stored.requires_grad
    assert torch.equal(data.inputs(slice(None)), wide)
    assert load_data((1e9 * X, None), low=-math.inf, high=math.inf).scale is None
    raw = torch.randint(0, 256, (5, 1, 2, 2), dtype=torch.uint8)
    assert torch.equal(load_data((raw, None)).inputs(slice(None)), raw / 255)
    assert torch.equal(load_data((raw, None), high=255.0).inputs(slice(None)), raw.float())
    assert torch.equal(load_data((raw > 9, None)).inputs(slice(None)), (raw > 9).float())
    assert load_data((X.double(), Y)).inputs(slice(None)).dtype == torch.float32
    assert load_data((X, Y.float())).labels is not None


def test_pil_images() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    data = load_data(Listed([(Image.fromarray(p), row) for row, p in enumerate(pixels)]))
    assert torch.equal(data.inputs(slice(None)), torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    grey = load_data(Listed([Image.fromarray(pixels[0, :, :, 0])]))
    assert grey.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((X, Y[:3]), "10 inputs but 3 labels"),
        ((X, Y + 0.5), "whole numbers, found 0.5 at row 0"),
        ((X, torch.zeros(10, 2, 2)), r"class indices or, .* found shape \(10, 2, 2\)"),
        ((X, 2 * torch.eye(10)), "0 or 1 for each class, found 2 at example 0, class 0"),
        ((X, torch.tensor([0] * 9 + [-2])), "found -2 at example 9"),
        ((X[:0], None), "no examples"),
        ((torch.rand(5), None), "found shape"),
        ((torch.rand(5, 2, dtype=torch.complex64), None), "real numbers"),
        ((X * float("nan"), Y), "example 0 contains NaN"),
        ((X + 1, Y), r"must lie in \[0, 1\]"),
        (Listed([]), "Listed holds no examples"),
        (DataLoader(Streamed([])), "Streamed holds no examples"),
        (Listed([*PAIRS, (torch.rand(2, 4), 0)]), r"row 10 has shape \(2, 4\), but row 0 has \(2, 3\)"),
        (Streamed([(X[0], 0), (X[1], 0.5)]), "whole numbers, found 0.5 at row 1"),
        (Listed([(X[0], 0), (X[1], None)]), "found None at row 1"),
        (Listed([(X[0], 0), (X[1], "cat")]), "whole numbers, found 'cat' at row 1"),
        (Listed([(X[0], torch.tensor([0, 1]))]), r"found shape \(2,\) for 1 at row 0"),
        (Listed([(X[0], 0, 1)]), "x or .x, y., found 3 parts at row 0"),
        (Listed([{"image": X[0], "label": 0}]), "a tensor, an array or a PIL image, found dict at row 0"),
        (TensorDataset(X, Y, Y), "found 3 parts at row 0"),
    ],
)
def test_what_cannot_be_used_is_named(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data(source)


def test_a_batch_of_another_shape_is_named() -> None:
    loader = DataLoader(Listed([*PAIRS[:2], (torch.rand(2, 4), 0)]), batch_size=1)
    with pytest.raises(InputError, match=r"row 2 has shape \(2, 4\), but row 0 has \(2, 3\)"):
        load_data(loader)


def test_bytes_without_a_stated_range_are_images_in_zero_to_one() -> None:
    found = load_data((torch.tensor([[0, 255]], dtype=torch.uint8), None), low=-math.inf, high=math.inf)
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.inputs(slice(0, 1)).tolist() == [[0.0, 1.0]]
