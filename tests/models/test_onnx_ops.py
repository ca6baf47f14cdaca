"""Every supported operator against onnxruntime, alone in a small classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from understudy.errors import InputError
from understudy.models.onnx import open_onnx
from understudy.models.onnx.ops import OPS

RNG = np.random.default_rng(0)
IMAGE = (2, 5, 6)  # channels, height, width


def tensor(name: str, *shape: int, positive: bool = False) -> onnx.TensorProto:
    values = np.asarray(RNG.normal(size=shape), np.float32)
    return numpy_helper.from_array(np.abs(values) + 0.5 if positive else values, name)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def scalar(name: str, value: float | int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, np.int64 if isinstance(value, int) else np.float32), name)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, [n.strip() for n in inputs.split(",")], outputs.split(","), **attributes)


def write(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto] = [],  # noqa: B006 (never changed)
    *,
    shape: tuple[Any, ...] = ("N", *IMAGE),
    opset: int = 18,
    head: bool = True,
) -> Path:
    """A model x -> nodes -> y; `head` multiplies the flattened y by a random matrix, so that any y makes a
    classifier whose logits tell every entry of y apart."""
    path = folder / "model.onnx"
    graph = helper.make_graph(
        [*nodes, node("Flatten", "y", "logits") if head else node("Identity", "y", "logits")],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, None])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if head:
        path.write_bytes(model.SerializeToString())
        width = reference(path, torch.rand(2, *IMAGE)).shape[1]
        model.graph.node[-1].output[0] = "flat"
        model.graph.node.append(node("MatMul", "flat, head", "logits"))
        model.graph.initializer.append(tensor("head", width, 3))
    path.write_bytes(model.SerializeToString())
    return path


def reference(path: Path, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


W, B = tensor("w", 4, 2, 3, 3), tensor("b", 4)
CASES: dict[str, tuple[list[onnx.NodeProto], list[onnx.TensorProto]]] = {
    "Conv": ([node("Conv", "x, w, b", kernel_shape=[3, 3])], [W, B]),
    "Conv strided, dilated, unevenly padded": (
        [node("Conv", "x, w", strides=[2, 1], dilations=[1, 2], pads=[1, 0, 2, 3])],
        [W],
    ),
    "Conv grouped": ([node("Conv", "x, w", group=2)], [tensor("w", 4, 1, 3, 3)]),
    "Conv SAME_UPPER": ([node("Conv", "x, w, b", auto_pad="SAME_UPPER", strides=[2, 2])], [W, B]),
    "Conv SAME_LOWER": (
        [node("Conv", "x, w", auto_pad="SAME_LOWER", strides=[2, 3])],
        [tensor("w", 4, 2, 2, 4)],
    ),
    "Conv VALID": ([node("Conv", "x, w, b", auto_pad="VALID")], [W, B]),
    "Conv 1d": (
        [node("Reshape", "x, s", "t"), node("Conv", "t, w1", pads=[2, 1])],
        [ints("s", -1, 2, 30), tensor("w1", 3, 2, 5)],
    ),
    "Gemm": (
        [node("Flatten", "x", "f"), node("Gemm", "f, g, c", alpha=0.5, beta=2.0)],
        [tensor("g", 60, 4), tensor("c", 1, 4)],
    ),
    "Gemm transposed, scalar bias": (
        [node("Flatten", "x", "f"), node("Gemm", "f, g, c", transB=1)],
        [tensor("g", 4, 60), tensor("c")],
    ),
    "Gemm without bias": ([node("Flatten", "x", "f"), node("Gemm", "f, g")], [tensor("g", 60, 4)]),
    "Gemm of two activations": (
        [node("Flatten", "x", "f"), node("Gemm", "f, f, c", "q", transA=1), node("Gemm", "f, q")],
        [tensor("c", 60)],
    ),
    "MatMul": ([node("MatMul", "x, m")], [tensor("m", 6, 3)]),
    "MatMul from the left": ([node("MatMul", "m, x")], [tensor("m", 3, 5)]),
    "MatMul of activations": ([node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x, t")], []),
    "BatchNormalization": (
        [node("BatchNormalization", "x, s, c, m, v", epsilon=1e-3)],
        [tensor("s", 2), tensor("c", 2), tensor("m", 2), tensor("v", 2, positive=True)],
    ),
    "LayerNormalization": (
        [node("LayerNormalization", "x, s, c", axis=-1)],
        [tensor("s", 6), tensor("c", 6)],
    ),
    "AveragePool": ([node("AveragePool", "x", kernel_shape=[2, 3], strides=[2, 1])], []),
    "AveragePool padded": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], []),
    "AveragePool padded, counted": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        [],
    ),
    "AveragePool unevenly padded": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[0, 1, 2, 1])], []),
    "AveragePool unevenly padded, counted": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[0, 1, 2, 1], count_include_pad=1)],
        [],
    ),
    "AveragePool SAME_UPPER": (
        [node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")],
        [],
    ),
    "MaxPool": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])], []),
    "MaxPool ceil": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], []),
    "MaxPool unevenly padded": ([node("MaxPool", "x", kernel_shape=[3, 3], pads=[0, 1, 2, 2])], []),
    "MaxPool dilated": ([node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])], []),
    "MaxPool SAME_LOWER": (
        [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_LOWER")],
        [],
    ),
    "GlobalAveragePool": ([node("GlobalAveragePool", "x")], []),
    "GlobalMaxPool": ([node("GlobalMaxPool", "x")], []),
    "ReduceMean": ([node("ReduceMean", "x, a", keepdims=0)], [ints("a", 2, 3)]),
    "ReduceMean kept": ([node("ReduceMean", "x, a")], [ints("a", -1)]),
    "ReduceSum": ([node("ReduceSum", "x, a")], [ints("a", 1)]),
    "Relu": ([node("Sub", "x, h", "t"), node("Relu", "t")], [scalar("h", 0.5)]),
    "LeakyRelu": ([node("Sub", "x, h", "t"), node("LeakyRelu", "t", alpha=0.2)], [scalar("h", 0.5)]),
    "LeakyRelu default": ([node("Sub", "x, h", "t"), node("LeakyRelu", "t")], [scalar("h", 0.5)]),
    "PRelu": ([node("Sub", "x, h", "t"), node("PRelu", "t, c")], [scalar("h", 0.5), tensor("c", 2, 1, 1)]),
    "PRelu everywhere": (
        [node("Sub", "x, h", "t"), node("PRelu", "t, c", "u"), node("PRelu", "u, s")],
        [scalar("h", 0.5), tensor("c", 2, 5, 6), tensor("s", 1)],
    ),
    "HardSigmoid": ([node("HardSigmoid", "x", alpha=2.0, beta=-0.3)], []),
    "Softplus": ([node("Softplus", "x")], []),
    "Abs": ([node("Sub", "x, h", "t"), node("Abs", "t")], [scalar("h", 0.5)]),
    "Max": ([node("Mul", "x, x", "t"), node("Max", "x, t, c")], [tensor("c", 6)]),
    "Min": ([node("Mul", "x, x", "t"), node("Min", "c, x, t")], [tensor("c", 6)]),
    "ReduceMax": ([node("ReduceMax", "x, a")], [ints("a", 3)]),
    "ReduceMin": ([node("ReduceMin", "x, a", keepdims=0)], [ints("a", 1, 3)]),
    "Elu": ([node("Sub", "x, h", "t"), node("Elu", "t", alpha=0.7)], [scalar("h", 0.5)]),
    "Sigmoid": ([node("Sigmoid", "x")], []),
    "Tanh": ([node("Tanh", "x")], []),
    "Erf": ([node("Erf", "x")], []),
    "Exp": ([node("Exp", "x")], []),
    "Sqrt": ([node("Sqrt", "x")], []),
    "Neg": ([node("Neg", "x")], []),
    "Pow": ([node("Pow", "x, p")], [scalar("p", 2.0)]),
    "Clip": ([node("Clip", "x, low, high")], [scalar("low", 0.2), scalar("high", 0.7)]),
    "Clip above": ([node("Clip", "x, , high")], [scalar("high", 0.4)]),
    "Softmax": ([node("Softmax", "x", "t", axis=1), node("Mul", "x, t")], []),
    "LogSoftmax": ([node("LogSoftmax", "x")], []),
    "Add": ([node("Add", "x, c")], [tensor("c", 2, 1, 1)]),
    "Add residual": ([node("Relu", "x", "t"), node("Add", "x, t")], []),
    "Sub": ([node("Sub", "c, x")], [tensor("c", 6)]),
    "Mul": ([node("Mul", "x, c")], [tensor("c", 5, 1)]),
    "Div": ([node("Div", "x, c")], [tensor("c", 2, 1, 1, positive=True)]),
    "Concat": ([node("Relu", "x", "t"), node("Concat", "x, t, x", axis=-1)], []),
    "Flatten": ([node("Flatten", "x", "t"), node("Mul", "t, c")], [tensor("c", 60)]),
    "Flatten axis 2": ([node("Flatten", "x", "t", axis=2), node("Reshape", "t, s")], [ints("s", -1, 60)]),
    "Reshape": (
        [node("Reshape", "x, s", "t"), node("Mul", "t, c")],
        [ints("s", 0, -1, 4), tensor("c", 15, 4)],
    ),
    "Reshape inferring the batch": ([node("Reshape", "x, s")], [ints("s", -1, 10, 6)]),
    "Squeeze": ([node("GlobalAveragePool", "x", "t"), node("Squeeze", "t, a")], [ints("a", 2, 3)]),
    "Unsqueeze": (
        [node("Unsqueeze", "x, a", "t"), node("Mul", "t, c")],
        [ints("a", 1, -1), tensor("c", 3, 1, 1, 1, 2)],
    ),
    "Transpose": (
        [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Mul", "t, c")],
        [tensor("c", 5, 6, 2)],
    ),
    "Pad": ([node("Pad", "x, p, v")], [ints("p", 0, 0, 1, 2, 0, 1, 0, 3), scalar("v", 1.5)]),
    "Pad reflect": ([node("Pad", "x, p", mode="reflect")], [ints("p", 0, 0, 1, 2, 0, 0, 3, 1)]),
    "Pad edge": ([node("Pad", "x, p", mode="edge")], [ints("p", 0, 0, 1, 0, 0, 0, 2, 1)]),
    "Pad negative": ([node("Pad", "x, p")], [ints("p", 0, 0, -1, 0, 0, 0, 0, -2)]),
    "Constant": ([node("Constant", "", "c", value=tensor("c", 6)), node("Add", "x, c")], []),
    "Constant numbers": (
        [
            node("Constant", "", "c", value_float=0.5),
            node("Constant", "", "s", value_ints=[-1, 60]),
            node("Add", "x, c", "t"),
            node("Reshape", "t, s"),
        ],
        [],
    ),
    "Identity, Dropout": ([node("Identity", "x", "t"), node("Dropout", "t")], []),
    "Cast": ([node("Cast", "x", to=TensorProto.FLOAT)], []),
    "CastLike": ([node("CastLike", "i, x", "c"), node("Mul", "x, c")], [ints("i", *range(6))]),
    "CastLike of floats": ([node("CastLike", "x, c", "t"), node("Add", "x, t")], [tensor("c", 1)]),
    "Slice": (
        [node("Slice", "x, a, e, d, s")],
        [ints("a", 1, -5), ints("e", 2**63 - 1, 5), ints("d", 3, 2), ints("s", 2, 1)],
    ),
    "Split": (
        [node("Split", "x, s", "p,q", axis=2), node("ReduceSum", "q, a", "r"), node("Mul", "p, r")],
        [ints("s", 2, 3), ints("a", 2)],
    ),
    "Gather": ([node("Gather", "x, i", axis=1)], [scalar("i", 1)]),
    "Gather many": ([node("Gather", "x, i", axis=-1)], [ints("i", 4, 0, -1)]),
    "Tile": ([node("Tile", "x, r")], [ints("r", 1, 1, 2, 1)]),
    "Expand": ([node("GlobalMaxPool", "x", "t"), node("Expand", "t, s")], [ints("s", 1, 2, 3, 4)]),
    "Where": (
        [node("Where", "c, x, z")],
        [numpy_helper.from_array(RNG.random(6) > 0.5, "c"), scalar("z", 0.0)],
    ),
    "Shape arithmetic of exporters": (
        [
            node("Shape", "x", "s"),
            node("Gather", "s, i", "n"),
            node("Unsqueeze", "n, o", "m"),
            node("Shape", "x", "r", start=1),
            node("Slice", "r, o, two, o", "r2"),
            node("Div", "sixty, two", "h"),
            node("Mul", "h, two", "k"),
            node("Cast", "k", "k2", to=TensorProto.INT64),
            node("Concat", "m, k2", "t", axis=0),
            node("Reshape", "x, t"),
        ],
        [scalar("i", 0), ints("o", 0), ints("two", 2), ints("sixty", 60)],
    ),
    "class token": (
        [
            node("Shape", "x", "s", start=0, end=1),
            node("Concat", "s, d", "t", axis=0),
            node("Expand", "k, t", "e"),
            node("Flatten", "x", "f"),
            node("Unsqueeze", "f, o", "u"),
            node("Concat", "e, u", axis=1),
        ],
        [ints("d", 1, 60), tensor("k", 1, 1, 60), ints("o", 1)],
    ),
    "computed shapes": (
        [
            node("Shape", "x", "s"),
            node("ConstantOfShape", "four", "n", value=ints("v", -1)),
            node("Equal", "s, n", "q"),
            node("Where", "q, n, s", "t"),
            node("Expand", "x, t", "e"),
            node("Range", "zero, six, step", "r"),
            node("Cast", "r", "f", to=TensorProto.FLOAT),
            node("Mul", "e, f"),
        ],
        [ints("four", 4), scalar("zero", 0), scalar("six", 6), scalar("step", 1)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operator_agrees_with_onnxruntime_at_any_batch_size(case: str, tmp_path: Path) -> None:
    nodes, constants = CASES[case]
    for entry in nodes:
        if list(entry.input) == [""]:
            del entry.input[:]
    path = write(tmp_path, nodes, constants)
    module = open_onnx(path, IMAGE, 3).module
    for batch in (1, 4):
        x = torch.rand(batch, *IMAGE)
        torch.testing.assert_close(module(x), reference(path, x), rtol=1e-5, atol=1e-5)


def test_gelu_agrees_with_onnxruntime(tmp_path: Path) -> None:
    for kind in ("none", "tanh"):
        path = write(tmp_path, [node("Gelu", "x", approximate=kind)], opset=20)
        x = torch.rand(4, *IMAGE)
        torch.testing.assert_close(open_onnx(path, IMAGE).module(x), reference(path, x), rtol=1e-5, atol=1e-5)


def test_every_operator_of_the_table_has_a_case() -> None:
    used = {entry.op_type for nodes, _ in CASES.values() for entry in nodes} | {"Gelu"}
    assert set(OPS) <= used, f"no case for {sorted(set(OPS) - used)}"


OLD = {
    "axes as attributes": [
        node("Unsqueeze", "x", "t", axes=[1]),
        node("Squeeze", "t", "u", axes=[1]),
        node("ReduceMean", "u", axes=[2, 3]),
    ],
    "Slice, Pad and Clip by attributes": [
        node("Slice", "x", "t", starts=[1], ends=[4], axes=[3]),
        node("Pad", "t", "u", pads=[0, 0, 1, 0, 0, 0, 0, 2], value=0.5),
        node("Clip", "u", min=0.1, max=0.6),
    ],
    "Softmax over all later axes": [node("Softmax", "x", "t"), node("Mul", "x, t")],
    "Split by attribute": [node("Split", "x", "p,q", axis=3, split=[3, 3]), node("Mul", "p, q")],
}


@pytest.mark.parametrize("case", OLD)
def test_older_operator_sets(case: str, tmp_path: Path) -> None:
    path = write(tmp_path, OLD[case], opset=9)
    x = torch.rand(3, *IMAGE)
    torch.testing.assert_close(open_onnx(path, IMAGE).module(x), reference(path, x), rtol=1e-5, atol=1e-5)


def test_unsupported_operator_is_named_with_its_node(tmp_path: Path) -> None:
    path = write(tmp_path, [helper.make_node("Cos", ["x"], ["y"], name="odd_one")])
    with pytest.raises(InputError, match=r"operator Cos \(node 'odd_one'\); supported: Abs, Add, .*Conv"):
        open_onnx(path, IMAGE)


def test_sizes_that_depend_on_pixels_are_refused(tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "f"), node("Cast", "f", "i", to=TensorProto.INT64)]
    nodes += [node("ReduceSum", "i, a", "s", keepdims=0), node("Unsqueeze", "s, o", "k")]
    path = write(
        tmp_path, [*nodes, node("Gather", "f, k", axis=1)], [ints("a", 0, 1), ints("o", 0)], head=False
    )
    with pytest.raises(InputError, match="'k' must be a constant, but it depends on the pixels"):
        open_onnx(path, IMAGE, low=0.0, high=0.001)


def test_output_that_ignores_the_input_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [node("Relu", "x", "z"), node("Identity", "c")], [tensor("c", 3, 3)], head=False)
    with pytest.raises(InputError, match="does not depend on the input"):
        open_onnx(path, IMAGE)
