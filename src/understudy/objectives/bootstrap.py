"""One step along a diffusion's path, from the student's own answer: what BOOT asks of the student.

Gu et al., arXiv 2306.05544. The signal y_t = (x_t - s_t noise) / a_t moves from the noise's denoised version at the
last time to a sample at time 0, by dy_t = (f(x_t, t) - y_t) d lambda_t with lambda_t = log(a_t / s_t).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError
from understudy.models.diffusion import kept_share

Step = Literal["ddim", "euler"]


def bootstrap_target(
    signal: Float[Tensor, "b d"],
    denoised: Float[Tensor, "b d"],
    time: Float[Tensor, " b"],
    earlier: Float[Tensor, " b"],
    step: Step = "ddim",
) -> Float[Tensor, "b d"]:
    """y_s from y_t for s = `earlier` <= t = `time`, given f(a_t y_t + s_t noise, t) = `denoised`.

    "ddim": w y_t + (1 - w) f with w = (a_t s_s) / (s_t a_s), exact where f stands still; "euler":
    y_t + (t - s) |d lambda / dt| (f - y_t), which overshoots where (t - s) pi / sin(pi t) is above 1.
    """
    if step == "ddim":
        w = kept_share(time, earlier)[:, None]
        return w * signal + (1 - w) * denoised
    speed = math.pi / (math.pi * time).sin()
    return signal + ((time - earlier) * speed)[:, None] * (denoised - signal)


def squared_error(target: Float[Tensor, "b dt"], said: Float[Tensor, "b ds"]) -> Float[Tensor, " b"]:
    """Mean over the coordinates of (target - said)^2, in at least float32.

    Raises:
        InputError: shapes that differ.
    """
    if target.shape != said.shape:
        raise InputError(
            f"student and teacher must say as many numbers, found {tuple(said.shape)} and {tuple(target.shape)}"
        )
    wide = torch.promote_types(torch.promote_types(target.dtype, said.dtype), torch.float32)
    return (target.to(wide) - said.to(wide)).square().mean(1)
