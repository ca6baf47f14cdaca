"""Maps of one kind for all models of a pair, of those that have any; which are shown, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from understudy.auditing.copied_maps import SHOWN, copied_maps, viewer
from understudy.auditing.copied_record import AttentionRecord
from understudy.errors import InputError
from understudy.fidelity.attention_maps import convolution_maps
from understudy.models.config import ModelConfig
from understudy.models.export import export_onnx
from understudy.models.opening import open_model
from understudy.models.zoo import build

SHAPE = (1, 8, 8)


def net(spec: str, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> nn.Module:
    torch.manual_seed(seed)
    return build(ModelConfig(spec, shape, 5)).eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(12, *SHAPE)


def looked(
    teachers: list[nn.Module], student: nn.Module, inputs: Tensor
) -> tuple[AttentionRecord, dict[str, Tensor]]:
    named = [(f"teacher {i}", model) for i, model in enumerate(teachers, 1)]
    with torch.no_grad():
        said = [model(inputs).argmax(1) for model in (*teachers, student)]
    return copied_maps(named, student, inputs, said, said[0], None, numbers=range(3, 3 + len(inputs)))


def test_how_each_kind_of_model_is_looked_at(inputs: Tensor) -> None:
    transformer = viewer("teacher", net("vit[2,16,2,2]"), inputs)
    assert (transformer.layer, transformer.prefix, transformer.grid) == (None, 0, (4, 4))
    wide = viewer("teacher", net("vit[2,16,2,2]", shape=(1, 4, 8)), torch.rand(2, 1, 4, 8))
    assert wide.grid == (2, 4)
    model = net("resnet8")
    assert viewer("teacher", model, inputs).layer == "layer2"  # layer3 gives 2 x 2 places only
    large = net("resnet8", shape=(1, 16, 16))
    assert viewer("teacher", large, torch.rand(2, 1, 16, 16)).layer == "layer3"


def test_what_has_no_maps_is_named(inputs: Tensor) -> None:
    with pytest.raises(InputError, match="the student has neither attention over patches nor maps"):
        looked([net("resnet8")], net("mlp[6]"), inputs)
    with pytest.raises(InputError, match=r"an input here is \(64,\)"):
        viewer("teacher", net("mlp[6]"), inputs.flatten(1))


@pytest.mark.parametrize("spec", ["resnet8[4]", "vit[2,16,2,2]", "cnn"])
def test_a_model_looks_where_it_looks_itself(spec: str, inputs: Tensor) -> None:
    model = net(spec)
    record, kept = looked([model], model, inputs)
    (pair,) = record.pairs
    same = pair.measures["iou@0.4"].same
    assert same is not None
    assert same.mean == pytest.approx(1.0)
    assert [one.overlaps for one in record.shown] == [[1.0]] * SHOWN
    assert torch.equal(kept["maps"][:, 0], kept["maps"][:, 1])
    assert record.enlarged == []
    assert not any(part._forward_hooks for part in model.modules())


def test_the_kept_maps_are_the_models_own_and_run_from_least_to_most_alike(inputs: Tensor) -> None:
    one, other = net("resnet8[4]"), net("resnet8[8]", 1)
    record, kept = looked([one], other, inputs)
    assert record.maps[0].startswith("Grad-CAM at layer2, 4 × 4 places")
    rows = [shown.index - 3 for shown in record.shown]
    assert torch.equal(kept["inputs"], inputs[rows])
    with torch.no_grad():
        classes = one(inputs).argmax(1)
    whole = convolution_maps(one, inputs, "grad-cam", layer="layer2", classes=classes)[rows].double()
    low, high = whole.amin((1, 2), keepdim=True), whole.amax((1, 2), keepdim=True)
    expected = torch.where(high > low, (whole - low) / (high - low).clamp(min=1e-30), 0.0)
    assert kept["maps"][:, 0].double() == pytest.approx(expected, abs=1e-5)
    overlaps = [shown.overlaps[0] for shown in record.shown]
    assert overlaps == sorted(overlaps)
    above = kept["maps"] > record.threshold
    shared = above.all(1).sum((1, 2)) / above.any(1).sum((1, 2)).clamp(min=1)
    assert shared.tolist() == pytest.approx(overlaps)


def test_where_the_head_is_linear_on_the_mean_it_is_the_class_activation_map() -> None:
    inputs = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    shape = (1, 16, 16)
    record, _ = looked([net("resnet8[4]", shape=shape)], net("resnet8[8]", 1, shape), inputs)
    assert all(said.startswith("class activation map at layer3, 4 × 4") for said in record.maps)


def test_unlike_models_are_compared_by_what_both_have_at_the_larger_size() -> None:
    inputs = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    shape = (1, 16, 16)
    models = [net("resnet8[4]", shape=shape), net("vit[2,16,2,2]", 1, shape)]
    record, kept = looked(models, net("resnet8[8]", 2, shape), inputs)
    assert record.models == ["teacher 1", "teacher 2", "student"]
    assert [said.split(",")[0].split(" at ")[0] for said in record.maps] == [
        "Grad-CAM", "gradient-weighted attention", "Grad-CAM",
    ]  # fmt: skip
    assert record.size == [8, 8]
    assert record.enlarged == ["teacher 1", "student"]
    assert [(pair.one, pair.other) for pair in record.pairs] == [
        ("teacher 1", "teacher 2"), ("teacher 1", "student"), ("teacher 2", "student"),
    ]  # fmt: skip
    assert all(len(shown.overlaps) == 2 and len(shown.classes) == 3 for shown in record.shown)
    assert kept["maps"].shape == (6, 3, 8, 8)


class Explicit(nn.Module):
    """A transformer of one block that computes its attention itself: nothing reads it, but its parts have 4 axes."""

    def __init__(self, patch: nn.Module) -> None:
        super().__init__()
        self.patch, self.drop = patch, nn.Dropout(0.1)
        self.query, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.patch, nn.Conv2d):
            tokens = self.patch(x).flatten(2).mT
        else:
            tokens = self.patch(x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(1, 3).flatten(2))
        heads = self.query(tokens).unflatten(2, (2, 4)).transpose(1, 2)
        mixed = self.drop((heads @ heads.mT).softmax(-1)) @ heads
        return self.head(mixed.transpose(1, 2).flatten(2).mean(1))


class ChannelsLast(nn.Module):
    """A convolution, then a norm over the last axis of (B, h, w, c)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 32, 2, stride=2), nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))


class Pooled(nn.Module):
    """An image that is pooled before any convolution, and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(x).flatten(1))


def perceptron(unflattened: bool) -> nn.Module:
    if unflattened:
        return nn.Sequential(nn.Flatten(), nn.Unflatten(1, SHAPE), nn.Flatten(), nn.Linear(64, 5))
    torch.manual_seed(0)
    return build(ModelConfig("mlp[6]", SHAPE, 5, mean=(0.5,), std=(0.5,))).eval()


@pytest.mark.parametrize(
    "model",
    [perceptron(False), perceptron(True), Explicit(nn.Linear(4, 8)), Pooled()],
    ids=["normalised", "unflattened", "explicit attention", "pooled"],
)
def test_four_axes_are_no_maps_of_a_convolution(model: nn.Module, inputs: Tensor) -> None:
    with pytest.raises(InputError, match="neither attention over patches nor maps of a convolution"):
        viewer("student", model.eval(), inputs)


def test_after_a_convolution_only_what_has_its_places_counts(inputs: Tensor) -> None:
    assert viewer("student", ChannelsLast().eval(), inputs).layer == "conv"
    assert viewer("student", Explicit(nn.Conv2d(1, 8, 2, stride=2)).eval(), inputs).layer == "patch"
    pooled = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    assert viewer("student", pooled.eval(), inputs).layer == "2"


def test_an_opened_onnx_file_has_the_maps_of_its_convolutions(inputs: Tensor, tmp_path: Path) -> None:
    def opened(model: nn.Module, name: str) -> nn.Module:
        export_onnx(model, tmp_path / name, SHAPE)
        return open_model(tmp_path / name, shape=SHAPE, classes=5).module

    conv = opened(net("cnn[4,8,16]"), "cnn.onnx")
    layer = viewer("student", conv, inputs).layer
    assert layer is not None
    assert conv.get_submodule(layer).node.op in ("Conv", "Relu", "MaxPool", "AveragePool")
    with pytest.raises(InputError, match="neither attention"):
        viewer("student", opened(Explicit(nn.Linear(4, 8)).eval(), "tokens.onnx"), inputs)
    with pytest.raises(InputError, match="neither attention"):
        viewer("student", opened(perceptron(False), "mlp.onnx"), inputs)


class Halves(nn.Module):
    """Looks at nothing in dark images: its features are 0 there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.Linear(3, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)))


def test_a_map_that_points_nowhere_has_no_overlap_and_no_divergence(inputs: Tensor) -> None:
    torch.manual_seed(0)
    one, other = Halves().eval(), Halves().eval()
    some = inputs.clone()
    some[:5] = 0.0
    record, kept = looked([one], other, some)
    (pair,) = record.pairs
    for found in pair.measures.values():
        assert found.same is not None
        assert (found.same.count, found.undefined) == (7, 5)
        assert found.chance is not None
        assert found.chance.count < 7
    assert min(shown.index for shown in record.shown) >= 3 + 5
    assert len(kept["maps"]) == len(record.shown) == SHOWN
    with pytest.raises(InputError, match="no example has a map of a teacher and one of the student"):
        looked([one], other, torch.zeros(4, *SHAPE))


def test_one_example_with_a_value_tells_no_interval(inputs: Tensor) -> None:
    torch.manual_seed(0)
    some = inputs.clone()
    some[1:] = 0.0
    record, _ = looked([Halves().eval()], Halves().eval(), some)
    found = record.pairs[0].measures["iou@0.4"]
    assert found.same is not None
    assert (found.same.low, found.same.high, found.same.count) == (None, None, 1)
    assert found.chance is None
