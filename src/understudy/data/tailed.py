"""Long-tailed data: each class has fewer examples than the one before, by a constant factor.

As in the code of Guo et al., arXiv 2405.00739: of class i, of C in their order, floor(most * r^(-i / (C - 1))).
"""

from __future__ import annotations

import math

import torch

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.numbers import check_number

_ROUNDING = 1e-9  # 500 * 100^-1 must come to 5, not to the 4 below 4.9999999999999999


def tail_counts(classes: int, most: int, imbalance: float) -> list[int]:
    """Examples of each class: floor(most * imbalance^(-i / (classes - 1))), falling from `most` to `most / imbalance`.

    Raises:
        InputError: a class or an example below 1, an imbalance below 1, or one that leaves a class without an example.
    """
    check_number("the imbalance", imbalance, 1.0)
    if classes < 1 or most < 1:
        raise InputError(f"a tail needs 1 class and 1 example at least, found {classes} and {most}")
    steps = max(classes - 1, 1)
    counts = [math.floor(most * imbalance ** (-i / steps) + _ROUNDING) for i in range(classes)]
    if counts[-1] < 1:
        raise InputError(f"{most} examples at an imbalance of {imbalance:g} leave the last class without any")
    return counts


def long_tailed(data: DataSet, imbalance: float, most: int | None = None, seed: int = 0) -> DataSet:
    """The part of a data set whose classes have the sizes of `tail_counts`, drawn from the seed, in the set's order.

    Args:
        imbalance: r, first class over last, 1 or more; at 1 all classes have `most`.
        most: examples of the first class; as many as it has if not given.

    Raises:
        InputError: as `tail_counts`; data that do not have one label an example, or too few of a class.
    """
    if data.labels is None or data.classes is None or data.multi_label or data.partly:
        raise InputError(f"a tail is of classes: {data.name!r} needs one label an example")
    there = torch.bincount(data.labels, minlength=data.classes).tolist()
    counts = tail_counts(data.classes, there[0] if most is None else most, imbalance)
    short = [i for i, count in enumerate(counts) if count > there[i]]
    if short:
        i = short[0]
        raise InputError(f"class {i} of {data.name!r} has {there[i]} examples, asked for {counts[i]}")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    kept = [order[data.labels[order] == i][:count] for i, count in enumerate(counts)]
    return data.rows(torch.cat(kept).sort().values)
