"""Writing a model as an ONNX file of its own, checked with onnxruntime before it is put in place."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, no_type_check

import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.look import logits_of
from understudy.models.onnx.check import TOLERANCE, Reference, difference, random_inputs
from understudy.models.onnx.read import first_line, import_onnx
from understudy.models.saved import write_atomically


class _Alone(nn.Module):
    """What is exported: inputs -> logits, under names of our own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @no_type_check
    def forward(self, inputs: Tensor) -> Tensor:
        return logits_of(self.model(inputs))


def export_onnx(
    module: nn.Module,
    path: str | Path,
    shape: tuple[int, ...],
    *,
    low: float = 0.0,
    high: float = 1.0,
    overwrite: bool = False,
) -> float:
    """Write `module` alone as ONNX, in float32, for any batch size.

    Its input is "inputs" (batch, *shape) in the data's valid range (what normalisation the module has stays
    inside), its output "logits" (batch, C). The file is compared with the module on random inputs, at a batch
    size it was not traced with, and appears whole or not at all. The module itself is left as it was.

    Args:
        module: to be exported, in eval mode whatever its flag says.
        path: the file to write.
        shape: shape of one input, without the batch axis.
        low, high: the valid range, from which the random inputs are drawn; infinities mean unbounded.
        overwrite: replace a file that is there already.

    Returns:
        The largest difference found, as a share of the largest logit in absolute value (or of 1).

    Raises:
        InputError: the file exists; its folder does not, or cannot be written; the module cannot be exported,
            or fixes the batch size; or onnxruntime's answers differ by more than 1e-4.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"cannot write {path}: it must be a file in a folder that exists")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already: choose another name, or ask for it to be overwritten")
    alone = _Alone(copy.deepcopy(module)).float().cpu().eval()
    inputs = random_inputs(3, shape, low, high)
    expected = _answers(alone, inputs, type(module).__name__)
    proto = to_onnx(alone, inputs[:2], type(module).__name__)
    try:
        found = Reference(proto, "the exported model")(inputs)
    except InputError as error:
        raise InputError(
            f"{type(module).__name__} exports to a file that fixes its batch size: {error}"
        ) from error
    worst = difference(found, expected)
    if worst > TOLERANCE:
        raise InputError(
            f"the exported model differs from the module by {worst:.3g} of the largest logit "
            f"(allowed: {TOLERANCE:g}): nothing was written to {path}"
        )
    write_atomically(path, proto)
    return worst


def _answers(module: nn.Module, inputs: Tensor, name: str) -> Tensor:
    try:
        with torch.no_grad():
            return module(inputs)
    except RuntimeError as error:
        shape = tuple(inputs.shape)
        raise InputError(f"{name} cannot be run on inputs of shape {shape}: {first_line(error)}") from error


def to_onnx(
    module: nn.Module, example: Tensor, name: str, *, output: str = "logits", any_batch: bool = True
) -> bytes:
    """An ONNX file's bytes, by torch's exporter (its newest operator set), silenced.

    What the exporter records of this machine's paths is removed. `name` is for messages; with `any_batch` False
    the file takes batches of the example's size only, and its operators are simpler.

    Raises:
        InputError: onnx or onnxscript is missing, or the module cannot be exported.
    """
    onnx = import_onnx()
    try:
        import onnxscript  # noqa: F401 (torch's exporter needs it, and says so less clearly)
    except ImportError as missing:
        raise InputError(
            f"exporting needs onnxscript ({missing}): pip install 'understudy[onnx]'"
        ) from missing
    sizes = ({0: torch.export.Dim("batch")},) if any_batch else None
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                module, (example,), dynamo=True, verbose=False, external_data=False,
                input_names=["inputs"], output_names=[output], dynamic_shapes=sizes,
            )  # fmt: skip
        except Exception as error:  # the exporter wraps whatever the module raises
            raise InputError(f"{name} cannot be exported to ONNX: {first_line(error)}") from error
    model = program.model_proto
    _forget_origin(model)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _forget_origin(model: Any) -> None:
    """Drop stack traces, source paths and other notes of the exporter: the file holds the network alone."""
    model.doc_string = ""
    graph = model.graph
    graph.doc_string = ""
    parts = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = "" if hasattr(part, "doc_string") else None


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings or log lines of the exporter inside the block: all that matters is checked afterwards."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
