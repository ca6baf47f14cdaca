"""Embeddings compared with a teacher's, one value an example."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError


def embedding_distance(
    teacher: Float[Tensor, "b dt"], student: Float[Tensor, "b ds"], normalize: bool = True
) -> Float[Tensor, " b"]:
    """|y - yhat|^2, summed over the coordinates, in at least float32; the teacher's side is a constant.

    With `normalize` both are divided by their lengths first: 2 - 2 cos, in [0, 4]. Rotating one side changes it.

    Raises:
        InputError: vectors of different lengths.
    """
    if teacher.shape != student.shape:
        raise InputError(
            f"the student must say vectors as long as the teacher's, {teacher.shape[1]}, it says {student.shape[1]}: "
            f"end it in a linear layer of that many outputs, which stays part of it"
        )
    wide = torch.promote_types(torch.promote_types(teacher.dtype, student.dtype), torch.float32)
    t, s = teacher.detach().to(wide), student.to(wide)
    if normalize:
        t, s = F.normalize(t, dim=1), F.normalize(s, dim=1)
    return (s - t).square().sum(1)
