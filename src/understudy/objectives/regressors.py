"""Networks that bring a student's feature into the shape of a teacher's, and the distance of a hint."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError

Activation = Literal["relu", "tanh", "sigmoid", "none"]
_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def hint_regressor(
    student: Float[Tensor, "b ..."], teacher: Float[Tensor, "b ..."], activation: Activation, spread: float
) -> nn.Module:
    """A new network from the student's feature to the teacher's shape: nothing at all where they agree.

    Maps (B, C, H, W) go through one convolution without padding, as large as the difference of their sides; vectors
    (B, D) and tokens (B, L, D) of one length through one linear layer. Weights are uniform on +-`spread`, biases 0.

    Raises:
        InputError: the student's map is smaller than the teacher's, or the layouts differ.
    """
    s, t = tuple(student.shape[1:]), tuple(teacher.shape[1:])
    if s == t:
        return nn.Identity()
    layer: nn.Conv2d | nn.Linear
    if len(s) == len(t) == 3:
        kernel = (s[1] - t[1] + 1, s[2] - t[2] + 1)
        if min(kernel) < 1:
            raise InputError(
                f"the student's map {s} is smaller than the teacher's {t}: guide an earlier layer of the student "
                f"or take the hint from a later one of the teacher"
            )
        layer = nn.Conv2d(s[0], t[0], kernel)
    elif len(s) == len(t) in (1, 2) and s[:-1] == t[:-1]:
        layer = nn.Linear(s[-1], t[-1])
    else:
        raise InputError(
            f"a hint must have the student's layout: maps (C, H, W), tokens (L, D) with one L, or vectors (D,); "
            f"found {s} of the student and {t} of the teacher"
        )
    nn.init.uniform_(layer.weight, -spread, spread)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer if activation == "none" else nn.Sequential(layer, _ACTIVATIONS[activation]())


def hint_distance(teacher: Float[Tensor, "b ..."], student: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """1/2 |u - r|^2 over all numbers of an example, in at least float32; the teacher's side is a constant.

    Raises:
        InputError: shapes that differ.
    """
    if teacher.shape != student.shape:
        raise InputError(f"a hint has one shape, found {tuple(teacher.shape)} and {tuple(student.shape)}")
    wide = torch.promote_types(torch.promote_types(teacher.dtype, student.dtype), torch.float32)
    return 0.5 * (teacher.detach().to(wide) - student.to(wide)).square().flatten(1).sum(1)
