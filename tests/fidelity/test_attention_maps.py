"""Maps asked of models: what each kind is, where the object is, and models that stay as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.fidelity.attention import attention_rollout, gradient_attention, on_grid
from understudy.fidelity.attention_maps import convolution_maps, last_maps, transformer_maps
from understudy.fidelity.attention_weights import attention_slopes, attention_weights
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.normalize import Normalized
from understudy.models.vit import ViT
from understudy.testing import tiny_conv, tiny_mlp

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def resnet() -> nn.Module:
    torch.manual_seed(0)
    model = zoo.build(ModelConfig("resnet8", (1, 8, 8), 4))
    with torch.no_grad():
        model(torch.rand(64, 1, 8, 8))  # statistics of its own
    return model.eval()


def vit() -> ViT:
    torch.manual_seed(0)
    model = ViT((1, 8, 8), 4, 2, 16, 2, 2).eval()
    for parameter in model.parameters():
        parameter.data.mul_(2)
    return model


class ClassToken(nn.Module):
    """A transformer that answers from a token in front of the patches of 2x4 grids."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = x.flatten(1).unflatten(1, (8, 8))
        x = torch.cat((self.token.expand(len(x), -1, -1), patches), 1)
        for block in self.blocks:
            x = x + block(x, x, x, need_weights=False)[0]
        return self.head(x[:, 0])


def state(model: nn.Module) -> list:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    hooks = [sum(len(getattr(part, kind)) for part in model.modules()) for kind in kinds]
    values = [value.tolist() for value in model.state_dict().values()]
    parameters = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    return [[part.training for part in model.modules()], hooks, values, parameters]


def test_the_mean_of_the_map_is_the_logit() -> None:
    model = resnet()
    logits = model(IMAGES)
    found = convolution_maps(model, IMAGES)
    assert found.shape == (5, 2, 2)
    assert torch.allclose(found.mean((1, 2)), logits.amax(1), atol=1e-5)
    classes = torch.tensor([3, 2, 1, 0, 0])
    named = convolution_maps(model, IMAGES, layer="layer3", head="fc", classes=classes)
    assert torch.allclose(named.mean((1, 2)), logits.gather(1, classes[:, None])[:, 0], atol=1e-5)
    summed = convolution_maps(model, IMAGES, "cam-sum")
    assert torch.allclose(summed.mean((1, 2)), logits.sum(1), atol=1e-5)
    assert torch.equal(convolution_maps(model, IMAGES, "cam-sum", classes=classes), summed)


def test_grad_cam_and_energy_of_the_same_features() -> None:
    model = resnet()
    bias = model.fc.bias[model(IMAGES).argmax(1)][:, None, None]
    expected = (convolution_maps(model, IMAGES) - bias).relu() / 4
    with torch.no_grad():
        assert torch.allclose(convolution_maps(model, IMAGES, "grad-cam"), expected, atol=1e-6)
    features = model.layer3(model.layer2(model.layer1(model.relu(model.bn(model.conv(IMAGES))))))
    energy = convolution_maps(model, IMAGES, "energy")
    assert torch.allclose(energy, features.square().mean(1), atol=1e-6)
    early = convolution_maps(model, IMAGES, "energy", layer="layer1", power=1)
    assert early.shape == (5, 8, 8)
    assert not energy.requires_grad


@pytest.mark.parametrize("kind", ["cam", "cam-sum", "grad-cam", "energy"])
def test_half_precision_gives_about_the_same(kind: str) -> None:
    found = convolution_maps(
        resnet().bfloat16(), IMAGES.bfloat16(), kind, classes=torch.tensor([0, 1, 2, 3, 0])
    )
    exact = convolution_maps(resnet(), IMAGES, kind, classes=torch.tensor([0, 1, 2, 3, 0]))
    assert (found.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_the_last_layer_that_gives_maps() -> None:
    assert last_maps(resnet(), IMAGES) == "layer3"
    assert last_maps(tiny_conv(), torch.rand(1, 1, 6, 6)) == "mid"
    assert last_maps(Normalized(resnet(), (0.5,), (0.2,)), IMAGES) == "body.layer3"
    with pytest.raises(InputError, match="no layer of Sequential gives maps"):
        last_maps(tiny_mlp(), torch.rand(1, 1, 6, 6))


def test_rollout_gradient_and_last_are_those_of_the_weights() -> None:
    model = vit()
    with torch.no_grad():
        _, weights = attention_weights(model, IMAGES)
    rolled = transformer_maps(model, IMAGES, prefix=0)
    assert torch.allclose(rolled, attention_rollout(weights).mean(1).view(5, 4, 4), atol=1e-6)
    assert torch.allclose(rolled.sum((1, 2)), torch.ones(5), atol=1e-5)
    last = transformer_maps(model, IMAGES, "last", prefix=0)
    assert torch.allclose(last, weights[1].mean((1, 2)).view(5, 4, 4), atol=1e-6)
    classes = torch.tensor([3, 2, 1, 0, 0])
    _, weights, slopes = attention_slopes(model, IMAGES, classes)
    found = transformer_maps(model, IMAGES, "gradient", prefix=0, classes=classes)
    assert torch.allclose(found, on_grid(gradient_attention(weights, slopes), 0), atol=1e-7)
    assert not torch.allclose(found, transformer_maps(model, IMAGES, "gradient", prefix=0))


@pytest.mark.parametrize("kind", ["rollout", "gradient", "last"])
def test_maps_move_with_what_is_looked_at(kind: str) -> None:
    """A transformer that does not know where a patch lies sees a moved image as a moved map."""
    model = vit()
    model.positions.data.zero_()
    found = transformer_maps(model, IMAGES, kind, prefix=0)
    moved = transformer_maps(model, IMAGES.roll((2, 4), (2, 3)), kind, prefix=0)
    assert torch.allclose(moved, found.roll((1, 2), (1, 2)), atol=1e-6)
    assert not torch.allclose(moved, found, atol=1e-6)


def test_the_class_token_is_read_and_is_no_patch() -> None:
    model = ClassToken().eval()
    with torch.no_grad():
        _, weights = attention_weights(model, IMAGES)
    found = transformer_maps(model, IMAGES, "last", prefix=1, grid=(2, 4))
    assert torch.allclose(found, weights[1].mean(1)[:, 0, 1:].view(5, 2, 4), atol=1e-6)
    rolled = transformer_maps(model, IMAGES, prefix=1, grid=(2, 4))
    assert (rolled.sum((1, 2)) < 1).all()  # the rest is the token itself
    assert (transformer_maps(model, IMAGES, "gradient", prefix=1, grid=(2, 4)) >= 0).all()
    with pytest.raises(InputError, match="9 tokens with 1 in front of the patches do not fill a grid of 2x2"):
        transformer_maps(model, IMAGES, prefix=1)


@pytest.mark.parametrize("kind", ["cam", "cam-sum", "grad-cam", "energy"])
@pytest.mark.parametrize("grad", [True, False])
def test_convolutional_nets_are_left_as_they_were(kind: str, grad: bool) -> None:
    model = resnet().train()
    model.layer2.eval()
    model.conv.weight.requires_grad_(False)
    before = state(model)
    with torch.set_grad_enabled(grad):
        found = convolution_maps(model, IMAGES, kind)
        with pytest.raises(InputError, match="did you mean"):
            convolution_maps(model, IMAGES, kind, layer="layer4")
        with pytest.raises(InputError, match="the layer 'fc' gives no maps"):
            convolution_maps(model, IMAGES, kind, layer="fc")
        assert torch.is_grad_enabled() == grad
    assert not found.requires_grad
    assert state(model) == before
    assert not IMAGES.requires_grad


@pytest.mark.parametrize("kind", ["rollout", "gradient", "last"])
def test_transformers_are_left_as_they_were(kind: str) -> None:
    model = vit().train()
    before = state(model)
    found = transformer_maps(model, IMAGES, kind, prefix=0)
    with pytest.raises(InputError, match="16 tokens with 1"):
        transformer_maps(model, IMAGES, kind, prefix=1)
    assert state(model) == before
    assert not found.requires_grad


def test_a_net_that_does_not_pool_has_no_class_activation_map() -> None:
    conv = tiny_conv()
    small = torch.rand(3, 1, 6, 6)
    for kind in ("cam", "cam-sum"):
        with pytest.raises(InputError, match=r"no linear layer on the mean of 'mid'.*use grad-cam"):
            convolution_maps(conv, small, kind)
        with pytest.raises(InputError, match="they differ by"):
            convolution_maps(nn.Sequential(resnet(), nn.Tanh()), IMAGES, kind)
        with pytest.raises(InputError, match=r"head \(4, 64\), features \(5, 32, 4, 4\)"):
            convolution_maps(resnet(), IMAGES, kind, layer="layer2")
        with pytest.raises(InputError, match=r"must be an nn\.Linear, found Conv2d"):
            convolution_maps(resnet(), IMAGES, kind, head="conv")
        bare = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        with pytest.raises(InputError, match="linear head, and Sequential has none"):
            convolution_maps(bare, IMAGES, kind)
    assert convolution_maps(conv, small, "grad-cam").shape == (3, 3, 3)


@pytest.mark.usefixtures("unchecked")
def test_unknown_kinds_and_classes() -> None:
    with pytest.raises(InputError, match="unknown kind of map 'cams'"):
        convolution_maps(resnet(), IMAGES, "cams")
    with pytest.raises(InputError, match="unknown kind of map 'roll'"):
        transformer_maps(vit(), IMAGES, "roll", prefix=0)
    for kind in ("cam", "grad-cam"):
        with pytest.raises(InputError, match=r"0..3, found \[4\]"):
            convolution_maps(resnet(), IMAGES, kind, classes=torch.full((5,), 4))
    with pytest.raises(InputError, match="shows no attention"):
        transformer_maps(resnet(), IMAGES, prefix=0)
