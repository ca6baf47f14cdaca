"""Reading an ONNX file into plain Python: nodes, constants and the one input and output."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from understudy.errors import InputError

OLDEST_OPSET = 7  # before it, Add and its kin broadcast by other rules


@dataclass(frozen=True, eq=False)
class Node:
    """One operator of the file. `inputs` holds "" where an optional input is left out."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = OLDEST_OPSET

    def get(self, attribute: str, default: Any = None) -> Any:
        """The attribute's value, or the default where the file leaves it out."""
        return self.attributes.get(attribute, default)


@dataclass(frozen=True, eq=False)
class Graph:
    """An ONNX file as read.

    Attributes:
        source: the path, for messages.
        nodes: in an order in which they can be run.
        constants: initialisers by name; every float is float32.
        input, output: names of the only input and the only output.
        input_shape: declared shape with the batch axis; None where the file leaves a size open.
        proto: the file's bytes with external data pulled in: what onnxruntime is given.
        sha256: over the file's bytes, followed by those of its external data files, if any, in name order.
    """

    source: str
    nodes: tuple[Node, ...]
    constants: dict[str, Tensor]
    input: str
    output: str
    input_shape: tuple[int | None, ...]
    proto: bytes = field(repr=False)
    sha256: str


def import_onnx() -> ModuleType:
    """The onnx package, or an InputError that says what to install."""
    try:
        import onnx
        import onnx.external_data_helper
        import onnx.inliner
        import onnx.numpy_helper
    except ImportError as missing:
        raise InputError(
            f"ONNX files need the onnx package ({missing}): pip install 'understudy[onnx]'"
        ) from missing
    return onnx


def read_graph(path: Path) -> Graph:
    """Parse and check an ONNX file.

    Raises:
        InputError: the file is missing, malformed or truncated; its operator set is older than 7; it keeps
            data outside its own folder; it has several inputs or outputs, or an input that is not floats.
    """
    onnx = import_onnx()
    if not path.is_file():
        raise InputError(f"there is no ONNX file at {path}")
    raw = path.read_bytes()
    model = _parse(onnx, raw, path)
    digest = hashlib.sha256(raw)
    for name in _external_files(onnx, model, path):
        digest.update((path.parent / name).read_bytes())
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except Exception as broken:  # the checker and the loader raise many kinds
        raise InputError(f"{path} is not a valid ONNX model: {first_line(broken)}") from broken
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise InputError(f"{path} uses operator set {opset}; {OLDEST_OPSET} or later is understood")
    constants = {tensor.name: to_tensor(onnx, tensor, path) for tensor in model.graph.initializer}
    name, shape = _input(onnx, model, constants, path)
    outputs = [value.name for value in model.graph.output]
    if len(outputs) != 1:
        raise InputError(
            f"{path} has {len(outputs)} outputs ({', '.join(outputs)}); a classifier gives one: logits"
        )
    nodes = tuple(_node(onnx, entry, place, opset, path) for place, entry in enumerate(model.graph.node))
    return Graph(
        str(path), nodes, constants, name, outputs[0], shape, model.SerializeToString(), digest.hexdigest()
    )


def to_tensor(onnx: ModuleType, proto: Any, path: Path) -> Tensor:
    """A tensor of the file as a torch tensor; floats of any width become float32."""
    try:
        found = torch.from_numpy(onnx.numpy_helper.to_array(proto).copy())
    except (TypeError, ValueError) as broken:
        raise InputError(f"{path}: tensor {proto.name!r} cannot be read: {first_line(broken)}") from broken
    return found.float() if found.is_floating_point() else found


def _parse(onnx: ModuleType, raw: bytes, path: Path) -> Any:
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as broken:  # protobuf's DecodeError, whose package has no stable name
        raise InputError(f"{path} is not an ONNX file, or is truncated: {first_line(broken)}") from broken
    if not model.graph.node:
        raise InputError(f"{path} holds no operators: it is empty, truncated or not an ONNX file")
    return model


def _external_files(onnx: ModuleType, model: Any, path: Path) -> list[str]:
    """Names of external data files; only files that lie beside the model are allowed."""
    helper = onnx.external_data_helper
    names = set()
    for tensor in helper._get_all_tensors(model):
        if helper.uses_external_data(tensor):
            names.add(helper.ExternalDataInfo(tensor).location)
    for name in names:
        inside = Path(name).name == name and name not in ("", ".", "..")
        if not inside or (path.parent / name).resolve().parent != path.parent.resolve():
            raise InputError(
                f"{path} keeps weights in {name!r}; data must lie beside the model, in its folder"
            )
        if not (path.parent / name).is_file():
            raise InputError(f"{path} keeps weights in {name!r}, which does not lie beside it")
    return sorted(names)


def _input(
    onnx: ModuleType, model: Any, constants: dict[str, Tensor], path: Path
) -> tuple[str, tuple[int | None, ...]]:
    """Name and declared shape of the one input; older files list their initialisers as inputs too."""
    values = [value for value in model.graph.input if value.name not in constants]
    if len(values) != 1:
        names = ", ".join(value.name for value in values) or "none"
        raise InputError(f"{path} has {len(values)} inputs ({names}); a classifier of one tensor is needed")
    kind = values[0].type.tensor_type
    if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16):
        found = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise InputError(f"{path}: input {values[0].name!r} takes {found}; floats are needed")
    sizes = (entry.dim_value if entry.HasField("dim_value") else 0 for entry in kind.shape.dim)
    return values[0].name, tuple(size if size > 0 else None for size in sizes)


def _node(onnx: ModuleType, entry: Any, place: int, opset: int, path: Path) -> Node:
    attributes: dict[str, Any] = {}
    for attribute in entry.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = to_tensor(onnx, value, path)
        elif attribute.type == onnx.AttributeProto.STRING:
            value = value.decode()
        attributes[attribute.name] = value
    op = entry.op_type if entry.domain in ("", "ai.onnx") else f"{entry.domain}.{entry.op_type}"
    name = entry.name or f"{op}_{place}"
    return Node(op, name, tuple(entry.input), tuple(entry.output), attributes, opset)


def first_line(error: Exception) -> str:
    """An exception's message, cut to its first line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
