"""Opening ONNX files: input layouts, fixed batch sizes, and everything that is refused."""

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
from understudy.models.onnx import check, open_onnx, ops
from understudy.models.onnx.layout import Layout, layouts
from understudy.models.onnx.module import OneByOne

RNG = np.random.default_rng(1)


def tensor(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), name)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"{op}_{output}", **attributes)


def write(
    path: Path,
    shape: tuple[Any, ...],
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    *,
    kind: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("logits",),
    extra_inputs: tuple[str, ...] = (),
) -> Path:
    def value(name: str, sizes: tuple[Any, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, list(sizes))

    graph = helper.make_graph(
        nodes,
        "test",
        [value("x", shape), *(value(name, ("N", 2)) for name in extra_inputs)],
        [value(name, (None, None)) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def dense(path: Path, shape: tuple[Any, ...], width: int = 60, **options: Any) -> Path:
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "logits")]
    return write(path, shape, nodes, [tensor("w", width, 3), tensor("b", 3)], **options)


def conv(path: Path, shape: tuple[Any, ...], channels: int) -> Path:
    nodes = [node("Conv", "x w", "c"), node("GlobalMaxPool", "c", "p"), node("Flatten", "p", "logits")]
    return write(path, shape, nodes, [tensor("w", 3, channels, 2, 2)])


def reference(path: Path, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


IMAGES = torch.rand(4, 3, 4, 5, generator=torch.Generator().manual_seed(0))
LAYOUTS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "channels first": (("N", 3, 4, 5), lambda x: x),
    "channels last": (("N", 4, 5, 3), lambda x: x.permute(0, 2, 3, 1)),
    "flat": (("N", 60), lambda x: x.flatten(1)),
    "flat, width open": (("N", None), lambda x: x.flatten(1)),
    "column": (("N", 60, 1), lambda x: x.reshape(-1, 60, 1)),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_layouts_and_fixed_batches_give_the_files_own_answers(name: str, batch: Any, tmp_path: Path) -> None:
    shape, lay_out = LAYOUTS[name]
    path = dense(tmp_path / "m.onnx", (batch, *shape[1:]))
    opened = open_onnx(path, (3, 4, 5), 3)
    assert (opened.shape, opened.classes) == ((3, 4, 5), 3)
    laid = lay_out(IMAGES)
    size = 4 if batch == "N" else batch
    expected = torch.cat([reference(path, part) for part in laid.split(size)])
    torch.testing.assert_close(opened.module(IMAGES), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(opened.module(IMAGES[:1]), expected[:1], rtol=1e-5, atol=1e-5)


def test_open_sizes_are_settled_by_what_runs(tmp_path: Path) -> None:
    path = conv(tmp_path / "m.onnx", ("N", None, None, None), channels=3)
    module = open_onnx(path, (3, 4, 5)).module
    torch.testing.assert_close(module(IMAGES), reference(path, IMAGES))


def test_ambiguous_layout_shows_both_shapes(tmp_path: Path) -> None:
    path = dense(tmp_path / "m.onnx", ("N", None, None, None))
    with pytest.raises(InputError, match=r"\(\?, \?, \?, \?\).*\(N, 3, 4, 5\).*same, channels_last"):
        open_onnx(path, (3, 4, 5))


def test_file_without_data_needs_a_declared_shape(tmp_path: Path) -> None:
    assert open_onnx(dense(tmp_path / "m.onnx", ("N", 3, 4, 5))).shape == (3, 4, 5)
    with pytest.raises(InputError, match=r"declares input \(\?, \?\); give the shape"):
        open_onnx(dense(tmp_path / "m.onnx", ("N", None)))


@pytest.mark.parametrize(
    ("declared", "shape", "expected"),
    [
        ((None, 28, 28), (1, 28, 28), [Layout("reshape", (28, 28))]),
        ((1, 1, 784), (1, 28, 28), [Layout("reshape", (1, 784))]),
        ((None, 1, 28, 28), (784,), [Layout("reshape", (1, 28, 28))]),
        ((None, 1, None, 28), (784,), [Layout("reshape", (1, 28, 28))]),
        ((None, 8, 8, 1), (1, 8, 8), [Layout("channels_last")]),
        ((None, 784), (784,), [Layout("same")]),
        ((1, 4, 4, 4), (4, 4, 4), [Layout("same"), Layout("channels_last")]),
    ],
)
def test_layouts(declared: Any, shape: tuple[int, ...], expected: list[Layout]) -> None:
    assert layouts(declared, shape, "m") == expected


@pytest.mark.parametrize(
    "declared", [(None, 4, 3, 5), (None, 20, 3), (None, 61), (3, 4, 5), (60,), (None, 1, 28, 28)]
)
def test_impossible_layouts_show_both_shapes(declared: Any) -> None:
    with pytest.raises(InputError) as error:
        layouts(declared, (3, 4, 5), "m")
    sizes = ", ".join("?" if size is None else str(size) for size in declared)
    assert f"({sizes})" in str(error.value)
    assert "(N, 3, 4, 5)" in str(error.value)


def test_fixed_batch_written_into_reshapes(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x s", "r"), node("Transpose", "r", "t", perm=[0, 2, 1])]
    nodes += [node("Reshape", "t flat", "f"), node("Gemm", "f w", "logits")]
    constants = [ints("s", 1, 12, 5), ints("flat", 1, 60), tensor("w", 60, 3)]
    path = write(tmp_path / "m.onnx", (1, 3, 4, 5), nodes, constants)
    module = open_onnx(path, (3, 4, 5)).module
    assert not isinstance(module, OneByOne)
    expected = torch.cat([reference(path, x) for x in IMAGES.split(1)])
    torch.testing.assert_close(module(IMAGES), expected, rtol=1e-5, atol=1e-5)


def test_fixed_batch_that_is_dropped_runs_one_by_one(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x s", "v"), node("MatMul", "v w", "u"), node("Unsqueeze", "u axis", "logits")]
    constants = [ints("s", 60), tensor("w", 60, 3), ints("axis", 0)]
    path = write(tmp_path / "m.onnx", (1, 3, 4, 5), nodes, constants)
    module = open_onnx(path, (3, 4, 5)).module
    assert isinstance(module, OneByOne)
    expected = torch.cat([reference(path, x) for x in IMAGES.split(1)])
    torch.testing.assert_close(module(IMAGES), expected, rtol=1e-5, atol=1e-5)


def test_batch_declared_open_but_fixed_inside(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x s", "f"), node("Gemm", "f w", "logits")]
    path = write(tmp_path / "m.onnx", ("N", 3, 4, 5), nodes, [ints("s", 1, 60), tensor("w", 60, 3)])
    expected = torch.cat([reference(path, x) for x in IMAGES.split(1)])
    torch.testing.assert_close(open_onnx(path, (3, 4, 5)).module(IMAGES), expected, rtol=1e-5, atol=1e-5)


def test_module_can_be_trained_traced_and_run_in_double(tmp_path: Path) -> None:
    module = open_onnx(dense(tmp_path / "m.onnx", ("N", 60)), (3, 4, 5)).module
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {
        "Gemm_logits.weight": (3, 60), "Gemm_logits.bias": (3,)
    }  # fmt: skip
    assert not any(part.training for part in module.modules())
    traced = torch.export.export(module, (IMAGES,), strict=False).module()
    torch.testing.assert_close(traced(IMAGES), module(IMAGES))
    assert torch.autograd.gradcheck(module.double(), IMAGES[:1].double().requires_grad_())


def test_half_and_double_files_become_float32(tmp_path: Path) -> None:
    for kind, dtype in ((TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT16, np.float16)):
        weight = numpy_helper.from_array(RNG.normal(size=(60, 3)).astype(dtype), "w")
        nodes = [node("Flatten", "x", "f"), node("MatMul", "f w", "logits")]
        path = write(tmp_path / "m.onnx", ("N", 3, 4, 5), nodes, [weight], kind=kind)
        if kind == TensorProto.DOUBLE:
            assert open_onnx(path, (3, 4, 5)).module(IMAGES).dtype == torch.float32


def test_softmax_at_the_end_is_refused(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "z"), node("Softmax", "z", "p"), node("Identity", "p", "logits")]
    path = write(tmp_path / "m.onnx", ("N", 60), nodes, [tensor("w", 60, 3)])
    with pytest.raises(InputError, match=r"ends in a Softmax \(node 'Softmax_p'\); give logits"):
        open_onnx(path, (3, 4, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": TensorProto.INT32}, "takes int32; floats are needed"),
        ({"extra_inputs": ("y",)}, r"has 2 inputs \(x, y\)"),
        ({"outputs": ("logits", "f")}, r"has 2 outputs \(logits, f\)"),
    ],
)
def test_files_that_are_no_classifiers(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    kind = options.get("kind", TensorProto.FLOAT)
    weight = (
        numpy_helper.from_array(np.ones((60, 3), np.int32), "w")
        if kind == TensorProto.INT32
        else tensor("w", 60, 3)
    )
    nodes = [node("Flatten", "x", "f"), node("MatMul", "f w", "logits")]
    path = write(tmp_path / "m.onnx", ("N", 60), nodes, [weight], **options)
    with pytest.raises(InputError, match=message):
        open_onnx(path, (3, 4, 5))


def test_wrong_number_of_classes_and_no_rank_two_output(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gives \(N, 3\); logits \(N, 10\) are needed"):
        open_onnx(dense(tmp_path / "m.onnx", ("N", 60)), (3, 4, 5), 10)
    path = write(tmp_path / "m.onnx", ("N", 3, 4, 5), [node("Relu", "x", "logits")], [])
    with pytest.raises(InputError, match=r"gives \(N, 3, 4, 5\); logits \(N, C\) are needed"):
        open_onnx(path, (3, 4, 5))


def test_broken_files(tmp_path: Path) -> None:
    whole = dense(tmp_path / "m.onnx", ("N", 60)).read_bytes()
    broken = tmp_path / "broken.onnx"
    with pytest.raises(InputError, match="there is no ONNX file"):
        open_onnx(broken, (3, 4, 5))
    for count in (0, 5, len(whole) // 4, len(whole) // 2, len(whole) - 3):
        broken.write_bytes(whole[:count])
        with pytest.raises(InputError, match=str(broken)):
            open_onnx(broken, (3, 4, 5))
    broken.write_bytes(b"not a model at all" * 20)
    with pytest.raises(InputError, match=r"not an ONNX file|holds no operators"):
        open_onnx(broken, (3, 4, 5))


def test_old_operator_sets_are_refused(tmp_path: Path) -> None:
    model = onnx.load(dense(tmp_path / "m.onnx", ("N", 60)))
    model.opset_import[0].version = 6
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="operator set 6; 7 or later"):
        open_onnx(tmp_path / "m.onnx", (3, 4, 5))


def test_external_data_only_beside_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = dense(folder / "m.onnx", ("N", 60))
    expected = open_onnx(path, (3, 4, 5)).module(IMAGES)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0)
    opened = open_onnx(path, (3, 4, 5))
    torch.testing.assert_close(opened.module(IMAGES), expected)
    data = (folder / "m.data").read_bytes()
    (folder / "m.data").write_bytes(data[:-4] + b"\0\0\0\0")
    assert open_onnx(path, (3, 4, 5)).sha256 != opened.sha256
    (tmp_path / "m.data").write_bytes(data)
    for place in ("../m.data", str(tmp_path / "m.data"), ".."):
        model = onnx.load(path, load_external_data=False)
        for initializer in model.graph.initializer:
            for entry in initializer.external_data:
                entry.value = place if entry.key == "location" else entry.value
        path.write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match="must lie beside the model"):
            open_onnx(path, (3, 4, 5))
        onnx.save(
            onnx.load(dense(path, ("N", 60))),
            path,
            save_as_external_data=True,
            location="m.data",
            size_threshold=0,
        )
    (folder / "m.data").unlink()
    with pytest.raises(InputError, match=r"'m\.data', which does not lie beside it"):
        open_onnx(path, (3, 4, 5))
    (folder / "m.data").symlink_to(tmp_path / "m.data")
    with pytest.raises(InputError, match="must lie beside the model"):
        open_onnx(path, (3, 4, 5))


def test_disagreement_with_onnxruntime_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Sigmoid", "x", "f"), node("MatMul", "f w", "logits")]
    path = write(tmp_path / "m.onnx", ("N", 60), nodes, [tensor("w", 60, 3)])
    monkeypatch.setitem(ops.OPS, "Sigmoid", ops.Op(lambda node, x: 1.001 * x.sigmoid()))
    with pytest.raises(InputError, match="differs from onnxruntime's by"):
        open_onnx(path, (3, 4, 5))


def test_difference() -> None:
    ones = torch.ones(2, 3)
    assert check.difference(ones, ones) == 0
    assert check.difference(4 * ones, 8 * ones) == 0.5
    assert check.difference(0.5 * ones, 0.25 * ones) == 0.25
    assert check.difference(ones, torch.ones(3, 2)) == float("inf")
    assert check.difference(ones * float("nan"), ones) == float("inf")
