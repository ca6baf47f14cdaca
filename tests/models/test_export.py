"""Exported networks: the same answers, any batch size, nothing of this machine inside, nothing half written."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models import export, zoo
from understudy.models.config import ModelConfig
from understudy.models.export import export_onnx
from understudy.models.opening import open_model

SHAPE = (3, 8, 8)


def net(spec: str) -> nn.Module:
    """A network of the zoo whose batch norms have seen data, normalising inside."""
    torch.manual_seed(0)
    module = zoo.build(ModelConfig(spec, SHAPE, 5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)))
    with torch.no_grad():
        module(torch.rand(8, *SHAPE))
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
                part.weight.uniform_(0.5, 2)
                part.bias.normal_()
    return module.eval()


@pytest.mark.parametrize("spec", ["mlp[16]", "cnn[4,8,16]", "resnet8[4]", "vit[4,12,1,2]"])
def test_round_trip(spec: str, tmp_path: Path) -> None:
    module = net(spec)
    path = tmp_path / "student.onnx"
    assert export_onnx(module, path, SHAPE) < 1e-5
    opened = open_model(path, shape=SHAPE, classes=5)
    for batch in (1, 5):
        x = torch.rand(batch, *SHAPE)
        torch.testing.assert_close(opened.module(x), module(x), rtol=1e-5, atol=1e-5)
    model = onnx.load(path)
    assert [value.name for value in model.graph.input] == ["inputs"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    raw = path.read_bytes()
    assert str(Path.cwd()).encode() not in raw
    assert b".py" not in raw


def test_exporting_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Silent; the module is left as it was; never over a file unless asked; the same bytes again."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Dropout(0.5)).double().train()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    path = tmp_path / "m.onnx"
    export_onnx(module, path, SHAPE)
    assert capfd.readouterr() == ("", "")
    assert module.training
    for name, value in module.state_dict().items():
        assert value.dtype == torch.float64
        assert torch.equal(value, state[name])
    raw = path.read_bytes()
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        export_onnx(module, path, SHAPE)
    assert path.read_bytes() == b"precious"
    export_onnx(module, path, SHAPE, overwrite=True)
    assert path.read_bytes() == raw
    assert open_model(path, shape=SHAPE, classes=4).parameters == 192 * 4 + 4


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere" / "m.onnx"):
        with pytest.raises(InputError, match="a file in a folder that exists"):
            export_onnx(net("mlp[4]"), place, SHAPE)


class FixesBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] + torch.zeros(2, 1)


class SpecialisesBatch(nn.Module):
    """Runs on any batch, but writes the size it was traced with into the file."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] + torch.zeros(len(x), 1)


class DependsOnValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] if float(x.sum()) > 0 else x.flatten(1)[:, 3:6]


@pytest.mark.parametrize("module", [FixesBatch(), SpecialisesBatch(), DependsOnValues()])
def test_modules_that_cannot_be_exported(module: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=type(module).__name__):
        export_onnx(module, tmp_path / "m.onnx", SHAPE)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_is_never_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Liar(export.Reference):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x) + 0.01

    monkeypatch.setattr(export, "Reference", Liar)
    with pytest.raises(InputError, match="differs from the module by"):
        export_onnx(net("mlp[4]"), tmp_path / "m.onnx", SHAPE)
    assert list(tmp_path.iterdir()) == []
