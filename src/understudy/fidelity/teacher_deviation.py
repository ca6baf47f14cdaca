"""T.stddev: how good a data augmentation is for distilling a teacher, measured on the teacher alone; lower is better.

The more the examples of a run resemble one another, the more the teacher's mean confidence over a part of them differs
from part to part. Wang, Lohit, Jones and Fu, arXiv 2012.02909, whose students' test losses it went along with.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.dataset import DataSet
from understudy.data.loader import batches
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.models.look import frozen, logits_of
from understudy.models.memo import Memo
from understudy.sources.base import Cast, Source


def deviation_of_means(means: Float[Tensor, "m k"]) -> float:
    """mean_k std_m(means[m, k]), the standard deviation with m - 1 below: T.stddev of m parts' mean confidences.

    Raises:
        InputError: fewer than two parts.
    """
    if len(means) < 2:
        raise InputError(f"a deviation needs the means of two parts at least, found {len(means)}")
    return means.double().std(0).mean().item()


def teacher_stddev(
    teacher: nn.Module,
    data: DataSet,
    source: Source,
    *,
    student: nn.Module | None = None,
    batch_size: int = 64,
    part: int = 5,
    epochs: int = 10,
    seed: int = 0,
) -> float:
    """T.stddev of a source: of softmax(teacher) over each `part` batches, all views together, in whole epochs.

    Args:
        teacher: inputs -> logits (B, C); left as it was. It and the data lie on one device.
        source: what the student would be shown, such as `WithAugmented("cutmix")` or `Picked()`.
        student: whom a source asks that asks the student.
        batch_size: examples a batch; a last, smaller one is left out, so that all parts have one size.
        part: consecutive batches a part; they may lie in two epochs.
        epochs: passes over the data, each in an order of its own.
        seed: of orders and augmentations.

    Raises:
        InputError: fewer than two parts.
    """
    sums = []
    with torch.no_grad(), frozen(teacher):
        cast = Cast(nn.Identity() if student is None else student, Memo(teacher))
        for shown in _shown(data, source, cast, batch_size, epochs, seed):
            said = [logits_of(teacher(view)).double().softmax(1).mean(0) for view in shown.views.values()]
            sums.append(torch.stack(said).mean(0))
    parts = [torch.stack(sums[first : first + part]) for first in range(0, len(sums) - part + 1, part)]
    if len(parts) < 2:
        raise InputError(
            f"a deviation needs two parts of {part} batches at least, and {epochs} epochs of {len(data)} examples "
            f"in batches of {batch_size} have {len(sums)} batches"
        )
    return deviation_of_means(torch.stack([means.mean(0) for means in parts]))


def _shown(
    data: DataSet, source: Source, cast: Cast, batch_size: int, epochs: int, seed: int
) -> Iterator[Batch]:
    """Every whole batch of all epochs, as the source shows it."""
    random, step = Randomness(seed), 0
    assert isinstance(cast.teacher, Memo)
    for epoch in range(epochs):
        for item in batches(data, batch_size=batch_size, seed=seed, epoch=epoch):
            random.begin(step, item.rows, item.total)
            step += 1
            if item.total == batch_size:
                yield source.show(item.batch, cast, random)
            cast.teacher.forget()
