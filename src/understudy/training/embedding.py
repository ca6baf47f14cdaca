"""The feature "embedding": what enters a model's last linear layer, tapped where nobody names another place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.ensemble import MeanConfidence, Team
from understudy.models.taps import Tapped


def head_of(model: nn.Module) -> str:
    """The name of the last linear layer, in the order in which the model's parts were made.

    Raises:
        InputError: the model has none.
    """
    _refuse_a_team(model)
    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not linear or not linear[-1]:
        raise InputError(
            "cannot tell this model's embedding, which is what enters its last linear layer: it has no such "
            "layer inside. Name another layer in `taps`"
        )
    return linear[-1]


def _refuse_a_team(model: nn.Module) -> None:
    if any(isinstance(part, Team | MeanConfidence) for part in model.modules()):
        raise InputError("several teachers have several embeddings and maps: name one's layer in `taps`")


def map_of(model: nn.Module) -> str:
    """The name of the last convolution, in the order in which the model's parts were made.

    Raises:
        InputError: the model has none.
    """
    _refuse_a_team(model)
    found = [name for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and name]
    if not found:
        raise InputError(
            "this model has no convolution whose output could be its map: name a layer in `taps`"
        )
    return found[-1]


class TappedBeforeHead(Tapped):
    """Taps of which some, given as None, are the embedding: the input of the last linear layer, (B, ...).

    Raises:
        InputError: as `Tapped`; no linear layer; or one that does not give the model's classes.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, str | None]) -> None:
        super().__init__(
            model, {n: head_of(model) if layer is None else layer for n, layer in layers.items()}
        )
        self._before = frozenset(name for name, layer in layers.items() if layer is None)

    def _store(self, feature: str, layer: str) -> Any:
        if feature not in self._before:
            return super()._store(feature, layer)

        def hook(_module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
            self._seen[feature] = inputs[0]

        return hook

    def forward(self, *inputs: Any, **named: Any) -> tuple[Tensor, dict[str, Tensor]]:
        logits, seen = super().forward(*inputs, **named)
        for feature in self._before:
            head = self.model.get_submodule(self.layers[feature])
            assert isinstance(head, nn.Linear)
            if head.out_features != logits.shape[-1]:
                raise InputError(
                    f"the last linear layer, {self.layers[feature]!r}, gives {head.out_features} numbers and the "
                    f"model {logits.shape[-1]}: it is not the head. Name the layer of {feature!r} in `taps`"
                )
        return logits, seen
