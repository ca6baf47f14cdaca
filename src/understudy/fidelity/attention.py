"""What a model looks at: maps (B, h, w) from the features of a convolutional net or the attention of a transformer.

Pure functions; `attention_maps` asks models for what they need, `attention_compare` holds maps against each other.
Class activation: Zhou et al., arXiv 1512.04150. Rollout: Abnar and Zuidema, arXiv 2005.00928. Gradient-weighted
attention: Chefer, Gur and Wolf, arXiv 2103.15679. The map summed over classes: the code of arXiv 2405.00739.
Grad-CAM itself is `understudy.objectives.explanations.grad_cam`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError


def class_activation(
    features: Float[Tensor, "b d h w"],
    weight: Float[Tensor, "c d"],
    classes: Int[Tensor, " b"],
    bias: Float[Tensor, " c"] | None = None,
) -> Float[Tensor, "b h w"]:
    """CAM: sum_d W[y, d] F_d (+ bias[y]), of any sign; its mean over the plane is the logit of class y.

    That holds for a head that is linear on the mean of F over the plane, and only there does the map explain a logit.

    Args:
        features: F, of the last convolution.
        weight, bias: of the linear head.
        classes: (B,) y, the class to explain: the predicted one as a rule.

    Raises:
        InputError: sizes that do not fit, or a class out of range.
    """
    _check_head(features, weight, bias)
    check_classes(classes, len(features), len(weight))
    found = torch.einsum("bd,bdhw->bhw", weight[classes], features)
    return found if bias is None else found + bias[classes][:, None, None]


def summed_class_activation(
    features: Float[Tensor, "b d h w"], weight: Float[Tensor, "c d"], bias: Float[Tensor, " c"] | None = None
) -> Float[Tensor, "b h w"]:
    """sum_c CAM_c = v . F (+ sum of biases) with v = sum_c W[c]: the map of the released code, the same for any class.

    No loss of a softmax has a gradient along v, so that plain gradient descent without weight decay never moves it:
    this is F seen along a direction that was drawn at the start. Two models with unlike v differ in this map even
    where their features are alike; models that began with the same head share v. Hold what it shows against
    `class_activation`, Grad-CAM and `activation_energy` before believing it.

    Raises:
        InputError: sizes that do not fit.
    """
    _check_head(features, weight, bias)
    found = torch.einsum("d,bdhw->bhw", weight.sum(0), features)
    return found if bias is None else found + bias.sum()


def activation_energy(features: Float[Tensor, "b d h w"], power: float = 2.0) -> Float[Tensor, "b h w"]:
    """mean_d |F_d|^power: where the features are large, whatever for; 0 or more.

    Zagoruyko and Komodakis, arXiv 1612.03928, who sum; the mean lets nets of unlike width be compared.

    Raises:
        InputError: power not above 0, or features without channels or places.
    """
    if not (math.isfinite(power) and power > 0):
        raise InputError(f"the power must be a finite number above 0, found {power}")
    _check_maps(features)
    return features.abs().pow(power).mean(1)


def attention_rollout(
    attentions: Sequence[Float[Tensor, "b heads t t"]], residual: float = 0.5
) -> Float[Tensor, "b t t"]:
    """A_L ... A_1 with A = (1 - residual) mean_heads attention + residual I: how much of token j reaches token i.

    Rows are 0 or more and sum to 1. Exact were each block a mixture of its tokens and nothing else: what values,
    perceptrons and norms do is ignored.

    Args:
        attentions: each block's weights (B, heads, T, T) after the softmax, the first block first.
        residual: share of the path around the attention, in [0, 1); the paper's 0.5.

    Raises:
        InputError: no block, blocks that differ in tokens, or a share out of range.
    """
    if not 0 <= residual < 1:
        raise InputError(f"the residual's share must lie in [0, 1), found {residual}")
    _check_attentions(attentions)
    unit = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    rolled = unit.expand(len(attentions[0]), -1, -1)
    for weights in attentions:
        mixed = (1 - residual) * weights.float().mean(1) + residual * unit
        rolled = mixed / mixed.sum(-1, keepdim=True) @ rolled
    return rolled


def gradient_attention(
    attentions: Sequence[Float[Tensor, "b heads t t"]], slopes: Sequence[Float[Tensor, "b heads t t"]]
) -> Float[Tensor, "b t t"]:
    """(I + A_L) ... (I + A_1) - I with A = mean_heads ReLU(slope * attention): what of token j speaks for the class.

    0 or more. The identity, which would make every token explain itself, is taken off at the end.

    Args:
        attentions: each block's weights (B, heads, T, T), the first block first.
        slopes: the gradient of the explained logit by each of them.

    Raises:
        InputError: no block, blocks that differ in tokens, or slopes that do not fit.
    """
    _check_attentions(attentions)
    if [tuple(slope.shape) for slope in slopes] != [tuple(weights.shape) for weights in attentions]:
        raise InputError("each block's attention needs a slope of the same shape")
    unit = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    found = unit.expand(len(attentions[0]), -1, -1)
    for weights, slope in zip(attentions, slopes, strict=True):
        found = found + (weights.float() * slope.float()).relu().mean(1) @ found
    return found - unit


def last_attention(attentions: Sequence[Float[Tensor, "b heads t t"]]) -> Float[Tensor, "b t t"]:
    """mean_heads of the last block's attention: rows of 0 or more that sum to 1.

    Raises:
        InputError: no block, or blocks that differ in tokens.
    """
    _check_attentions(attentions)
    return attentions[-1].float().mean(1)


def on_grid(
    relevance: Float[Tensor, "b t t"],
    prefix: int,
    grid: tuple[int, int] | None = None,
    readout: Literal["first", "mean"] | None = None,
) -> Float[Tensor, "b h w"]:
    """What the answer takes from each patch, as a map: one row of `relevance`, its columns of no patch dropped.

    Args:
        relevance: (B, T, T), from column to row; T = prefix + h * w.
        prefix: tokens in front that are no patches: 1 for a class token, 0 for a net that pools by the mean.
        grid: (h, w); a square if not given.
        readout: the row: the "first" token's, or the "mean" over patches. "first" if there is a prefix, else "mean".

    Raises:
        InputError: the patches do not fill the grid, or the first token is asked for and is a patch.
    """
    tokens = relevance.shape[-1]
    patches = tokens - prefix
    side = math.isqrt(max(patches, 0))
    height, width = (side, side) if grid is None else grid
    if prefix < 0 or patches < 1 or height * width != patches:
        raise InputError(
            f"{tokens} tokens with {prefix} in front of the patches do not fill a grid of {height}x{width}: "
            f"say how many tokens are no patches (prefix) and, unless it is a square, the grid"
        )
    if readout == "first" and not prefix:
        raise InputError('a readout from the "first" token needs a prefix: here the first token is a patch')
    if readout is None:
        readout = "first" if prefix else "mean"
    row = relevance[:, 0] if readout == "first" else relevance[:, prefix:].mean(1)
    return row[:, prefix:].unflatten(1, (height, width))


def check_classes(classes: Tensor, examples: int, many: int) -> None:
    """InputError unless there is one class in 0..many-1 an example."""
    if classes.shape != (examples,) or classes.is_floating_point():
        raise InputError(
            f"{examples} examples need integer classes ({examples},), found {classes.dtype} {tuple(classes.shape)}"
        )
    if ((classes < 0) | (classes >= many)).any():
        raise InputError(f"classes must lie in 0..{many - 1}, found {sorted(set(classes.tolist()))}")


def _check_head(features: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    _check_maps(features)
    if weight.dim() != 2 or weight.shape[1] != features.shape[1]:
        raise InputError(
            f"a class activation map needs a head on the features' {features.shape[1]} channels, "
            f"found weights of shape {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"a head of {len(weight)} classes needs as many biases, found {tuple(bias.shape)}")


def _check_maps(features: Tensor) -> None:
    if features.dim() != 4 or features.numel() == 0:
        raise InputError(f"features must be maps (B, D, h, w), found the shape {tuple(features.shape)}")


def _check_attentions(attentions: Sequence[Tensor]) -> None:
    if not attentions:
        raise InputError("a map of attention needs one block at least, found none")
    shapes = {(len(weights), *weights.shape[2:]) for weights in attentions}
    if len(shapes) > 1 or any(w.dim() != 4 or w.shape[2] != w.shape[3] for w in attentions):
        raise InputError(
            "each block must attend from the same tokens to the same tokens, weights (B, heads, T, T); found "
            f"{sorted({tuple(weights.shape) for weights in attentions})}"
        )
