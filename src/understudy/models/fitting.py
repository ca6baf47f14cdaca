"""Does an opened model fit the data? One forward pass in the middle of the range tells."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.gcn import asked_at_once
from understudy.models.hub import LogitsOnly
from understudy.models.look import logits_of
from understudy.models.outputs import Answer


def fit_to_data(
    module: nn.Module,
    source: str,
    config: ModelConfig | None,
    *,
    shape: tuple[int, ...] | None,
    classes: int | None,
    low: float,
    high: float,
) -> nn.Module:
    """The module, which gives logits (B, classes) for inputs (B, *shape); cut down to them if it gives more.

    With `shape` None only what the configuration says is checked.

    Raises:
        InputError: shape, classes or valid range differ from the configuration's; or the forward pass fails,
            gives no logits, the wrong number of them, or values that are not finite. Both sides are shown.
    """
    if config is not None:
        if shape is not None and shape != config.shape:
            raise InputError(f"{source} takes inputs of shape {config.shape}, the data's are {shape}")
        if classes is not None and classes != config.classes:
            raise InputError(f"{source} tells {config.classes} classes apart, the data have {classes}")
        if shape is not None and (config.low, config.high) != (low, high):
            raise InputError(
                f"{source} was trained on values in [{config.low:g}, {config.high:g}], the data's range is "
                f"[{low:g}, {high:g}]"
            )
    if shape is None:
        return module
    with torch.no_grad():
        try:
            answer = module(_middle(module, shape, low, high))
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{source}{_wanted(module)} cannot take the data's inputs of shape {shape}: {message}"
            ) from error
    try:
        logits = logits_of(answer)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    count = asked_at_once(module, 2)
    if len(logits) != count or classes not in (None, logits.shape[1]):
        wanted = "C" if classes is None else classes
        raise InputError(
            f"{source} gives outputs of shape {tuple(logits.shape)} for {count} inputs of shape {shape}; logits of "
            f"shape ({count}, {wanted}) are needed"
        )
    if not bool(logits.isfinite().all()):
        raise InputError(f"{source} gives NaN or infinite logits in the middle of the data's range")
    return module if isinstance(answer, Tensor | Answer) else LogitsOnly(module).eval()


def _middle(module: nn.Module, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Two inputs (a graph: all nodes) in the middle of the range, 0 if unbounded, in the module's precision."""
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    bounded = math.isfinite(low) and math.isfinite(high)
    value = (low + high) / 2 if bounded else 0.0
    return torch.full((asked_at_once(module, 2), *shape), value, dtype=like.dtype, device=like.device)


def _wanted(module: nn.Module) -> str:
    """What the first layer with weights takes, for the message: a dense layer's width, or the channels."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            return f" (its first layer takes {part.in_features} values)"
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return f" (its first layer takes {part.in_channels} channels)"
    return ""
