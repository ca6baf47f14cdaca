"""Looking at a model without changing it: its logits, whatever it returns, and the guest's treatment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from understudy.errors import InputError


def logits_of(output: Any) -> Tensor:
    """The logits (B, C) in a classifier's output: a tensor, an object with `.logits`, or a tuple's first.

    The shape is checked here and not in the annotation, because this is called under `torch.compile`.

    Raises:
        InputError: there is no tensor to be found there, or it is not (batch, classes) of floats.
    """
    logits = _found(output)
    if logits.dim() != 2 or not logits.is_floating_point():
        raise InputError(
            f"a model's logits must be floats of shape (batch, classes), found {logits.dtype} of shape "
            f"{tuple(logits.shape)}"
        )
    return logits


def answer_of(output: Any) -> Tensor:
    """The logits in a model's output, as training reads them: (B, C), or of a language model (B, L, V).

    Raises InputError as `logits_of` does; audits and attacks read classifiers only, by that.
    """
    logits = _found(output)
    if logits.dim() not in (2, 3) or not logits.is_floating_point():
        raise InputError(
            f"a model's logits must be floats of shape (batch, classes), or (batch, positions, tokens) of a "
            f"language model, found {logits.dtype} of shape {tuple(logits.shape)}"
        )
    return logits


def _found(output: Any) -> Tensor:
    """The tensor of logits in whatever a model returned."""
    logits = getattr(output, "logits", output)
    if isinstance(logits, tuple | list) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor):
        raise InputError(
            f"a model must return logits (batch, classes), an object with .logits or a tuple that "
            f"starts with them; found {type(output).__name__}"
        )
    return logits


def heads_of(output: Any) -> dict[str, Tensor]:
    """What each head of a model says, by name, where its output has `.heads`; {} where it has not."""
    heads = getattr(output, "heads", None)
    return dict(heads) if isinstance(heads, Mapping) else {}


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Inside the block: eval mode, no parameter asks for a gradient. Afterwards every flag is as it was.

    Flags are kept for each module and each parameter, and restored after an exception too. Gradients
    through the module to its *inputs* still flow.
    """
    modes = [(part, part.training) for part in module.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        module.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        yield module
    finally:
        for part, training in modes:
            part.training = training  # not .train(): it would recurse into parts with flags of their own
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)


@contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[nn.Module]:
    """Inside the block every part is in train (or eval) mode; afterwards each flag is as it was."""
    changed = [part for part in module.modules() if part.training != training]
    try:
        for part in changed:
            part.training = training
        yield module
    finally:
        for part in changed:
            part.training = not training
