"""The torch modules that an opened ONNX file becomes."""

from __future__ import annotations

import re
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.models.onnx.layout import Layout
from understudy.models.onnx.steps import Static, Step, Value, Weight

NAMES = {
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "Conv": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "LayerNormalization": ("", "weight", "bias"),
    "MatMul": ("", "weight"),
}


class Operator(nn.Module):
    """One operator with its constants: called with the values it reads and the batch size."""

    def __init__(self, step: Step, shared: dict[str, Tensor]) -> None:
        super().__init__()
        self.node, self.run = step.node, step.run
        self.slots: list[
            str | Static | None
        ] = []  # None: the next value; a string: a constant of this module
        names = NAMES.get(step.node.op, ())
        for place, argument in enumerate(step.arguments):
            if isinstance(argument, Weight):
                name = names[place] if place < len(names) and names[place] else f"constant{place}"
                self._hold(name, argument, shared)
                self.slots.append(name)
            else:
                self.slots.append(argument if isinstance(argument, Static) else None)

    def _hold(self, name: str, weight: Weight, shared: dict[str, Tensor]) -> None:
        if weight.trained:
            if weight.key not in shared:
                shared[weight.key] = nn.Parameter(weight.tensor.detach().clone())
            self.register_parameter(name, shared[weight.key])  # type: ignore[arg-type]
        else:
            self.register_buffer(name, weight.tensor.detach().clone())

    def forward(self, *values: Tensor, batch: Any) -> Any:
        """The operator's result, a tuple if there are several. `batch` is the number of examples."""
        rest = iter(values)
        arguments = [
            next(rest)
            if slot is None
            else slot.at(batch)
            if isinstance(slot, Static)
            else getattr(self, slot)
            for slot in self.slots
        ]
        return self.run(self.node, *arguments)

    def extra_repr(self) -> str:
        """The operator's ONNX name."""
        return self.node.op


class OnnxModule(nn.Module):
    """An ONNX file as a module: (B, *data shape) in the data's valid range -> logits (B, C).

    Every operator is a child named after its node, so layers can be tapped. Weights are parameters,
    statistics and fixed factors are buffers, all float32 (`.double()` works). `torch.export` traces it.
    """

    def __init__(self, steps: list[Step], source: str, target: str, layout: Layout) -> None:
        super().__init__()
        self.source, self.target, self.layout = source, target, layout
        self.wiring: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = []
        shared: dict[str, Tensor] = {}
        last = {name: place for place, step in enumerate(steps) for name in _reads(step)}
        for place, step in enumerate(steps):
            name = self._free_name(step.name)
            self.add_module(name, Operator(step, shared))
            done = tuple(read for read in dict.fromkeys(_reads(step)) if last[read] == place)
            self.wiring.append((name, _reads(step), step.outputs, done))

    def forward(self, inputs: Float[Tensor, "b ..."]) -> Tensor:
        """Logits (B, C)."""
        batch = inputs.shape[0]
        values = {self.source: self.layout(inputs)}
        for name, reads, outputs, done in self.wiring:
            made = self.get_submodule(name)(*(values[read] for read in reads), batch=batch)
            for read in done:
                del values[read]  # an activation lives only as long as somebody reads it
            values.update(zip(outputs, made if isinstance(made, tuple) else (made,), strict=False))
        return values[self.target]

    def _free_name(self, wanted: str) -> str:
        name = re.sub(r"\W+", "_", wanted).strip("_") or "operator"
        while hasattr(self, name):
            name += "_"
        return name


class OneByOne(nn.Module):
    """Runs a model of fixed batch size example by example: each is repeated to fill the batch."""

    def __init__(self, body: nn.Module, batch: int) -> None:
        super().__init__()
        self.body, self.batch = body, batch

    def forward(self, inputs: Float[Tensor, "b ..."]) -> Tensor:
        """Logits (B, C)."""
        parts = [self.body(x.expand(self.batch, *inputs.shape[1:]))[:1] for x in inputs.split(1)]
        return torch.cat(parts)


def _reads(step: Step) -> tuple[str, ...]:
    return tuple(argument.name for argument in step.arguments if isinstance(argument, Value))
