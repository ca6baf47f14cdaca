"""Which layers of a pair are held against each other, and how alike they are: a CKA of every two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.auditing.copied_record import LayersRecord
from understudy.errors import InputError
from understudy.fidelity.representation import FEWEST
from understudy.fidelity.representation_map import CKAMap, representation_map
from understudy.models.taps import operator_of, watch

LAYERS = 10  # of a model, at most
_FEW = 2  # layers that a look into wrappers may add to
PERMUTATIONS = 99  # random orders of the examples
_BATCH = 100  # examples at once, fewer of wide layers
_VALUES = 8_000_000  # of all layers of both models, of all examples at once
_BENDS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Softplus, nn.Tanh, nn.Sigmoid,
)  # fmt: skip
_WEIGHED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# the same as operators of an opened ONNX file
_ONNX_BENDS = (
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "HardSwish", "Softplus", "Mish", "Tanh", "Sigmoid",
)  # fmt: skip
_ONNX_LINEAR = ("Gemm", "MatMul")
_ONNX_WEIGHED = (*_ONNX_LINEAR, "Conv", "Add")


def compared_layers(model: nn.Module, probe: Float[Tensor, "b ..."], most: int = LAYERS) -> dict[str, int]:
    """The layers to compare, in the order they end: name -> values that each gives of one example.

    The blocks of the model (parts with parts, in a row of several), the activations outside blocks, and the last
    linear layer; with at most one of these the convolutions and linear layers, without any whatever ran. In an opened
    ONNX file the operators that do the same. Of more than `most`, evenly spread ones, the first and the last
    included. The model runs once on `probe` (B, ...), B >= 2, and is left as it was.

    Raises:
        InputError: no layer gives numbers of each example.
    """
    ran: dict[str, tuple[nn.Module, int]] = {}

    def note(name: str, part: nn.Module, tensor: Tensor | None) -> None:
        ran.pop(name, None)
        if (
            tensor is not None
            and tensor.is_floating_point()
            and tensor.dim() > 1
            and len(tensor) == len(probe)
        ):
            ran[name] = part, tensor[0].numel()

    watch(model, probe, note)
    blocks = {name for name in _in_rows(model) & ran.keys() if _is_block(ran[name][0])}
    linear = [name for name in ran if _is(ran[name][0], (nn.Linear,), _ONNX_LINEAR)]
    chosen: list[str] = []
    while True:
        outside = [name for name in ran if not any(name.startswith(f"{block}.") for block in blocks)]
        chosen = [name for name in outside if name in blocks or _is(ran[name][0], _BENDS, _ONNX_BENDS)]
        chosen += [name for name in linear[-1:] if name not in chosen]
        wrappers = {name for name in blocks if any(inner.startswith(f"{name}.") for inner in blocks)}
        if len(chosen) > _FEW or not wrappers:
            break
        blocks -= wrappers  # a whole network as one part of a row says nothing: look into it
    if len(chosen) <= 1:
        chosen = [name for name in ran if _is(ran[name][0], _WEIGHED, _ONNX_WEIGHED)] or list(ran)
    if not chosen:
        raise InputError(f"no layer of {type(model).__name__} gives numbers of each example")
    if len(chosen) > most:
        chosen = [chosen[round(i * (len(chosen) - 1) / (most - 1))] for i in range(most)]
    return {name: ran[name][1] for name in chosen}


def _is(part: nn.Module, kinds: tuple[type[nn.Module], ...], operators: tuple[str, ...]) -> bool:
    return isinstance(part, kinds) or operator_of(part) in operators


def _in_rows(model: nn.Module) -> set[str]:
    return {
        f"{row}.{key}" if row else key
        for row, part in model.named_modules()
        if isinstance(part, nn.Sequential | nn.ModuleList)
        for key in part._modules
    }


def _is_block(part: nn.Module) -> bool:
    return not isinstance(part, nn.Sequential | nn.ModuleList) and next(part.children(), None) is not None


def _kind(part: nn.Module) -> str:
    return operator_of(part) or type(part).__name__


def copied_layers(
    teachers: Sequence[tuple[str, nn.Module]], student: nn.Module, inputs: Float[Tensor, "b ..."]
) -> list[LayersRecord]:
    """A heat map of each teacher, by name, with the student, over inputs (B, ...) in a fixed random order.

    Raises:
        InputError: fewer than four inputs, a model without layers that can be read.
    """
    if len(inputs) < FEWEST:
        raise InputError(f"a CKA needs {FEWEST} examples or more, found {len(inputs)}")
    columns = compared_layers(student, inputs[:2])
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0)).to(inputs.device)
    out = []
    for name, teacher in teachers:
        rows = compared_layers(teacher, inputs[:2])
        held = sum(rows.values()) + sum(columns.values())
        batch = max(2 * FEWEST, min(_BATCH, _VALUES // held))
        found = representation_map(
            teacher, student, inputs[order].split(batch), list(rows), list(columns), permutations=PERMUTATIONS
        )
        kinds = [
            [_kind(model.get_submodule(layer)) for layer in layers]
            for model, layers in ((teacher, rows), (student, columns))
        ]
        out.append(_record(name, found, *kinds))
    return out


def _record(teacher: str, found: CKAMap, row_kinds: list[str], column_kinds: list[str]) -> LayersRecord:
    chance = found.chance[~found.chance.isnan()]
    return LayersRecord(
        teacher=teacher,
        rows=list(found.one),
        columns=list(found.other),
        row_kinds=row_kinds,
        column_kinds=column_kinds,
        values=_nullable(found.values),
        p_values=_nullable(found.p_values()),
        permutations=len(found.chance),
        chance=float(chance.max()) if len(chance) else 0.0,
        examples=found.examples,
    )


def _nullable(values: Float[Tensor, "a b"]) -> list[list[float | None]]:
    return [[None if value != value else value for value in row] for row in values.tolist()]
