"""Opening an ONNX file as a torch module: our own small interpreter, checked against onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.onnx.check import TOLERANCE, Reference, difference, random_inputs
from understudy.models.onnx.layout import Layout, layouts, show
from understudy.models.onnx.module import OneByOne, OnnxModule
from understudy.models.onnx.ops import check_supported
from understudy.models.onnx.plan import make_plan
from understudy.models.onnx.read import Graph, first_line, read_graph

__all__ = ["OnnxFile", "open_onnx"]

BATCHES = (2, 3)  # two sizes, so that what grows with the batch shows


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """An opened ONNX file: the module, its input's shape (no batch axis), its number of classes, its hash."""

    module: nn.Module
    shape: tuple[int, ...]
    classes: int
    sha256: str


def open_onnx(
    path: str | Path,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> OnnxFile:
    """Open an ONNX classifier as a module in eval mode: inputs (B, *shape) -> logits (B, C), any B.

    The file may want its inputs flat, channels first or channels last, and may fix its batch size; the data
    are laid out to match (flattened with channels first). The module is compared with onnxruntime on random
    inputs and must agree within 1e-4 of the largest logit in absolute value (of 1, if that is smaller).

    Args:
        path: the file. Weights kept outside it must lie in its folder.
        shape: shape of one input of the data; None takes the file's own.
        classes: number of classes the data have; None accepts any.
        low, high: the data's valid range, from which the random inputs are drawn; infinities mean unbounded.

    Raises:
        InputError: the file cannot be read, uses an unsupported operator, ends in a softmax, does not fit
            `shape` or `classes`, is ambiguous in its layout, or disagrees with onnxruntime.
    """
    graph = read_graph(Path(path))
    check_supported(graph.nodes, graph.source)
    _refuse_probabilities(graph)
    reference = Reference(graph.proto, graph.source)
    found = layouts(graph.input_shape, shape, graph.source)
    own = shape if shape is not None else tuple(size or 0 for size in graph.input_shape[1:])
    inputs = random_inputs(max(BATCHES), own, low, high)
    declared = graph.input_shape[0] if graph.input_shape else None
    layout, batch, expected = _fitting(graph, reference, found, inputs, declared)
    if expected.dim() != 2 or classes not in (None, expected.shape[1]):
        wanted = "C" if classes is None else classes
        given = show(("N", *expected.shape[1:]))
        raise InputError(f"{graph.source} gives {given}; logits (N, {wanted}) are needed")
    module = _build(graph, layout, batch, inputs, expected)
    return OnnxFile(module.eval(), own, expected.shape[1], graph.sha256)


def _fitting(
    graph: Graph, reference: Reference, found: list[Layout], inputs: Tensor, declared: int | None
) -> tuple[Layout, int | None, Tensor]:
    """The layout and fixed batch size (None: any) that onnxruntime accepts, and its answers."""
    refused: InputError | None = None
    given = show(("N", *inputs.shape[1:]))
    for batch in (declared,) if declared else (None, 1):
        accepted: list[tuple[Layout, Tensor]] = []
        for layout in found:
            try:
                accepted.append((layout, _answers(reference, layout(inputs), batch)))
            except InputError as error:
                refused = refused or error
        if accepted:
            layout, expected = accepted[0]
            if any(difference(other, expected) > TOLERANCE for _, other in accepted[1:]):
                ways = ", ".join(kind.kind for kind, _ in accepted)
                raise InputError(
                    f"{graph.source} takes inputs {show(graph.input_shape)}; the data's {given} fits in "
                    f"several ways ({ways}): declare the file's input shape"
                )
            return layout, batch, expected
    raise InputError(
        f"{graph.source} takes inputs {show(graph.input_shape)}, the data's {given} do not fit: {refused}"
    )


def _answers(reference: Reference, inputs: Tensor, batch: int | None) -> Tensor:
    """onnxruntime's output for a batch in the file's layout; one by one if the batch size is fixed."""
    if batch is None:
        return reference(inputs)
    return torch.cat([reference(x.expand(batch, *x.shape[1:]))[:1] for x in inputs.split(1)])


def _build(graph: Graph, layout: Layout, batch: int | None, inputs: Tensor, expected: Tensor) -> nn.Module:
    """The module, checked. A fixed batch is first rewritten to any batch; where that changes the answers (the
    file mixes its batch axis with others) the examples are run one by one."""
    sizes = BATCHES if batch is None else (batch,)
    examples = [layout(inputs[:1].expand(size, *inputs.shape[1:])) for size in sizes]
    steps = make_plan(graph, examples)
    direct = OnnxModule(steps, graph.input, graph.output, layout).eval()
    tries: list[nn.Module] = [direct] if batch is None else [direct, OneByOne(direct, batch)]
    found = ""
    for module in tries:
        try:
            with torch.no_grad():
                worst = difference(module(inputs), expected)
        except RuntimeError as error:
            found = f"cannot be run on {len(inputs)} examples: {first_line(error)}"
            continue
        if worst <= TOLERANCE:
            return module
        found = f"differs from onnxruntime's by {worst:.3g} of the largest logit (allowed: {TOLERANCE:g})"
    raise InputError(f"{graph.source}: our reading of it {found}; please report the file")


def _refuse_probabilities(graph: Graph) -> None:
    """A last Softmax gives probabilities, from which logits cannot be told exactly."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    node = makers.get(graph.output)
    while node is not None and node.op in ("Identity", "Flatten", "Reshape", "Squeeze", "Cast", "Dropout"):
        node = makers.get(node.inputs[0])
    if node is not None and node.op == "Softmax":
        raise InputError(
            f"{graph.source} ends in a Softmax (node {node.name!r}); give logits: export the model without "
            "its last softmax"
        )
