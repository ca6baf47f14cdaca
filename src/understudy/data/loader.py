"""Batches of a `DataSet`: shuffled epochs, in which a place is just (epoch, step), and plain file order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from understudy.data.batch import Batch
from understudy.data.dataset import DataSet
from understudy.errors import InputError


@dataclass(frozen=True, eq=False)
class GlobalBatch:
    """This process's part of one step's batch.

    Attributes:
        batch: the rows of this process, possibly none.
        rows: which rows of the whole batch they are.
        total: examples in the whole batch, over all processes.
        step: number of the batch in its epoch, from 0.
    """

    batch: Batch
    rows: slice
    total: int
    step: int


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Batches in an epoch; the last may be smaller, and is kept."""
    _positive("batch_size", batch_size)
    return -(-examples // batch_size)


def permutation(examples: int, seed: int, epoch: int) -> Int[Tensor, " n"]:
    """The order of an epoch, from (seed, epoch) alone: (N,) row numbers.

    The two are hashed, so that seed 0 in epoch 1 has nothing in common with seed 1 in epoch 0.
    """
    digest = hashlib.sha256(f"epoch order {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(examples, generator=generator)


def share(total: int, rank: int, world: int) -> slice:
    """The rows of a batch of `total` that belong to one process: contiguous, sizes equal or one apart."""
    return slice(total * rank // world, total * (rank + 1) // world)


def batches(
    dataset: DataSet,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start_step: int = 0,
    rank: int = 0,
    world: int = 1,
    shuffle: bool = True,
) -> Iterator[GlobalBatch]:
    """One epoch's batches from `start_step` on, cut to the rows of process `rank` of `world`.

    Args:
        batch_size: examples in a whole batch, over all processes.
        seed, epoch: what the order depends on, and nothing else.
        start_step: how many batches to leave out (a resumed run); the number of steps itself gives nothing.

    A graph is one batch in file order, with its edges.

    Raises:
        InputError: a size below 1, a step outside the epoch, a rank outside the world; a graph in several parts.
    """
    steps = steps_per_epoch(len(dataset), batch_size)
    _positive("world", world)
    if not 0 <= start_step <= steps:
        raise InputError(f"start_step must be 0..{steps} in an epoch of {steps} steps, found {start_step}")
    if not 0 <= rank < world:
        raise InputError(f"rank must be 0..{world - 1}, found {rank}")
    if dataset.edges is not None:
        if batch_size < len(dataset) or world > 1:
            raise InputError(
                f"a graph is one batch on one device: batch_size must be {len(dataset)}, found {batch_size} on {world}"
            )
        shuffle = False  # edges name their nodes by row
    order = permutation(len(dataset), seed, epoch) if shuffle else torch.arange(len(dataset))
    return _batches(dataset, order, batch_size, start_step, rank, world)


def _batches(
    dataset: DataSet, order: Tensor, batch_size: int, start_step: int, rank: int, world: int
) -> Iterator[GlobalBatch]:
    for step, first in enumerate(range(start_step * batch_size, len(order), batch_size), start_step):
        total = min(batch_size, len(order) - first)
        rows = share(total, rank, world)
        index = order[first + rows.start : first + rows.stop]
        batch = replace(_batch(dataset, index, index), edges=dataset.edges)
        yield GlobalBatch(batch, rows, total, step)


def in_order(dataset: DataSet, batch_size: int, start: int = 0, count: int | None = None) -> Iterator[Batch]:
    """Rows start..start+count-1 in file order, `batch_size` at a time; to the end if count is None.

    Raises:
        InputError: `start` is no row of the set, or a size is below 1.
    """
    _positive("batch_size", batch_size)
    if not 0 <= start < len(dataset):
        raise InputError(f"start must be a row, 0..{len(dataset) - 1}, found {start}")
    if count is not None:
        _positive("count", count)
    stop = len(dataset) if count is None else min(len(dataset), start + count)

    def part(first: int) -> Batch:
        last = min(first + batch_size, stop)
        return _batch(dataset, slice(first, last), torch.arange(first, last))

    return map(part, range(start, stop, batch_size))


def _batch(dataset: DataSet, rows: Tensor | slice, index: Tensor) -> Batch:
    labels = None if dataset.labels is None else dataset.labels.index_select(0, index)
    return Batch(dataset.views(rows), index, labels, masks=dataset.masks(rows))


def pick(dataset: DataSet, index: Int[Tensor, " b"]) -> Batch:
    """The examples at the given rows, as a batch."""
    return _batch(dataset, index, index)


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} must be 1 or more, found {value}")
