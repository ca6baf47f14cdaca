"""UB3's ingredients: linear bounds of a class's confidence p_k as a function of the logits.

A bound is (coefficients (b, c, c), constants (b, c)): p_k against coefficients[:, k] . z + constants[:, k].
The coefficients of a class add up to 0, so a constant added to all logits changes nothing. Every line is
sound for whatever slope and point it was drawn at; those only decide how tight it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.softmax import Range, rivals, sigmoid_difference

Lines = tuple[Float[Tensor, "b c c"], Float[Tensor, "b c"]]


def exp_chord(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and intercept of a line above exp on [low, high]: its chord, its tangent where they are equal."""
    width = high - low
    slope = torch.where(width > 0, high.exp() * (-torch.expm1(-width)) / width, high.exp())
    # exp is convex: against a line of any slope it is largest at an end
    return slope, torch.maximum(high.exp() - slope * high, low.exp() - slope * low)


def sigmoid_line(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and intercept of a line above the sigmoid on [low, high], parallel to its chord.

    sigmoid(t) - q t is largest at an end or at the later of the two points where the sigmoid's slope is q:
    t = ln((1 + R) / (1 - R)), R = sqrt(1 - 4 q), written so that 1 - R does not cancel.
    """
    width = high - low
    chord = torch.where(width > 0, sigmoid_difference(high, low) / width, high.sigmoid() * (-high).sigmoid())
    slope = chord.clamp(0, 0.25)
    root = (1 - 4 * slope).clamp(min=0).sqrt()
    later = ((1 + root).square() / (4 * slope)).log()
    points = torch.stack([low, high, torch.minimum(torch.maximum(later, low), high)])
    return slope, (points.sigmoid() - slope * points).amax(0)


def middles(margins: Float[Tensor, "b c c"]) -> Float[Tensor, "b c c"]:
    """Middle of the interval of z_j - z_k at [:, k, j]; 0 on the diagonal."""
    return (margins.mT - margins) / 2


def _simplex(z: Tensor) -> tuple[Tensor, Tensor]:
    """Weights w = softmax(z) over the last axis and their entropy: LSE(y) >= w . y + H(w) for every y."""
    log_weights = z.log_softmax(-1)
    weights = log_weights.exp()
    return weights, -torch.where(weights > 0, weights * log_weights, weights).sum(-1)


def raised(odds: Range, margins: Float[Tensor, "b c c"]) -> Lines:
    """Lines above every p_k: the better, at the middle of the box of differences, of two.

    p_k = exp(ln p_k) with the chord of exp over ln p_k, or sigmoid(log-odds) with a line above the sigmoid;
    in both the log-sum-exp of the logits (of all, or of the rivals) is replaced by its tangent below.
    """
    middle = middles(margins)
    own = torch.eye(margins.shape[-1], dtype=margins.dtype, device=margins.device)
    low, high = -F.softplus(-odds[0]), -F.softplus(-odds[1])
    chord = _tangent(exp_chord(low, high), own, middle)
    excluded = middle.masked_fill(own.bool(), -torch.inf)
    line = _tangent(sigmoid_line(*odds), own, excluded)
    return _lower_at(middle, chord, line)


def _tangent(line: tuple[Tensor, Tensor], own: Tensor, z: Tensor) -> Lines:
    """slope * (z_k - LSE(z)) + intercept, with the LSE replaced by its tangent at z: linear, and above."""
    slope, intercept = line
    weights, entropy = _simplex(z)
    return slope[..., None] * (own - weights), intercept - slope * entropy


def _lower_at(point: Tensor, one: Lines, other: Lines) -> Lines:
    """Class by class the line that is lower at the point."""
    values = [(coefficients * point).sum(-1) + constants for coefficients, constants in (one, other)]
    first = values[0] <= values[1]
    return torch.where(first[..., None], one[0], other[0]), torch.where(first, one[1], other[1])


def lowered(margins: Float[Tensor, "b c c"]) -> Lines:
    """Lines below every p_k = 1 / (1 + sum over rivals of exp(z_j - z_k)).

    Each exp lies under its chord on the interval of z_j - z_k; the reciprocal of the positive linear sum is
    convex and lies over its tangent at the middle. Everything is divided by the largest exp first, so that
    wide intervals do not overflow.
    """
    other = rivals(margins.shape[-1], margins.device).to(margins.dtype)
    high, low = margins.mT, -margins  # z_j - z_k at [:, k, j]
    top = high.amax(-1, keepdim=True).clamp(min=0)
    slope, intercept = exp_chord(low - top, high - top)
    slope = slope * other
    middle = middles(margins)
    own = (-top[..., 0]).exp()
    total = own + ((intercept + slope * (middle - top)) * other).sum(-1)
    gradient = -(own / total.square())[..., None] * slope
    constant = own / total - (gradient * middle).sum(-1)
    diagonal = torch.diag_embed(gradient.sum(-1))  # z_j - z_k: each slope is taken from z_k as well
    return gradient - diagonal, constant
