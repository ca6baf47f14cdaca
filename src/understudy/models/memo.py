"""`Memo`: a model as a function that remembers, for one batch, what it said of a tensor without gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from understudy.models.look import answer_of, heads_of
from understudy.models.outputs import View


class Memo:
    """`memo(x)` gives logits (B, C); `memo.view(x)` the heads as well, where the model has several.

    An input that carries a gradient is answered with one (attacks climb through the model); any other is
    answered without, once, until `forget` is called. The weights must not change in between.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._said: dict[int, tuple[Tensor, View]] = {}

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.view(inputs).logits

    def view(self, inputs: Tensor) -> View:
        """The model's answer to `inputs` (B, ...)."""
        if inputs.requires_grad:
            return _view(self.module(inputs))
        known = self._said.get(id(inputs))
        if known is not None and known[0] is inputs:
            return known[1]
        with torch.no_grad():
            answer = _view(self.module(inputs))
        self._said[id(inputs)] = (inputs, answer)
        return answer

    def forget(self) -> None:
        """Drop what was remembered."""
        self._said.clear()


def _view(output: object) -> View:
    return View(answer_of(output), heads=heads_of(output))
