"""Maps of one kind for all models of a pair, of those that have any; which are shown, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from understudy.auditing.copied_maps import SHOWN, copied_maps, viewer
from understudy.auditing.copied_record import AttentionRecord
from understudy.errors import InputError
from understudy.fidelity.attention_maps import convolution_maps
from understudy.models.config import ModelConfig
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
    return copied_maps(named, student, inputs, said, said[0], None, start=3)


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
