"""Bounds of the difference of all margins of two networks of one structure."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.bounds.crown import Pass, difference_rows
from understudy.bounds.region import Region
from understudy.bounds.shared.bounds import Shared, rows_at_once, shared_pass
from understudy.bounds.softmax import rivals

AT_ONCE = 16  # classes of which all pairs are bounded; with more, single logits are


def difference_bounds(
    teacher: Pass, student: Pass, region: Region, deadline: float | None = None
) -> Float[Tensor, "b c c"]:
    """Upper bounds of (s_j - s_k) - (t_j - t_k) at [:, j, k] over each ball, 0 on the diagonal.

    To be met with `Differences.between`, whose layout it has. Of more than 16 classes, differences of single
    logits' bounds. NaN where something overflowed: it proves nothing.

    Raises:
        InputError: the networks differ in more than their weights.
    """
    return logit_differences(shared_pass(teacher, student, region, deadline))


def logit_differences(shared: Shared, pairs: Int[Tensor, "r 2"] | None = None) -> Float[Tensor, "b c c"]:
    """As `difference_bounds`, from a pass that is there; infinite where `pairs` (j, k) are given and lack it."""
    twin, region = shared.twin, shared.region
    count, dtype, device = twin.teacher.classes, twin.teacher.dtype, twin.teacher.device
    other = rivals(count, device)
    step = rows_at_once(twin, len(region.center), 2)
    if pairs is None and count > AT_ONCE:
        eye = torch.eye(count, dtype=dtype, device=device)
        tops = [
            shared.maximum(part[None], torch.zeros_like(part[None]))
            for part in torch.cat([eye, -eye]).split(step)
        ]
        high, low = torch.cat(tops, 1).chunk(2, dim=1)
        found = high[:, :, None] + low[:, None, :]
        # the sum's own rounding
        found = found + torch.finfo(dtype).eps * (high.abs()[:, :, None] + low.abs()[:, None, :])
        return found.masked_fill(~other, 0.0)
    if pairs is None:
        pairs = other.nonzero()
    found = torch.full((len(region.center), count, count), torch.inf, dtype=dtype, device=device)
    for part in pairs.split(step):
        j, k = part.unbind(1)
        rows = difference_rows(j, k, count, dtype)
        found[:, j, k] = shared.maximum(rows, torch.zeros_like(rows))
    return found.masked_fill(~other, 0.0)
