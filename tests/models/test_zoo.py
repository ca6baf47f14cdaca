from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.look import frozen
from understudy.models.normalize import Normalized
from understudy.models.saved import count_parameters, load_state

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
IMAGE_NETS = [name for name in zoo.NETS if name not in ("gcn", "lm")]  # these take nodes and tokens


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", IMAGE_NETS)
def test_every_net_takes_every_image_shape(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = zoo.build(ModelConfig(name, shape, 7))
    x = torch.rand(2, *shape, requires_grad=True)
    with frozen(model):
        logits = model(x)
        alone = model(x[1:])
    assert logits.shape == (2, 7)
    torch.testing.assert_close(logits[1:], alone, atol=1e-5, rtol=1e-4)  # examples do not mix in eval mode
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
    assert gradient.abs().amax((1, 2, 3)).min() > 0  # every example's input matters


@pytest.mark.parametrize("name", IMAGE_NETS)
def test_a_graph_can_be_traced(name: str) -> None:
    model = zoo.build(ModelConfig(name, (1, 8, 8), 3, (0.2,), (0.4,))).eval()
    traced = torch.fx.symbolic_trace(model)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(traced(x), model(x))


def test_weights_are_drawn_under_the_callers_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = zoo.build(ModelConfig("vit", (1, 8, 8), 3))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("mlp", ("mlp", None)),
        ("mlp[]", ("mlp", ())),
        ("mlp[64]", ("mlp", (64,))),
        (" cnn[16, 32,100] ", ("cnn", (16, 32, 100))),
    ],
)
def test_parse_spec(spec: str, parsed: tuple[str, tuple[int, ...] | None]) -> None:
    assert zoo.parse_spec(spec) == parsed


@pytest.mark.parametrize(
    "spec", ["", "mlp[", "mlp[a]", "mlp[64]x", "mlp[0]", "mlp[,]", "mlp[8,]", "mlp[-1]", "a:b"]
)
def test_a_malformed_spec_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="positive whole numbers"):
        zoo.parse_spec(spec)


@pytest.mark.parametrize(
    ("spec", "shape", "full"),
    [
        ("mlp", (1, 8, 8), "mlp[64,64]"),
        ("mlp", (1, 28, 28), "mlp[200,200]"),
        ("mlp", (3, 32, 32), "mlp[512,512]"),
        ("mlp", (13,), "mlp[64,64]"),
        ("mlp[]", (13,), "mlp[]"),
        ("cnn", (1, 8, 8), "cnn[16,32,100]"),
        ("vit", (1, 8, 8), "vit[2,48,3,4]"),
        ("vit", (1, 28, 28), "vit[7,96,4,4]"),
        ("vit", (3, 32, 32), "vit[4,96,4,4]"),
        ("vit", (1, 3, 5), "vit[1,48,3,4]"),
        ("resnet20", (3, 32, 32), "resnet20[16]"),
    ],
)
def test_full_spec_writes_the_defaults_out(spec: str, shape: tuple[int, ...], full: str) -> None:
    assert zoo.full_spec(spec, shape) == full
    assert zoo.full_spec(full, shape) == full


@pytest.mark.parametrize(
    ("spec", "shape", "says"),
    [
        ("resnet21", (3, 32, 32), "did you mean resnet"),
        (
            "cnn[16]",
            (1, 8, 8),
            r"takes 3 numbers in brackets \(channels of the first convolution, .*found 'cnn\[16\]'",
        ),
        ("resnet8[16,16]", (1, 8, 8), "width of the first stage"),
        ("cnn", (64,), r"takes images \(channels, height, width\), the data are of shape \(64,\)"),
        ("vit", (8, 8), "'mlp' takes inputs of any shape"),
        ("cnn", (1, 3, 8), "at least 4 pixels"),
        ("vit[3,48,3,4]", (1, 8, 8), "3 does not divide 8x8"),
        ("vit[2,50,3,4]", (1, 8, 8), "4 does not divide 50"),
    ],
)
def test_what_cannot_be_built_is_explained(spec: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        zoo.build(ModelConfig(spec, shape, 10))


@pytest.mark.parametrize(
    ("spec", "shape", "count"),
    [
        ("mlp[50,50]", (1, 28, 28), 785 * 50 + 51 * 50 + 51 * 10),
        ("mlp[]", (1, 8, 8), 65 * 10),
        ("cnn", (1, 28, 28), 16 * 17 + 32 * (256 + 1) + 1569 * 100 + 101 * 10),
        ("resnet20", (3, 32, 32), 269_722 + 2_752),  # the paper's 0.27M, and the two projections
    ],
)
def test_parameter_counts(spec: str, shape: tuple[int, ...], count: int) -> None:
    assert count_parameters(zoo.build(ModelConfig(spec, shape, 10))) == count


def test_resnet56_has_the_papers_size() -> None:
    count = count_parameters(zoo.build(ModelConfig("resnet56", (3, 32, 32), 10)))
    assert round(count / 1e6, 2) in (0.85, 0.86)


def test_vit_attention_agrees_with_torchs_own() -> None:
    from understudy.models.vit import Attention

    torch.manual_seed(0)
    ours = Attention(12, 3)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_normalisation_is_inside_the_model() -> None:
    config = ModelConfig("cnn", (3, 8, 8), 4, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    model = zoo.build(config)
    assert isinstance(model, Normalized)
    x = torch.rand(2, 3, 8, 8)
    by_hand = torch.stack([(x[:, c] - config.mean[c]) / config.std[c] for c in range(3)], dim=1)
    assert torch.equal(model(x), model.body(by_hand))
    assert all(name.startswith("body.") for name in model.state_dict())  # the statistics are not weights


def test_normalisation_of_flat_inputs_is_a_value_a_feature() -> None:
    model = zoo.build(ModelConfig("mlp[]", (2,), 2, (1.0, 2.0), (2.0, 4.0)))
    x = torch.tensor([[3.0, 10.0]])
    assert torch.equal(model(x), model.body(torch.tensor([[1.0, 2.0]])))


def _shared() -> Path:
    here = os.environ.get("UNDERSTUDY_DATA")
    return Path(here).parent if here else Path(__file__).parents[3] / "shared"


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "spec", "accuracy"),
    [
        ("T_mlp", "mlp", 0.978),
        ("S_mlp_kd", "mlp[50,50]", 0.958),
        ("S_mlp_adv", "mlp[50,50]", 0.957),
        ("T_tiny", "mlp[40,40]", 0.940),
        ("S_tiny_kd", "mlp[20,20]", 0.928),
        ("S_tiny_adv", "mlp[20,20]", 0.867),
        ("T_cnn", "cnn", 0.980),
        ("S_cnn_kd", "cnn[8,16,50]", 0.970),
        ("S_cnn_adv", "cnn[8,16,50]", 0.969),
    ],
)
def test_the_benchmark_pairs_load_by_spec(
    file: str, spec: str, accuracy: float, mnist: tuple[torch.Tensor, torch.Tensor]
) -> None:
    path = _shared() / "pairs" / f"{file}.safetensors"
    if not path.exists():
        pytest.skip(f"{path.name} is not there: set UNDERSTUDY_DATA")
    model = zoo.build(ModelConfig(spec, (1, 28, 28), 10))
    load_state(model, path)
    images, labels = mnist
    with frozen(model), torch.no_grad():
        found = (model(images).argmax(1) == labels).float().mean()
    assert abs(float(found) - accuracy) < 6e-4  # the README rounds to three digits


@pytest.fixture(scope="module")
def mnist() -> tuple[torch.Tensor, torch.Tensor]:
    """The first 2,000 test images, decoded here without the package's own reader."""
    import io

    import pyarrow.parquet as parquet
    from PIL import Image

    files = sorted((_shared() / "data" / "mnist").glob("test-*.parquet"))
    if not files:
        pytest.skip("MNIST is not there: set UNDERSTUDY_DATA")
    rows = parquet.read_table(files[0]).slice(0, 2000).to_pylist()
    pixels = np.stack([np.array(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows])
    return torch.from_numpy(pixels).float().div(255)[:, None], torch.tensor([row["label"] for row in rows])
