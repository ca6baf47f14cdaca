"""Explanations of a model's answer, and how far two of them are apart. Differentiable twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError


def grad_cam(
    logits: Float[Tensor, "b c"],
    features: Float[Tensor, "b d h w"],
    classes: Int[Tensor, " b"],
    *,
    keep_graph: bool = False,
) -> Float[Tensor, "b h w"]:
    """ReLU(sum_d a_d F_d), a_d = mean over the plane of dz_y / dF_d: what speaks for class y, 0 or more (B, H, W).

    Selvaraju et al., arXiv 1610.02391.

    Args:
        logits: z, computed from `features` with the graph kept.
        features: F, a convolution's output.
        classes: (B,) y, the class to explain.
        keep_graph: whether the map itself can be differentiated (a student that learns by it).

    Raises:
        InputError: the features are no maps (B, D, H, W), or no graph leads from the logits to them.
    """
    if features.dim() != 4:
        raise InputError(
            f"GradCAM explains by maps (B, D, H, W), found features of shape {tuple(features.shape)}"
        )
    if not logits.requires_grad or not features.requires_grad:
        raise InputError("GradCAM needs the graph from the features to the logits, and there is none")
    explained = logits.gather(1, classes[:, None]).sum()
    (slope,) = torch.autograd.grad(
        explained, features, create_graph=keep_graph, retain_graph=True, allow_unused=True
    )
    if slope is None:
        raise InputError("GradCAM needs features on the way to the logits, and these lead elsewhere")
    found = (slope.mean((2, 3), keepdim=True) * features).sum(1).relu()
    return found if keep_graph else found.detach()


def unlike(one: Float[Tensor, "b h w"], other: Float[Tensor, "b v u"]) -> Float[Tensor, " b"]:
    """1 - cos of two maps, in [0, 1] for maps of 0 or more; the second is resized to the first where they differ.

    A map that is 0 everywhere is unlike any other (1, without a gradient) and like another that is 0 (0).
    """
    if one.shape != other.shape:
        other = F.interpolate(other[:, None], one.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    wide = torch.promote_types(one.dtype, torch.float32)
    a, b = one.flatten(1).to(wide), other.flatten(1).to(wide)
    dead_a, dead_b = ((x == 0).all(1) for x in (a, b))
    a, b = (torch.where(dead[:, None], 1.0, x) for x, dead in ((a, dead_a), (b, dead_b)))
    a, b = (
        x / x.detach().abs().amax(1, keepdim=True) for x in (a, b)
    )  # squares of small numbers would vanish
    # half the squared distance of the unit vectors: 1 - cos, exact near 0 and never negative
    value = 0.5 * (a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)).square().sum(1)
    lone = (dead_a != dead_b).to(value.dtype)
    return torch.where(dead_a | dead_b, lone, value)
