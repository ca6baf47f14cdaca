"""Maps (B, h, w) of where a model looks, asked of the model itself, which is left as it was.

Of convolutional nets by `convolution_maps`, of transformers by `transformer_maps`; `attention` says what each kind is.
The kind "cam" is what is meant by a map of attention, "cam-sum" what the released code of arXiv 2405.00739 draws.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.errors import InputError, unknown
from understudy.fidelity.attention import (
    activation_energy,
    attention_rollout,
    check_classes,
    class_activation,
    gradient_attention,
    last_attention,
    on_grid,
    summed_class_activation,
)
from understudy.fidelity.attention_weights import attention_slopes, attention_weights
from understudy.models.look import frozen
from understudy.models.taps import Tapped, resolve, shapes_of
from understudy.objectives.explanations import grad_cam

Convolution = Literal["cam", "cam-sum", "grad-cam", "energy"]
Transformer = Literal["rollout", "gradient", "last"]

_NEAR = 1e-3  # how far, beside the logits' size, the mean of a map may lie from its logit


def convolution_maps(
    model: nn.Module,
    inputs: Float[Tensor, "b ..."],
    kind: Convolution = "cam",
    *,
    layer: str | None = None,
    head: str | None = None,
    classes: Int[Tensor, " b"] | None = None,
    power: float = 2.0,
) -> Float[Tensor, "b h w"]:
    """Maps of a convolutional net in eval mode, at the size of its features.

    Args:
        kind: "cam" the activation for a class, "cam-sum" its sum over all classes, "grad-cam", or "energy".
        layer: whose output the features are; the last one that gives maps of more than one place if not given.
        head: the linear layer on their mean, for "cam" and "cam-sum"; the last linear layer if not given.
        classes: (B,) the class to explain, for "cam" and "grad-cam"; the predicted one if not given.
        power: of "energy".

    Raises:
        InputError: an unknown kind or layer, no such layer, a class out of range; for "cam" and "cam-sum" a net whose
            logits are not the head on the features' mean: its maps would explain nothing.
    """
    if kind not in get_args(Convolution):
        raise unknown("kind of map", kind, get_args(Convolution))
    name = last_maps(model, inputs[:1]) if layer is None else resolve(model, layer, inputs[:1])
    slope = kind == "grad-cam"
    shown = inputs.detach().requires_grad_() if slope else inputs
    with frozen(model), torch.set_grad_enabled(slope), Tapped(model, {"maps": name}) as look:
        logits, features = look(shown)
        found = features["maps"]
        if found.dim() != 4:
            raise InputError(f"the layer {name!r} gives no maps (B, D, h, w), but {tuple(found.shape)}")
        if kind == "energy":
            return activation_energy(found, power)
        if classes is None:
            classes = logits.argmax(1)
        check_classes(classes, *logits.shape)
        if kind == "grad-cam":
            return grad_cam(logits, found, classes)
        linear = _linear(model, head)
        _check_pooled(found, linear, logits, name)
        if kind == "cam":
            return class_activation(found, linear.weight, classes, linear.bias)
        return summed_class_activation(found, linear.weight, linear.bias)


def transformer_maps(
    model: nn.Module,
    inputs: Float[Tensor, "b ..."],
    kind: Transformer = "rollout",
    *,
    prefix: int,
    grid: tuple[int, int] | None = None,
    readout: Literal["first", "mean"] | None = None,
    classes: Int[Tensor, " b"] | None = None,
) -> Float[Tensor, "b h w"]:
    """Maps of a vision transformer in eval mode, one value a patch, 0 or more.

    Args:
        kind: "rollout" of all blocks, "gradient"-weighted attention for a class, or the "last" block's attention.
        prefix: tokens in front that are no patches: 1 for a class token, 0 for this library's `vit`.
        grid, readout: of `on_grid`.
        classes: (B,) the class to explain, for "gradient"; the predicted one if not given.

    Raises:
        InputError: an unknown kind, a model without attention that can be read, tokens that do not fill the grid.
    """
    if kind not in get_args(Transformer):
        raise unknown("kind of map", kind, get_args(Transformer))
    with frozen(model):
        if kind == "gradient":
            _, weights, slopes = attention_slopes(model, inputs, classes)
            relevance = gradient_attention(weights, slopes)
        else:
            with torch.no_grad():
                _, weights = attention_weights(model, inputs)
            relevance = attention_rollout(weights) if kind == "rollout" else last_attention(weights)
    return on_grid(relevance, prefix, grid, readout)


def last_maps(model: nn.Module, probe: Float[Tensor, "b ..."]) -> str:
    """The layer, named as `named_modules` does, that is the last to give maps (B, D, h, w) of more than one place.

    Raises:
        InputError: none does.
    """
    shapes = shapes_of(model, probe)
    fitting = [name for name, shape in shapes.items() if len(shape) == 4 and shape[2] * shape[3] > 1]
    if not fitting:
        raise InputError(
            f"no layer of {type(model).__name__} gives maps (B, D, h, w) of more than one place; transformers have "
            "maps of their attention"
        )
    return fitting[-1]


def _linear(model: nn.Module, head: str | None) -> nn.Linear:
    if head is None:
        layers = [part for part in model.modules() if isinstance(part, nn.Linear)]
        if not layers:
            raise InputError(
                f"a class activation map needs a linear head, and {type(model).__name__} has none"
            )
        return layers[-1]
    name = resolve(model, head)
    found = model.get_submodule(name)
    if not isinstance(found, nn.Linear):
        raise InputError(f"the head {name!r} must be an nn.Linear, found {type(found).__name__}")
    return found


def _check_pooled(features: Tensor, head: nn.Linear, logits: Tensor, layer: str) -> None:
    """Whether the logits are the head on the features' mean, as far as the precision allows to tell."""
    why = f"the logits are no linear layer on the mean of {layer!r} over its places"
    if head.in_features != features.shape[1] or head.out_features != logits.shape[1]:
        raise InputError(
            f"class activation maps do not explain this net: {why} (head {tuple(head.weight.shape)}, features "
            f"{tuple(features.shape)}); use grad-cam"
        )
    off = (head(features.mean((2, 3))) - logits).abs().max().item()
    room = max(_NEAR, 8 * torch.finfo(logits.dtype).eps) * max(1.0, logits.abs().max().item())
    if not off <= room:
        raise InputError(
            f"class activation maps do not explain this net: {why}, they differ by {off:.3g}; use grad-cam"
        )
