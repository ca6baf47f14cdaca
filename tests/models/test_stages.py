"""Stages found in networks of every kind: which layers, in which order, and how many."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.models.config import ModelConfig
from understudy.models.mlp import build_mlp
from understudy.models.normalize import Normalized
from understudy.models.stages import find_stages, named_stages, stages_in
from understudy.models.zoo import build


def build_net(spec: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    return build(ModelConfig(spec, shape, classes))


def found(model: nn.Module, shape: tuple[int, ...], most: int = 4) -> list[str]:
    stages = find_stages(model, torch.rand(2, *shape), most)
    assert list(stages) == [f"stage{i}" for i in range(1, len(stages) + 1)]
    return list(stages.values())


@pytest.mark.parametrize(
    ("spec", "shape", "layers"),
    [
        ("mlp[9,8,7]", (1, 8, 8), ["2", "4", "6"]),
        ("mlp[9,8,7,6,5]", (1, 8, 8), ["4", "6", "8", "10"]),
        ("cnn[3,4,5]", (1, 8, 8), ["1", "3"]),
        ("cnn_large[3,4,5]", (1, 8, 8), ["1", "5", "7"]),
        ("resnet8[4]", (1, 8, 8), ["layer1.0", "layer2.0", "layer3.0"]),
        ("vit[2,8,3,2]", (1, 8, 8), ["blocks.0", "blocks.1", "blocks.2"]),
        ("vit[2,8,6,2]", (1, 8, 8), ["blocks.1", "blocks.2", "blocks.4", "blocks.5"]),
        ("vit[2,8,1,2]", (1, 8, 8), ["blocks.0"]),
    ],
)
def test_the_zoos_networks(spec: str, shape: tuple[int, ...], layers: list[str]) -> None:
    assert found(build_net(spec, shape, 5), shape) == layers


def test_the_input_is_no_stage_and_the_wrapper_changes_nothing() -> None:
    for spec in ("cnn[3,4,5]", "mlp[6,5]", "vit[2,8,2,2]"):
        bare = build_net(spec, (1, 8, 8), 5)
        wrapped = Normalized(bare, (0.5,), (0.5,))
        assert found(wrapped, (1, 8, 8)) == [f"body.{name}" for name in found(bare, (1, 8, 8))]


def test_of_many_sizes_the_last_ones_are_kept_as_in_imagenets_residual_networks() -> None:
    """A stem at half the size, pooled, then four sizes: the four after the pool."""
    parts = [nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2)]
    for stride in (1, 2, 2, 2):
        parts += [nn.Conv2d(2, 2, 3, stride, 1), nn.ReLU()]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    assert found(model, (1, 64, 64)) == ["4", "6", "8", "10"]
    assert found(model, (1, 64, 64), most=2) == ["6", "10"]
    assert found(model, (1, 64, 64), most=1) == ["10"]


def test_a_layer_that_runs_twice_stands_where_it_ran_last() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 3, 3, 2, 1)
            self.relu, self.head = nn.ReLU(), nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.relu(self.two(self.relu(self.one(x)))).mean((2, 3)))

    assert found(Twice(), (1, 8, 8)) == ["one", "relu"]


def test_maps_with_channels_last_are_passed_over() -> None:
    class Turned(nn.Module):
        """A linear layer over channels, which stand last meanwhile."""

        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = nn.Linear(4, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.narrow(self.wide(x.permute(0, 2, 3, 1)).relu()).permute(0, 3, 1, 2)

    layers = [
        nn.Conv2d(1, 4, 2, 2),
        Turned(),
        nn.Conv2d(4, 4, 2, 2),
        Turned(),
        nn.Flatten(),
        nn.Linear(16, 3),
    ]
    assert found(nn.Sequential(*layers), (1, 8, 8)) == ["1", "3"]


def test_rows_of_blocks_behind_one_another_and_blocks_within_blocks() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for part in self.inner:
                x = x + part(x)
            return x

    layers = OrderedDict(
        patches=nn.Sequential(nn.Conv2d(1, 4, 2, 2), nn.Flatten(2)), turned=nn.Linear(16, 4),
        first=nn.Sequential(Mixer(), Mixer()), second=nn.Sequential(Mixer(), Mixer()),
        flat=nn.Flatten(), head=nn.Linear(16, 3),
    )  # fmt: skip
    model = nn.Sequential(layers)
    assert found(model, (1, 8, 8)) == ["first.0", "first.1", "second.0", "second.1"]


def test_the_model_is_left_as_it_was() -> None:
    model = build_net("resnet8[4]", (1, 8, 8), 5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_stages(model, torch.rand(2, 1, 8, 8), 4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training and not part._forward_hooks for part in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_what_has_no_stage_is_named() -> None:
    with pytest.raises(us.InputError, match=r"no stage was found in this Sequential.*Name layers in `taps`"):
        find_stages(build_mlp((1, 8, 8), 5, ()), torch.rand(2, 1, 8, 8), 4)
    with pytest.raises(us.InputError, match="1 stage or more, asked for 0"):
        find_stages(nn.Linear(2, 2), torch.rand(2, 2), 0)


def test_names_of_stages_go_by_number() -> None:
    assert stages_in(["stage10", "embedding", "stage2", "stage0", "stages", "mystage1"]) == [
        "stage2",
        "stage10",
    ]
    taps = {"stage2": ("", "b"), "hint": ("x", "y"), "stage1": ("", "a")}
    assert named_stages(taps) == {"stage1": "a", "stage2": "b"}
