"""Data that a Python program already has: tensors, a torch `Dataset`, a `DataLoader`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from understudy.data.dataset import DataSet
from understudy.data.decoded import clean_labels
from understudy.errors import InputError


def from_tensors(
    inputs: Tensor, labels: Tensor | None, *, name: str, split: str, low: float, high: float
) -> DataSet:
    """A `DataSet` of the tensors themselves, not copied: inputs (N, ...), labels (N,), (N, C) or None.

    Floats are taken as they are and must lie in [low, high]. Bytes (uint8) are divided by 255 where the range
    is [0, 1] or none is stated (infinities; it is [0, 1] then), and taken as they are where it is another.
    Labels that are all -1 mean there are none.

    Raises:
        InputError: shapes that do not go together, labels that are no whole numbers, what `DataSet` refuses.
    """
    inputs = inputs.detach().cpu()
    if inputs.dim() < 2:
        raise InputError(f"{name}: inputs must be (examples, ...), found shape {tuple(inputs.shape)}")
    if inputs.is_complex():
        raise InputError(f"{name}: inputs must be real numbers, found {inputs.dtype}")
    if inputs.dtype == torch.bool:
        inputs = inputs.to(torch.uint8)
        scale = None
    else:
        if inputs.dtype == torch.uint8 and (low, high) == (-math.inf, math.inf):
            low, high = 0.0, 1.0
        scale = 255.0 if inputs.dtype == torch.uint8 and (low, high) == (0.0, 1.0) else None
    if labels is not None:
        labels = _whole(labels.detach().cpu(), name)
        if len(labels) != len(inputs):
            raise InputError(f"{name}: {len(inputs)} inputs but {len(labels)} labels")
        if len(labels) and bool((labels == -1).all()):
            labels = None
    return DataSet(name, split, inputs, labels, scale=scale, low=low, high=high)


def from_torch(source: Dataset[Any] | DataLoader[Any], *, split: str, low: float, high: float) -> DataSet:
    """A `DataSet` of all that a `Dataset` or `DataLoader` gives, in the order in which it gives it.

    Items (or batches) are x or (x, y), x a tensor, an array or a PIL image, y a class index or None. A loader
    that shuffles or drops its last batch is taken at its word.
    """
    name = type(source.dataset if isinstance(source, DataLoader) else source).__name__
    if isinstance(source, TensorDataset) and len(source.tensors) <= 2:
        inputs, *rest = source.tensors
        return from_tensors(inputs, rest[0] if rest else None, name=name, split=split, low=low, high=high)
    batched = isinstance(source, DataLoader) and source.batch_sampler is not None
    xs: list[Tensor] = []
    ys: list[Any] = []
    row = 0
    for item in _items(source):
        x, y = _pair(item, name, row)
        x = _tensor(x, name, row)
        shape = x.shape[1:] if batched else x.shape
        if xs and shape != (xs[0].shape[1:] if batched else xs[0].shape):
            raise InputError(
                f"{name}: row {row} has shape {tuple(shape)}, but row 0 has "
                f"{tuple(xs[0].shape[1:] if batched else xs[0].shape)}; all examples must have one shape"
            )
        count = len(x) if batched else 1
        ys += _labels(y, count, name, row)
        xs.append(x)
        row += count
    if not xs:
        raise InputError(f"{name} holds no examples")
    labels = clean_labels(ys, name)
    return from_tensors(
        torch.cat(xs) if batched else torch.stack(xs),
        None if labels is None else torch.from_numpy(labels),
        name=name,
        split=split,
        low=low,
        high=high,
    )


def _items(source: Any) -> Iterator[Any]:
    """What a source gives, in order; a map-style set with a length is asked for 0..len-1."""
    if isinstance(source, (DataLoader, IterableDataset)) or not hasattr(source, "__len__"):
        return iter(source)
    return (source[row] for row in range(len(source)))


def _pair(item: Any, name: str, row: int) -> tuple[Any, Any]:
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) == 1:
        return item[0], None
    if len(item) == 2:
        return item[0], item[1]
    raise InputError(f"{name}: an item must be x or (x, y), found {len(item)} parts at row {row}")


def _tensor(x: Any, name: str, row: int) -> Tensor:
    if isinstance(x, Tensor):
        return x.detach().cpu()
    if isinstance(x, np.ndarray) and x.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(x))
    if hasattr(x, "getbands") and hasattr(x, "tobytes"):
        pixels = torch.from_numpy(np.array(x))  # a PIL image: (H, W) or (H, W, C)
        return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
    raise InputError(
        f"{name}: an input must be a tensor, an array or a PIL image, found {type(x).__name__} at row {row}"
    )


def _labels(y: Any, count: int, name: str, row: int) -> list[Any]:
    """`count` labels of one item or batch as plain numbers; None where there is none."""
    if y is None:
        return [None] * count
    found = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if found.size != count or found.ndim > 1:
        raise InputError(
            f"{name}: a label must be one class index an example, found shape {found.shape} "
            f"for {count} at row {row}"
        )
    return list(found.reshape(-1).tolist())


def _whole(labels: Tensor, name: str) -> Tensor:
    """Labels as (N,) or (N, C) int64; floats are accepted where they are whole."""
    if labels.dim() not in (1, 2):
        raise InputError(
            f"{name}: labels must be (examples,) class indices or, where an example bears several, (examples, classes) "
            f"of 0 and 1; found shape {tuple(labels.shape)}"
        )
    if labels.is_floating_point():
        broken = ~(labels == labels.round())
        if broken.any():
            row = int(broken.nonzero()[0, 0])
            raise InputError(
                f"{name}: labels must be whole numbers, found {float(labels[broken][0]):g} at row {row}"
            )
    return labels.to(torch.int64)
