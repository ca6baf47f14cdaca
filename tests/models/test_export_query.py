"""The product network: its outputs are the two models' own, in every form, for every kind of model."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models import export_query, zoo
from understudy.models.config import ModelConfig
from understudy.models.export import export_onnx
from understudy.models.export_query import Form, export_product, ordered_pairs
from understudy.models.opening import open_model
from understudy.testing import TINY_SHAPE, tiny_conv, tiny_mlp

FORMS: tuple[Form, ...] = ("softmax", "margins", "top1")


def outputs(path: Path, inputs: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, *inputs.shape[1:]]
    return torch.cat(
        [torch.from_numpy(session.run(["outputs"], {"inputs": x.numpy()})[0]) for x in inputs.split(1)]
    )


@torch.no_grad()
def expected(teacher: nn.Module, student: nn.Module, inputs: Tensor, form: Form) -> Tensor:
    """Written out anew, from the two models' float64 logits."""
    t, s = teacher.double()(inputs.double()), student.double()(inputs.double())
    teacher.float(), student.float()
    if form == "top1":
        return torch.cat([t, s], 1)
    if form == "softmax":
        return t.softmax(1) - s.softmax(1)
    rows = [
        [z[:, k] - z[:, j] for k in range(z.shape[1]) for j in range(z.shape[1]) if j != k] for z in (t, s)
    ]
    rows.append([a - b for a, b in zip(*rows, strict=True)])
    return torch.stack([*rows[0], *rows[1], *rows[2]], 1)


@pytest.mark.parametrize("form", FORMS)
def test_outputs_are_the_models_own(form: Form, tmp_path: Path) -> None:
    teacher, student = tiny_mlp(seed=1), tiny_conv(seed=2).train()
    weights = [p.clone() for p in student.parameters()]
    inputs = torch.rand(6, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "pair.onnx"
    assert export_product(teacher, student, path, inputs[:2], form) == 5
    assert student.training
    assert all(torch.equal(one, other) for one, other in zip(weights, student.parameters(), strict=True))
    truth = expected(teacher.eval(), student.eval(), inputs, form)
    found = outputs(path, inputs)
    assert found.shape == truth.shape
    assert float((found - truth).abs().max()) < 1e-6 * max(1.0, float(truth.abs().max()))
    model = onnx.load(path)
    used = {node.op_type for node in model.graph.node}
    assert used <= {"Reshape", "Flatten", "Gemm", "Relu", "Conv", "Concat", "Softmax", "BatchNormalization"}
    assert ("Softmax" in used) == (form == "softmax")
    assert b".py" not in path.read_bytes()


def test_networks_that_normalise_and_networks_from_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = (3, 8, 8)
    teacher = zoo.build(
        ModelConfig("cnn[4,8,16]", shape, 4, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    ).eval()
    export_onnx(zoo.build(ModelConfig("mlp[16]", shape, 4)).eval(), tmp_path / "s.onnx", shape)
    student = open_model(tmp_path / "s.onnx", shape=shape, classes=4).module
    inputs = torch.rand(4, *shape)
    export_product(teacher, student, tmp_path / "pair.onnx", inputs, "softmax")
    with torch.no_grad():
        truth = teacher(inputs).softmax(1) - student(inputs).softmax(1)
    assert float((outputs(tmp_path / "pair.onnx", inputs) - truth).abs().max()) < 1e-6


def test_one_class_alone(tmp_path: Path) -> None:
    teacher, student = tiny_mlp(seed=1).eval(), tiny_mlp(seed=2).eval()
    inputs = torch.rand(3, *TINY_SHAPE)
    export_product(teacher, student, tmp_path / "pair.onnx", inputs, "margins", chosen=3)
    rows = [i for i, (k, _) in enumerate(ordered_pairs(5)) if k == 3]
    every = expected(teacher, student, inputs, "margins").view(3, 3, 20)[:, :, rows]
    torch.testing.assert_close(
        outputs(tmp_path / "pair.onnx", inputs).double(), every.flatten(1), rtol=1e-5, atol=1e-5
    )


def test_bad_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, inputs = tmp_path / "pair.onnx", torch.rand(2, *TINY_SHAPE)
    for student, chosen, said in [
        (tiny_mlp(4), None, "the same classes apart"),
        (tiny_mlp(), 5, r"class must be one of 0\.\.4, found 5"),
        (tiny_mlp(), -1, "found -1"),
    ]:
        with pytest.raises(InputError, match=said):
            export_product(tiny_mlp(), student, path, inputs, "margins", chosen)
    with pytest.raises(InputError, match="the same classes apart"):
        export_product(tiny_mlp(1), tiny_mlp(1), path, inputs, "softmax")
    monkeypatch.setattr(export_query, "to_onnx", lambda *_, **__: b"")
    monkeypatch.setattr(export_query, "Reference", lambda *_: lambda x: torch.zeros(len(x), 5))
    with pytest.raises(InputError, match="nothing was written"):
        export_product(tiny_mlp(), tiny_mlp(seed=1), path, inputs, "softmax")
    assert list(tmp_path.iterdir()) == []
