"""Attention weights of a transformer that computes its attention in one fused step, or that returns them itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from understudy.errors import InputError
from understudy.fidelity.attention import check_classes
from understudy.models.look import logits_of


def attention_weights(model: nn.Module, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(logits (B, C), each block's attention (B, heads, T, T) after the softmax), in the order the blocks ran.

    Reads every model that calls `scaled_dot_product_attention` or is made of `nn.MultiheadAttention`, wrapped or not,
    without hooks; a transformers model loaded with attn_implementation="eager" is asked by `output_attentions`. The
    logits are computed from these very weights. The model runs as it is: `frozen` puts it into eval mode.

    Raises:
        InputError: no attention was seen; the shapes are no attention of all tokens to all of an image; dropout.
    """
    logits, roots = _observed(model, inputs)
    return logits, [_by_head(root, len(inputs)) for root in roots]


def attention_slopes(
    model: nn.Module, inputs: Tensor, classes: Int[Tensor, " b"] | None = None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """(logits, attention as `attention_weights`, the gradient of the logit of each example's class by it), detached.

    Args:
        classes: (B,) the class to explain; the predicted one if not given.

    Raises:
        InputError: as `attention_weights`; a class out of range; inputs that are no floats; attention that the logits
            do not depend on.
    """
    if not inputs.is_floating_point():
        raise InputError(f"gradients of attention need inputs of floats, found {inputs.dtype}")
    with torch.enable_grad():
        logits, roots = _observed(model, inputs.detach().requires_grad_())
        if classes is None:
            classes = logits.argmax(1)
        check_classes(classes, *logits.shape)
        explained = logits.gather(1, classes[:, None]).sum()
        slopes = torch.autograd.grad(explained, roots, allow_unused=True)
    if any(slope is None for slope in slopes):
        raise InputError(
            "the attention that the model shows is not on the way to its logits: no gradient reaches it"
        )
    many = len(inputs)
    return (
        logits.detach(),
        [_by_head(root.detach(), many) for root in roots],
        [_by_head(slope, many) for slope in slopes],
    )


def _observed(model: nn.Module, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits and what the values were mixed by in each block: (B, heads, T, T) or (B * heads, T, T)."""
    config = getattr(model, "config", None)
    if getattr(config, "_attn_implementation", None) == "eager":
        output = model(inputs, output_attentions=True)
        seen = list(getattr(output, "attentions", None) or ())
    else:
        with _Explicit(len(inputs)) as mode:
            output = model(inputs)
        seen = mode.seen
    if not seen:
        raise InputError(
            f"{type(model).__name__} shows no attention: it must call scaled_dot_product_attention (a transformers "
            'model: attn_implementation="sdpa"), be made of nn.MultiheadAttention, or return it ("eager")'
        )
    return logits_of(output), seen


def _by_head(root: Tensor, examples: int) -> Tensor:
    """(B, heads, T, T); InputError where the weights are no such thing."""
    weights = root
    if root.dim() == 3 and len(root) % examples == 0:
        weights = root.unflatten(0, (examples, -1))
    if weights.dim() != 4 or len(weights) != examples or weights.shape[2] != weights.shape[3]:
        raise InputError(
            f"a map needs attention (B, heads, T, T) of all tokens to all, with B = {examples}; found "
            f"{tuple(weights.shape)}"
        )
    return weights


def explicit_attention(
    query: Float[Tensor, "*b t d"],
    key: Float[Tensor, "*k s d"],
    value: Float[Tensor, "*k s v"],
    mask: Bool[Tensor, "*m t s"] | Float[Tensor, "*m t s"] | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    grouped: bool = False,
) -> tuple[Float[Tensor, "*b t v"], Float[Tensor, "*b t s"]]:
    """(what `scaled_dot_product_attention` returns, softmax(scale query key') that it is mixed by).

    Raises:
        InputError: dropout, which is no part of a model in eval mode.
    """
    if dropout:
        raise InputError(f"attention is read in eval mode, without dropout; found a rate of {dropout}")
    if grouped:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = scores.to(wide).softmax(-1).to(scores.dtype)
    return weights @ value, weights


class _Explicit(TorchFunctionMode):
    """Inside the block fused attention is computed step by step, and its weights are kept."""

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.examples = examples
        self.seen: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            return self._fused(*args, **named)
        if func is F.multi_head_attention_forward:
            return self._heads(func, args, named)
        return func(*args, **named)

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        mixed, weights = explicit_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
        )
        self.seen.append(weights)
        return mixed

    def _heads(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """`nn.MultiheadAttention`, asked for its weights whether or not its caller wants them."""
        wanted = named.get("need_weights", True)
        averaged = named.get("average_attn_weights", True)
        mixed, weights = func(*args, **{**named, "need_weights": True, "average_attn_weights": False})
        if weights.dim() == 4 and len(weights) != self.examples:
            raise InputError(
                f"a map needs attention of all tokens to all of an image; found {len(weights)} rows of tokens for "
                f"{self.examples} examples, such as windows of an image each"
            )
        # What is returned is a view of what the values were mixed by; only its base lies on the way to the logits.
        self.seen.append(weights if weights._base is None else weights._base)
        if not wanted:
            return mixed, None
        return mixed, weights.mean(-3) if averaged else weights
