"""From an ONNX graph to a list of steps that works for any batch size.

The graph is run once or twice on a tiny batch. What does not depend on the pixels becomes a constant; sizes
that grow with the batch (found by comparing two batch sizes) become multiples of it; the rest are steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.models.onnx.lower import lower
from understudy.models.onnx.ops import OPS
from understudy.models.onnx.read import Graph, Node
from understudy.models.onnx.steps import Argument, PerBatch, Static, Step, Value, Weight

FIXED_OPERANDS = ("Sub", "Div", "Mul", "Pow")  # their constants rescale inputs: kept, but not trained


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation of the graph: every value, and the names of those that depend on the pixels."""

    batch: int
    values: dict[str, Tensor]
    pixels: set[str]


@torch.no_grad()
def evaluate(graph: Graph, x: Tensor) -> Run:
    """Run the graph on a batch in the file's own layout, keeping every value.

    Raises:
        InputError: an operator cannot be run on what it is given, or takes sizes that depend on the pixels.
    """
    run = Run(len(x), {**graph.constants, graph.input: x}, {graph.input})
    for node in graph.nodes:
        made = _execute(graph, node, run)
        run.values.update(zip(node.outputs, made, strict=False))
        if node.op != "Shape" and any(name in run.pixels for name in node.inputs):
            run.pixels.update(node.outputs)
    return run


def _execute(graph: Graph, node: Node, run: Run) -> tuple[Tensor, ...]:
    op, place_of = OPS[node.op], f"{graph.source}: node {node.name!r} ({node.op})"
    arguments: list[Any] = []
    for place, name in enumerate(node.inputs):
        if name and name not in run.values:
            raise InputError(f"{place_of} reads {name!r}, which no supported operator gives")
        if name and place in op.static and name in run.pixels:
            raise InputError(f"{place_of}: input {name!r} must be a constant, but it depends on the pixels")
        value = run.values[name] if name else None
        arguments.append(value.tolist() if value is not None and place in op.static else value)
    try:
        made = op.run(node, *arguments)
    except (RuntimeError, TypeError, IndexError, AttributeError) as broken:
        shapes = ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else str(a) for a in arguments)
        raise InputError(f"{place_of} cannot be run on ({shapes}): {str(broken).splitlines()[0]}") from broken
    return made if isinstance(made, tuple) else (made,)


def make_plan(graph: Graph, examples: Sequence[Tensor]) -> list[Step]:
    """The steps that lead from input to output, for any batch size.

    Args:
        graph: as read.
        examples: one batch, if the file fixes the batch size, else two of different size; in its layout.

    Raises:
        InputError: as `evaluate`; also an output that ignores the input, or a size that neither is the same
            for both batches nor grows in proportion.
    """
    runs = [evaluate(graph, x) for x in examples]
    trained = _derived(graph)
    needed, steps = {graph.output}, []
    if _fixed(graph.output, runs):
        raise InputError(f"{graph.source}: output {graph.output!r} does not depend on the input")
    for node in reversed(graph.nodes):
        if all(_fixed(name, runs) for name in node.outputs if name in needed):
            continue  # a constant, or nobody reads it
        arguments = [_argument(graph, node, place, runs, trained) for place in range(len(node.inputs))]
        needed.update(argument.name for argument in arguments if isinstance(argument, Value))
        step = Step(node.name, node, OPS[node.op].run, tuple(arguments), node.outputs)
        steps.append(lower(step, _keeps(node, runs)))
    return steps[::-1]


def _fixed(name: str, runs: list[Run]) -> bool:
    """Whether a value is the same whatever the pixels and the batch."""
    if name in runs[0].pixels:
        return False
    return all(torch.equal(run.values[name], runs[0].values[name]) for run in runs[1:])


def _argument(graph: Graph, node: Node, place: int, runs: list[Run], trained: set[str]) -> Argument:
    name = node.inputs[place]
    if not name:
        return Static(None)
    if place in OPS[node.op].static:
        if node.op == "Reshape":
            found: list[Any] = [list(run.values[node.outputs[0]].shape) for run in runs]
        else:
            found = [run.values[name].tolist() for run in runs]
        bound = _bind(found, [run.batch for run in runs], f"{graph.source}: node {node.name!r} ({node.op})")
        if node.op == "Reshape" and len(runs) == 1 and bound and bound[0] % runs[0].batch == 0:
            bound[0] = PerBatch(bound[0] // runs[0].batch)  # checked against onnxruntime afterwards
        return Static(bound)
    if _fixed(name, runs):
        statistic = node.op == "BatchNormalization" and place > 2
        learns = name in trained and node.op not in FIXED_OPERANDS and not statistic
        return Weight(name, runs[0].values[name], learns)
    return Value(name)


def _bind(found: list[Any], batches: list[int], where: str) -> Any:
    """One value for all batch sizes: the number itself, or a multiple of the batch; lists entry by entry."""
    first, last = found[0], found[-1]
    if isinstance(first, list):
        if len(first) != len(last):
            raise InputError(f"{where}: the number of axes depends on the batch size: {first}, {last}")
        return [_bind([a, b], batches, where) for a, b in zip(first, last, strict=True)]
    if first == last:
        return first
    if first % batches[0] == 0 and first * batches[-1] == last * batches[0]:
        return PerBatch(first // batches[0])
    raise InputError(
        f"{where}: {first} at batch {batches[0]} but {last} at {batches[-1]}: not a multiple of the batch"
    )


def _keeps(node: Node, runs: list[Run]) -> bool:
    """Whether input and output of a node both have the batch as their first axis."""

    def leads(name: str) -> bool:
        return all(run.values[name].dim() > 1 and len(run.values[name]) == run.batch for run in runs)

    return bool(node.inputs) and bool(node.inputs[0]) and leads(node.inputs[0]) and leads(node.outputs[0])


def _derived(graph: Graph) -> set[str]:
    """Names of float values computed from initialisers alone: the weights, perhaps transposed or cast."""
    names = {name for name, value in graph.constants.items() if value.is_floating_point()}
    moves = ("Transpose", "Reshape", "Identity", "Cast", "Unsqueeze", "Squeeze")
    for node in graph.nodes:
        if node.op in moves and node.inputs[0] in names:
            names.update(node.outputs)
    return names
