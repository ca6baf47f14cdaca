"""Taps: the outputs of inner layers, by the names that `named_modules` gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from understudy.errors import InputError
from understudy.models.look import answer_of, frozen

_SHOWN = 40  # how many layers an error lists


def resolve(model: nn.Module, pattern: str, probe: Tensor | None = None) -> str:
    """The one layer that a name, or a pattern with the wildcards * ? [..], stands for.

    A name that exists is taken as it is. `*` also matches dots, as in a shell's glob over one string.

    Args:
        probe: (B, ...) an input, to show every layer's output shape if the pattern is wrong.

    Raises:
        InputError: no layer fits, or several do; lists what exists and the nearest name.
    """
    found = resolve_all(model, pattern, probe)
    if len(found) > 1:
        fitting = _listing(found, shapes_of(model, probe))
        raise InputError(f"the layer {pattern!r} is ambiguous, {len(found)} fit: {fitting}")
    return found[0]


def resolve_all(model: nn.Module, pattern: str, probe: Tensor | None = None) -> list[str]:
    """All layers that a name or a pattern stands for, in the model's order; InputError if none does."""
    names = [name for name, _ in model.named_modules() if name]
    if pattern in names:
        return [pattern]
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        near = get_close_matches(pattern, names, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"unknown layer {pattern!r}: {hint}known: {_listing(names, shapes_of(model, probe)) or 'none'}"
        )
    return found


def shapes_of(model: nn.Module, probe: Tensor | None) -> dict[str, tuple[int, ...]]:
    """Output shape of every layer that runs on `probe` (B, ...) and gives a tensor; {} without a probe.

    The model runs once, in eval mode and without gradients, and is left as it was.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    if probe is None:
        return shapes

    def note(name: str, _part: nn.Module, tensor: Tensor | None) -> None:
        if tensor is not None:
            shapes[name] = tuple(tensor.shape)

    watch(model, probe, note)
    return shapes


def operator_of(part: nn.Module) -> str:
    """The ONNX name of an operator of an opened file, such as "Conv"; "" for any other part."""
    return str(getattr(getattr(part, "node", None), "op", ""))


def watch(model: nn.Module, probe: Tensor, note: Callable[[str, nn.Module, Tensor | None], None]) -> None:
    """One pass of `probe` (B, ...), in which every part that ends is noted: its name, itself, its first tensor.

    The model runs in eval mode and without gradients, and is left as it was.
    """

    def hook(name: str) -> Any:
        return lambda part, _inputs, output: note(name, part, first_tensor(output))

    handles = [part.register_forward_hook(hook(name)) for name, part in model.named_modules() if name]
    try:
        with frozen(model), torch.no_grad():
            model(probe)
    finally:
        for handle in handles:
            handle.remove()


class Tapped(nn.Module):
    """A model that also gives the outputs of named layers.

    Inside the block of `with Tapped(model, {"mid": "layer2.*.relu2"}) as look`, `look(x)` returns
    (logits (B, C), {"mid": tensor}); afterwards, also after an exception, no hook is left. What the hooks
    stored is returned by this module's own `forward`, so that it survives
    `torch.compile(look, fullgraph=True)`: compile inside the block. A layer that gives several tensors is
    tapped at its first; one that runs several times in a pass at its last.

    Args:
        model: any model whose output `answer_of` understands.
        layers: name of the feature -> layer, wildcards allowed if exactly one layer fits.
        probe: (B, ...) an input, to show shapes in errors.

    Raises:
        InputError: a layer does not exist, is ambiguous, did not run or gave no tensor; or a call outside
            the block.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, str], probe: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.layers = {feature: resolve(model, pattern, probe) for feature, pattern in layers.items()}
        self._handles: list[RemovableHandle] = []
        self._seen: dict[str, Tensor] = {}
        self._open = False
        self.training = model.training

    def __enter__(self) -> Tapped:
        if self._open:
            raise InputError("these taps are in use already: a Tapped can be entered once at a time")
        for feature, layer in self.layers.items():
            hook = self._store(feature, layer)
            self._handles.append(self.model.get_submodule(layer).register_forward_hook(hook))
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen = {}
        self._open = False

    def _store(self, feature: str, layer: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is None:
                raise InputError(f"the layer {layer!r} gives no tensor to tap, but {type(output).__name__}")
            self._seen[feature] = tensor

        return hook

    def forward(self, *inputs: Any, **named: Any) -> tuple[Tensor, dict[str, Tensor]]:
        if not self._open:
            raise InputError(
                "taps are there only inside the block: `with Tapped(model, layers) as look: look(x)`"
            )
        self._seen = {}
        logits = answer_of(self.model(*inputs, **named))
        seen, self._seen = self._seen, {}  # kept no longer than the pass: a feature holds its graph
        missed = [f"{feature!r} ({layer})" for feature, layer in self.layers.items() if feature not in seen]
        if missed:
            raise InputError(
                f"the model's forward did not run the layers tapped as {', '.join(missed)}; "
                f"a compiled model passes taps by: tap the model first, then compile the Tapped"
            )
        return logits, seen


def first_tensor(output: Any) -> Tensor | None:
    """A layer's output, or the first tensor in its tuple, list or mapping (such as a transformers output)."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return next((part for part in output if isinstance(part, Tensor)), None)
    return output if isinstance(output, Tensor) else None


def _listing(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> str:
    shown = [f"{name} {shapes[name]}" if name in shapes else name for name in names[:_SHOWN]]
    return ", ".join(shown) + (f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
