"""Attention read from models: the same logits, the same weights as by hand, gradients as in a closed form."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from understudy.errors import InputError
from understudy.fidelity.attention_weights import attention_slopes, attention_weights, explicit_attention
from understudy.models.look import frozen
from understudy.models.normalize import Normalized
from understudy.models.vit import ViT

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def vit() -> ViT:
    torch.manual_seed(0)
    model = ViT((1, 8, 8), 4, 2, 16, 2, 2).eval()
    for parameter in model.parameters():
        parameter.data.mul_(2)
    return model


def hugging(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        image_size=8, patch_size=4, num_channels=1, num_labels=4, initializer_range=0.5,
    )  # fmt: skip
    config._attn_implementation = kind
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(config).eval()


class Encoder(nn.Module):
    """Torch's own transformer, which has a fast path of its own without gradients."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.first = batch_first
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1).unflatten(1, (8, 8))
        x = self.blocks(x) if self.first else self.blocks(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x.mean(1))


def test_fused_attention_step_by_step() -> None:
    q, k, v = drawn(2, 3, 5, 4), drawn(2, 3, 6, 4, seed=1), drawn(2, 3, 6, 7, seed=2)
    mask = drawn(5, 6, seed=3) > -1
    for named, own in [
        ({}, {}),
        ({"attn_mask": mask}, {"mask": mask}),
        ({"attn_mask": drawn(5, 6, seed=4)}, {"mask": drawn(5, 6, seed=4)}),
        ({"is_causal": True}, {"causal": True}),
        ({"scale": 2.0}, {"scale": 2.0}),
    ]:
        mixed, weights = explicit_attention(q, k, v, **own)
        assert torch.allclose(mixed, F.scaled_dot_product_attention(q, k, v, **named), atol=1e-5)
        assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5))
    few = explicit_attention(drawn(2, 6, 5, 4), k, v, grouped=True)[0]
    assert torch.allclose(
        few, F.scaled_dot_product_attention(drawn(2, 6, 5, 4), k, v, enable_gqa=True), atol=1e-5
    )
    with pytest.raises(InputError, match="without dropout; found a rate of"):
        explicit_attention(q, k, v, dropout=0.1)


def test_our_transformer_s_weights_are_those_of_its_projections() -> None:
    model, kept = vit(), []
    handle = model.blocks[1].attention.qkv.register_forward_hook(lambda *args: kept.append(args[2]))
    logits, weights = attention_weights(model, IMAGES)
    handle.remove()
    assert [tuple(w.shape) for w in weights] == [(5, 2, 16, 16)] * 2
    assert torch.allclose(logits, model(IMAGES), atol=1e-5)
    query, key = kept[0][..., :16], kept[0][..., 16:32]
    for head in range(2):
        cut = slice(8 * head, 8 * head + 8)
        scores = query[..., cut] @ key[..., cut].transpose(1, 2) / math.sqrt(8)
        assert torch.allclose(weights[1][:, head], scores.softmax(-1), atol=1e-5)


@pytest.mark.parametrize(
    "build", [vit, lambda: hugging("sdpa"), lambda: hugging("eager"), Encoder, lambda: Encoder(False)]
)
@pytest.mark.parametrize("graph", [True, False])
def test_the_logits_are_the_model_s_own(build, graph: bool) -> None:
    model = build()
    with frozen(model), torch.set_grad_enabled(graph):
        plain = getattr(model(IMAGES), "logits", None)
        plain = model(IMAGES) if plain is None else plain
        logits, weights = attention_weights(model, IMAGES)
        slow, same, slopes = attention_slopes(model, IMAGES)
    assert torch.allclose(logits, plain, atol=1e-5)
    assert torch.allclose(slow, plain, atol=1e-5)
    assert len(weights) == len(slopes) == 2
    for one, again, slope in zip(weights, same, slopes, strict=True):
        assert torch.allclose(one.sum(-1), torch.ones(one.shape[:3]), atol=1e-5)
        assert torch.allclose(one, again, atol=1e-6)
        assert slope.shape == one.shape
        assert slope.abs().max() > 1e-6
        assert not slope.requires_grad


def test_a_transformers_model_says_the_same_fused_and_eager() -> None:
    fused, eager = (attention_slopes(hugging(kind), IMAGES) for kind in ("sdpa", "eager"))
    for one, other in zip(fused[1] + fused[2], eager[1] + eager[2], strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    asked = hugging("eager")(IMAGES, output_attentions=True).attentions
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(fused[1], asked, strict=True))


class OneLook(nn.Module):
    """Logits linear in the attention: z_c = mean_i sum_j A_ij V_jc, so that dz_c / dA_ij = V_jc / T."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2)  # (B, T, 4)
        return F.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None])[:, 0].mean(1)


def test_slopes_have_a_closed_form_where_the_logits_are_linear_in_the_attention() -> None:
    x = drawn(3, 6, 2, 2)
    classes = torch.tensor([3, 0, 2])
    _, _, (slope,) = attention_slopes(OneLook(), x, classes)
    value = x.flatten(2)[torch.arange(3), :, classes]  # (B, T)
    assert torch.allclose(slope[:, 0], (value / 6)[:, None, :].expand(-1, 6, -1), atol=1e-6)
    logits, _, (predicted,) = attention_slopes(OneLook(), x)
    _, _, (named,) = attention_slopes(OneLook(), x, logits.argmax(1))
    assert torch.equal(predicted, named)


def test_slopes_of_torch_s_own_attention_are_differences() -> None:
    """Adding to one weight changes the logit by the slope: the same weights at work in a model written out."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x, x, x, need_weights=False)[0].mean(1)

    x = drawn(3, 5, 8)
    classes = torch.tensor([1, 7, 0])
    logits, (weights,), (slope,) = attention_slopes(Model(), x, classes)
    value = (
        F.linear(x, layer.in_proj_weight[16:], layer.in_proj_bias[16:]).unflatten(2, (2, 4)).transpose(1, 2)
    )
    rows = layer.out_proj.weight[classes].unflatten(1, (2, 4))  # (B, heads, 4)
    by_hand = torch.einsum("bhjd,bhd->bhj", value, rows)[:, :, None, :].expand(-1, -1, 5, -1) / 5
    assert torch.allclose(slope, by_hand, atol=1e-6)
    mixed = (weights @ value).transpose(1, 2).flatten(2)
    assert torch.allclose(layer.out_proj(mixed).mean(1), logits, atol=1e-5)


def test_the_caller_of_torch_s_attention_gets_what_it_asked_for() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    got = []

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for named in ({}, {"need_weights": False}, {"average_attn_weights": False}):
                mixed, weights = layer(x, x, x, **named)
                got.append(weights)
            return mixed.mean(1)

    x = drawn(3, 5, 8)
    attention_weights(Model(), x)
    read = list(got)
    Model()(x)
    assert torch.allclose(read[0], got[3], atol=1e-6)
    assert read[1] is None
    assert torch.allclose(read[2], got[5], atol=1e-6)


def test_a_wrapped_model_is_read_too_and_nothing_is_left_behind() -> None:
    model = Normalized(vit(), (0.5,), (0.2,)).train()
    logits, weights = attention_weights(model, IMAGES)
    assert torch.allclose(logits, model.body((IMAGES - 0.5) / 0.2), atol=1e-5)
    assert len(weights) == 2
    attention_slopes(model, IMAGES)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert not IMAGES.requires_grad
    assert sum(len(part._forward_hooks) for part in model.modules()) == 0

    class Fails(nn.Module):
        def forward(self, x):
            model(x)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        attention_weights(Fails(), IMAGES)
    assert len(attention_weights(model, IMAGES)[1]) == 2


def test_models_without_attention_to_read() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(InputError, match="Sequential shows no attention"):
        attention_weights(flat, IMAGES)
    with pytest.raises(InputError, match=r"0..3, found \[4\]"):
        attention_slopes(vit(), IMAGES, torch.full((5,), 4))
    with pytest.raises(InputError, match="need inputs of floats"):
        attention_slopes(vit(), IMAGES.long())

    class Across(nn.Module):
        def forward(self, x):
            x = x.flatten(2)
            return F.scaled_dot_product_attention(x, torch.cat((x, x), 1), torch.cat((x, x), 1)).mean(1)

    with pytest.raises(InputError, match="of all tokens to all"):
        attention_weights(Across(), IMAGES)

    class Unread(OneLook):
        def forward(self, x):
            super().forward(x)
            return x.flatten(2).mean(1)

    with pytest.raises(InputError, match="not on the way to its logits"):
        attention_slopes(Unread(), drawn(3, 6, 2, 2))


def test_attention_inside_windows_is_none_over_the_image() -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True).eval()

    class Windowed(nn.Module):
        """The quarters of an image beside one another in the batch."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            quarters = x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(-1, 16, 1).expand(-1, -1, 4)
            return layer(quarters, quarters, quarters)[0].mean(1).unflatten(0, (len(x), 4)).mean(1)

    with pytest.raises(InputError, match="20 rows of tokens for 5 examples, such as windows"):
        attention_weights(Windowed(), IMAGES)
    with pytest.raises(InputError, match="4 rows of tokens for 1 examples"):
        attention_slopes(Windowed(), IMAGES[:1])
