"""From any `nn.Module` to a graph: torch.export in eval mode, constants folded in the graph's precision."""

from __future__ import annotations

import copy
import operator
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind

from understudy.bounds.builder import BATCH, Act, Builder, Walled
from understudy.bounds.graph import Graph, Node
from understudy.bounds.ops import Shape
from understudy.bounds.translate import LINEAR, item
from understudy.bounds.translate_activations import NONLINEAR, POOLS
from understudy.errors import InputError
from understudy.models.ensemble import MeanConfidence, Team
from understudy.models.two_heads import TwoHeads

HANDLERS = LINEAR | NONLINEAR


def trace(
    module: nn.Module, shape: Shape, dtype: torch.dtype = torch.float64, device: torch.device | None = None
) -> Graph:
    """The graph of `module` in eval mode on inputs of `shape` (one example), weights copied to `dtype`.

    `device`: where the graph lives; None leaves it where the module's parameters are.

    The module itself is not touched. The graph is compared with the copy on random inputs before it is
    returned, so a function that depends on the data's values or on the batch does not pass.

    Raises:
        InputError: an operator that cannot be bounded (named, with its place and the list of those that can),
            an output that is not one tensor of logits (batch, classes), or a module that cannot be exported.
    """
    for part in module.modules():
        if isinstance(part, Team | MeanConfidence | TwoHeads):
            raise InputError(
                f"a mean of confidences ({type(part).__name__}) cannot be bounded yet: audit with certify none"
            )
    if device is None:
        first = next(iter(module.parameters()), None)
        device = first.device if first is not None else torch.device("cpu")
    host = torch.device("cpu")  # traced here, wherever it is to live
    twin = copy.deepcopy(module).to(host, dtype).eval().requires_grad_(False)
    program = _export(twin, torch.zeros(BATCH, *shape, dtype=dtype))
    builder = Builder(tuple(shape))
    logits = _translate(program, builder)
    if len(logits.shape) != 1:
        raise InputError(f"the module must return logits (batch, classes), found (batch, {logits.shape})")
    if logits.node != len(builder.nodes) - 1:
        logits = builder.scale(logits, torch.ones((), dtype=dtype), None)
    graph = Graph(tuple(_convert(node, dtype, host) for node in _needed(builder.nodes)), dtype, host)
    _compare(graph, twin)
    if device == host:
        return graph
    return Graph(tuple(_convert(node, dtype, device) for node in graph.nodes), dtype, device)


def _export(twin: nn.Module, example: Tensor) -> Any:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            twin(example)
    except Exception as error:  # whatever the caller's own code raises
        raise InputError(
            f"{type(twin).__name__} fails on inputs of shape {tuple(example.shape)} in {example.dtype}: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations, none about the user's module
        try:
            exported = torch.export.export(twin, (example,), strict=False)
            return exported.run_decompositions({})
        except Exception as error:  # any failure of a third party's module under export is the caller's input
            raise InputError(
                f"{type(twin).__name__} cannot be traced by torch.export on a batch of shape "
                f"{tuple(example.shape)}: {type(error).__name__}: {_first_line(error)}"
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _place(node: torch.fx.Node) -> str:
    """Where in the module an operation stands: the innermost submodule's path and class."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack:
        return "the module"
    path, kind = stack[-1]
    name = str(kind).rsplit(".", 1)[-1]
    return f"{path!r} ({name})" if path else f"the module itself ({name})"


def _bind(node: torch.fx.Node, values: dict[str, Any]) -> dict[str, Any]:
    """The call's arguments by name, defaults filled in, values in place of nodes."""

    def resolve(argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            return values[argument.name]
        if isinstance(argument, list | tuple):
            return [resolve(part) for part in argument]
        return argument

    schema = node.target._schema.arguments  # type: ignore[union-attr]
    bound = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    bound |= {argument.name: resolve(value) for argument, value in zip(schema, node.args, strict=False)}
    return bound | {name: resolve(value) for name, value in node.kwargs.items()}


def _depends(value: Any) -> bool:
    """Whether a value, or any part of it, depends on the input."""
    if isinstance(value, list | tuple):
        return any(_depends(part) for part in value)
    return isinstance(value, Act | Walled)


def _constants(program: Any) -> dict[str, Any]:
    """Placeholder name -> the value that the exported program holds for it; the input's is an `Act`."""
    values: dict[str, Any] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            continue
        held = program.state_dict if spec.target in program.state_dict else program.constants
        values[spec.arg.name] = held[spec.target]
    return values


def _translate(program: Any, builder: Builder) -> Act:
    values = _constants(program)
    for node in program.graph.nodes:
        builder.where, builder.operator = _place(node), str(node.target)
        if node.op == "placeholder":
            values.setdefault(node.name, Act(0, builder.shape))
        elif node.op == "call_function":
            values[node.name] = _apply(node, values, builder)
        elif node.op == "output":
            return _output(program, values)
        else:
            raise builder.refuse(f"{node.op} cannot be bounded")
    raise InputError("the exported module has no output")


def _apply(node: torch.fx.Node, values: dict[str, Any], builder: Builder) -> Any:
    if node.target is operator.getitem:
        source, index = cast(tuple[torch.fx.Node, int], node.args)
        container = values[source.name]
        return item(builder, container, index) if _depends(container) else container[index]
    if not isinstance(node.target, torch._ops.OpOverload):
        raise builder.refuse(_unsupported())
    bound = _bind(node, values)
    if not _depends(list(bound.values())):
        arguments = {a.name: bound[a.name] for a in node.target._schema.arguments if a.name in bound}
        positional = [arguments.pop(a.name) for a in node.target._schema.arguments if not a.kwarg_only]
        return node.target(*positional, **arguments)
    name = node.target._schema.name.removeprefix("aten::")
    handler = HANDLERS.get(name)
    if handler is None:
        raise builder.refuse(_unsupported())
    if name not in POOLS and any(isinstance(value, Walled) for value in bound.values()):
        raise builder.refuse("takes what was padded with minus infinity, which only max pooling can")
    shaped = node.meta.get("val")
    expected = tuple(shaped.shape) if isinstance(shaped, Tensor) else None
    first = shaped[0] if isinstance(shaped, tuple | list) and shaped else shaped
    result = handler(builder, bound | {"result": tuple(first.shape) if isinstance(first, Tensor) else None})
    if isinstance(result, Act) and expected is not None and (BATCH, *result.shape) != expected:
        raise builder.refuse(f"a batch of {BATCH} became {expected}, {(BATCH, *result.shape)} was expected")
    return result


def _unsupported() -> str:
    return f"not supported by the bounds; supported: {', '.join(sorted(HANDLERS))}"


def _output(program: Any, values: dict[str, Any]) -> Act:
    specs = program.graph_signature.output_specs
    returned = [spec for spec in specs if spec.kind == OutputKind.USER_OUTPUT]
    if len(returned) != 1 or len(specs) != 1:
        raise InputError(
            f"the module must return one tensor of logits and change no buffer in eval mode, found "
            f"{len(returned)} outputs and {len(specs) - len(returned)} changed buffers"
        )
    logits = values.get(returned[0].arg.name)
    if not isinstance(logits, Act):
        raise InputError("the module's output does not depend on its input")
    return logits


def _needed(nodes: list[Node]) -> list[Node]:
    """The nodes that the last one and the input need, renumbered: what a product replaced is left out."""
    used = {0, len(nodes) - 1}
    for position in range(len(nodes) - 1, 0, -1):
        if position in used:
            used.update(nodes[position].parents)
    place = {old: new for new, old in enumerate(sorted(used))}
    return [
        Node(nodes[old].op, tuple(place[i] for i in nodes[old].parents), nodes[old].shape, nodes[old].where)
        for old in place
    ]


def _convert(node: Node, dtype: torch.dtype, device: torch.device) -> Node:
    """The node with every tensor it holds in the graph's precision and place."""
    held = {name: value for name, value in vars(node.op).items() if isinstance(value, Tensor)}
    if not held:
        return node
    op = copy.copy(node.op)
    for name, value in held.items():
        object.__setattr__(op, name, value.detach().to(device, dtype))  # the copy is ours, and new
    return Node(op, node.parents, node.shape, node.where)


def _compare(graph: Graph, twin: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, *graph.shape, generator=generator, dtype=graph.dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, found = twin(x), graph(x)
    scale = expected.abs().max().clamp(min=1.0)
    difference = (expected - found).abs().max()
    if not bool(difference <= 1e3 * torch.finfo(graph.dtype).eps * scale):  # so NaN does not pass
        raise InputError(
            f"{type(twin).__name__} is not a fixed function of one example (data-dependent control flow, "
            f"randomness or batch-dependent): its trace differs from it by {float(difference):.3g}"
        )
