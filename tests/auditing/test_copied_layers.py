"""Which layers are compared, and what their likeness must be for models that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from understudy.auditing import copied_layers as module
from understudy.auditing.copied_layers import LAYERS, PERMUTATIONS, compared_layers, copied_layers
from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.export import export_onnx
from understudy.models.opening import open_model
from understudy.models.zoo import build

SHAPE = (1, 8, 8)


def net(spec: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(ModelConfig(spec, SHAPE, 5)).eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(24, *SHAPE)


def test_blocks_activations_outside_them_and_the_head(inputs: Tensor) -> None:
    assert list(compared_layers(net("resnet8"), inputs)) == ["relu", "layer1.0", "layer2.0", "layer3.0", "fc"]
    found = compared_layers(net("vit[2,16,3,2]"), inputs)
    assert found == {"blocks.0": 256, "blocks.1": 256, "blocks.2": 256, "head": 5}
    kinds = [type(net("mlp[6,7]").get_submodule(name)) for name in compared_layers(net("mlp[6,7]"), inputs)]
    assert kinds == [nn.ReLU, nn.ReLU, nn.Linear]


def test_a_wrapped_network_is_looked_into(inputs: Tensor) -> None:
    inner = net("resnet8")
    head = nn.Sequential(inner, nn.Linear(5, 3))
    assert list(compared_layers(head, inputs)) == [
        "0.relu", "0.layer1.0", "0.layer2.0", "0.layer3.0", "1",
    ]  # fmt: skip


def test_of_many_layers_some_are_spread_from_first_to_last(inputs: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), *[part for _ in range(15) for part in (nn.Linear(64, 64), nn.ReLU())])
    found = list(compared_layers(model, inputs))
    assert len(found) == LAYERS
    assert (found[0], found[-1]) == ("2", "29")
    assert len(compared_layers(model, inputs, most=3)) == 3


def test_without_activations_the_linear_layers_are_taken(inputs: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3))
    assert list(compared_layers(model, inputs)) == ["1", "2"]
    with pytest.raises(InputError, match="no layer of Flatten"):
        compared_layers(nn.Flatten(), inputs)


def test_a_model_is_like_itself_and_more_so_than_by_chance(inputs: Tensor) -> None:
    model = net("resnet8[4]")
    (found,) = copied_layers([("teacher", model)], model, inputs)
    assert found.rows == found.columns
    assert found.row_kinds == ["ReLU", "Block", "Block", "Block", "Linear"]
    assert (found.teacher, found.examples, found.permutations) == ("teacher", 24, PERMUTATIONS)
    for i in range(len(found.rows)):
        assert found.values[i][i] == pytest.approx(1.0)
        assert found.p_values[i][i] == pytest.approx(1 / (1 + PERMUTATIONS))
    assert found.chance < 0.9
    assert not any(part._forward_hooks for part in model.modules())


def test_a_layer_that_says_nothing_has_no_value(inputs: Tensor) -> None:
    model = net("mlp[6]")
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Linear) and part.out_features == 6:
                part.weight.zero_()
                part.bias.fill_(1.0)
    other = net("mlp[9]", 1)
    found = copied_layers([("a", other), ("b", model)], other, inputs)
    assert [one.teacher for one in found] == ["a", "b"]
    assert found[1].values == [[None, None], [None, None]]
    assert found[1].chance == 0.0


def test_three_examples_are_too_few(inputs: Tensor) -> None:
    with pytest.raises(InputError, match="4 examples or more, found 3"):
        copied_layers([("teacher", net("mlp[6]"))], net("mlp[6]"), inputs[:3])


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [("mlp[6,7]", ["Relu", "Relu", "Gemm"]), ("cnn[4,8,16]", ["Relu", "Relu", "Relu", "Gemm"])],
)
def test_an_opened_onnx_file_has_the_layers_of_the_net(
    spec: str, kinds: list[str], inputs: Tensor, tmp_path: Path
) -> None:
    model = net(spec)
    export_onnx(model, tmp_path / "net.onnx", SHAPE)
    opened = open_model(tmp_path / "net.onnx", shape=SHAPE, classes=5).module
    (found,) = copied_layers([("teacher", opened)], model, inputs)
    assert found.row_kinds == kinds
    for i in range(len(found.rows)):
        assert found.values[i][i] == pytest.approx(1.0, abs=1e-4)


def test_of_unknown_layers_all_that_ran_are_taken(inputs: Tensor) -> None:
    class Squares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) ** 2

    model = nn.Sequential(Squares(), nn.Softmax(1))
    assert list(compared_layers(model, inputs)) == ["0", "1"]


def test_the_batch_is_bounded_by_all_that_is_held(inputs: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    model = net("mlp[6]")
    held = 2 * sum(compared_layers(model, inputs).values())
    monkeypatch.setattr(module, "_VALUES", 10 * held)
    measured = module.representation_map

    def noted(
        one: nn.Module, other: nn.Module, batches: tuple[Tensor, ...], *rest: object, **more: int
    ) -> object:
        seen.extend(len(part) for part in batches)
        return measured(one, other, batches, *rest, **more)

    monkeypatch.setattr(module, "representation_map", noted)
    copied_layers([("teacher", model)], model, inputs)
    assert seen == [10, 10, 4]
