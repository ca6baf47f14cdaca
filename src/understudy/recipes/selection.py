"""Which examples to ask about next: a batch picked from a pool by what a model says of it, or at random.

Pure functions of confidences or features; rows are numbered as they are given, and ties go to the first row. All
answers are picked rows in the order in which they were picked, each at most once; a count beyond the pool gives all.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.data.loader import permutation
from understudy.errors import InputError

_CHUNK = 4096  # rows of the pool whose distances to all centres are held at once


def k_centre(
    pool: Float[Tensor, "n d"], centres: Float[Tensor, "m d"], count: int
) -> tuple[Int[Tensor, " q"], Float[Tensor, " q"]]:
    """Greedy k-centre: again and again the point that is farthest from its nearest centre, which it then joins.

    (Gonzalez, 1985; Sener and Savarese, arXiv 1708.00489.) Euclidean, in float64. Without any centre the first
    row is picked first, at an infinite distance.

    Args:
        pool: (N, D) points to pick from.
        centres: (M, D) points that are covered already, M >= 0.
        count: how many to pick, 0 or more.

    Returns:
        Rows (Q,) of the pool, Q = min(count, N), and the distance (Q,) at which each was picked. It never
        increases from one pick to the next, and is the radius that covered the pool before the pick.

    Raises:
        InputError: shapes that do not go together, a value that is not finite, a negative count.
    """
    _check(pool, count)
    if centres.ndim != 2 or centres.shape[1] != pool.shape[1]:
        raise InputError(
            f"centres must be (M, {pool.shape[1]}) as the pool's points are, found {tuple(centres.shape)}"
        )
    if not centres.isfinite().all():
        raise InputError("centres must be finite numbers, found NaN or infinity")
    points, picked, radii = pool.double(), [], []
    apart = nearest(points, centres.double())
    for _ in range(min(count, len(points))):
        row = int(apart.argmax())
        picked.append(row)
        radii.append(float(apart[row]))
        apart = torch.minimum(apart, (points - points[row]).square().sum(1).sqrt())
        apart[row] = -1.0  # below every distance, and it stays: never again
    return torch.tensor(picked, dtype=torch.int64), torch.tensor(radii, dtype=torch.float64)


def nearest(points: Float[Tensor, "n d"], centres: Float[Tensor, "m d"]) -> Float[Tensor, " n"]:
    """Euclidean distance (N,) of each point from its nearest centre; infinite where there is no centre."""
    if len(centres) == 0:
        return torch.full((len(points),), float("inf"), dtype=points.dtype)
    exact = "donot_use_mm_for_euclid_dist"  # the fast way loses digits, and equal points must be at 0
    parts = [torch.cdist(part, centres, compute_mode=exact).amin(1) for part in points.split(_CHUNK)]
    return torch.cat(parts) if parts else points.new_zeros(0)


def highest(scores: Float[Tensor, " n"], count: int) -> Int[Tensor, " q"]:
    """The rows of the `count` highest scores, the highest first."""
    _check(scores[:, None], count)
    return torch.sort(scores.double(), descending=True, stable=True).indices[:count]


def closeness(confidences: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Minus the margin: the second highest confidence minus the highest (N,), in [-1, 0]."""
    top = confidences.topk(2, dim=1).values
    return top[:, 1] - top[:, 0]


def any_of(size: int, count: int, seed: int, turn: int = 0) -> Int[Tensor, " q"]:
    """`count` of `size` rows at random, without repetition, from (seed, turn) alone."""
    if size < 0 or count < 0:
        raise InputError(f"a pool's size and how many to pick must be 0 or more, found {size} and {count}")
    return permutation(size, seed, turn)[:count]


def unit(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows of length 1 in float64, so that squared distances are twice the cosine distance; 0 stays 0."""
    wide = features.double()
    return wide / wide.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def votes(confidences: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """1 at the most confident class of each row, 0 elsewhere: what is left of a confidence without its degree."""
    rows = torch.zeros_like(confidences)
    return rows.scatter(1, confidences.argmax(1, keepdim=True), 1.0)


def _check(points: Tensor, count: int) -> None:
    if count < 0:
        raise InputError(f"how many to pick must be 0 or more, found {count}")
    if not points.isfinite().all():
        row = int((~points.isfinite()).any(1).nonzero()[0])
        raise InputError(f"the points of a pool must be finite numbers, found NaN or infinity in row {row}")
