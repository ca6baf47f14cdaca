"""How the examples of a batch lie to one another: distances and angles of embeddings, one value an example.

Embeddings (B, D) in, values (B,) out, the student's D and the teacher's may differ. Half precision is computed in
float32, also under autocast: differences of close points have few digits as it is. Park et al., arXiv 1904.05068.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError


def distance_relation(teacher: Float[Tensor, "b dt"], student: Float[Tensor, "b ds"]) -> Float[Tensor, " b"]:
    """1/B sum_j h(d_ij(teacher) - d_ij(student)) for each i, d the distances over their mean over i != j.

    h is Huber's loss, u^2 / 2 up to 1 and |u| - 1/2 beyond. The student's mean is differentiated, too. The loss's
    mean divides by B^2, the B zeros of the diagonal included. 0 where the points of both sides coincide.

    Raises:
        InputError: embeddings that are not (B, D) floats with one B.
    """
    teacher, student = _pair(teacher, student)
    return _huber(_scaled(_lengths(_apart(teacher))) - _scaled(_lengths(_apart(student)))).mean(1)


def angle_relation(teacher: Float[Tensor, "b dt"], student: Float[Tensor, "b ds"]) -> Float[Tensor, " b"]:
    """1/B^2 sum_jk h(cos_jik(teacher) - cos_jik(student)) for each vertex i; cos_jik is the angle's at i.

    h as in `distance_relation`. An angle with a side of no length has cosine 0. B^3 values are held at once.
    Raises as `distance_relation` does.
    """
    teacher, student = _pair(teacher, student)
    return _huber(_cosines(teacher) - _cosines(student)).mean((1, 2))


def _apart(points: Tensor) -> Tensor:
    """x_j - x_i at [i, j]: (B, B, D)."""
    return points[None, :] - points[:, None]


def _lengths(differences: Tensor) -> Tensor:
    """Euclidean norms over the last axis, exactly 0 with gradient 0 where a difference is 0."""
    squares = differences.square().sum(-1)
    apart = squares > 0
    return torch.where(apart, squares, 1.0).sqrt() * apart


def _scaled(lengths: Tensor) -> Tensor:
    """Distances (B, B) over their mean over i != j; all 0 if there is none above 0."""
    pairs = len(lengths) * (len(lengths) - 1)
    mean = lengths.sum() / max(pairs, 1)
    return lengths / torch.where(mean > 0, mean, 1.0)


def _cosines(points: Tensor) -> Tensor:
    """<e_ij, e_ik> at [i, j, k], e_ij the direction from i to j: (B, B, B)."""
    differences = _apart(points)
    lengths = _lengths(differences)
    directions = differences / torch.where(lengths > 0, lengths, 1.0)[..., None]
    with torch.autocast(points.device.type, enabled=False):
        return directions @ directions.transpose(1, 2)


def _huber(difference: Tensor) -> Tensor:
    return F.huber_loss(difference, torch.zeros_like(difference), reduction="none")


def _pair(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one type of at least float32; the teacher's is a constant."""
    if teacher.ndim != 2 or student.ndim != 2 or len(teacher) != len(student):
        raise InputError(
            "embeddings must have the shapes (B, D) with one B, "
            f"found {tuple(teacher.shape)} and {tuple(student.shape)}"
        )
    if not (teacher.is_floating_point() and student.is_floating_point()):
        raise InputError(f"embeddings must be floats, found {teacher.dtype} and {student.dtype}")
    wide = torch.promote_types(torch.promote_types(teacher.dtype, student.dtype), torch.float32)
    return teacher.detach().to(wide), student.to(wide)
