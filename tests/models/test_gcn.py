from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.fitting import fit_to_data
from understudy.models.gcn import GCN, InGraph, asked_at_once, bind
from understudy.models.saved import load_model, save_model
from understudy.models.zoo import build, full_spec
from understudy.training.embedding import head_of
from understudy.training.threads import forward_flops

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])  # a path of 4, and a node alone


def network(spec: str = "gcn[6,2,50]") -> tuple[GCN, ModelConfig]:
    config = ModelConfig(full_spec(spec, (3,), (5, 6)), (3,), 2)
    torch.manual_seed(0)
    module = build(config)
    assert isinstance(module, GCN)
    bind(module, EDGES)
    return module, config


def test_a_layer_is_the_normalised_adjacency_times_the_features() -> None:
    module, _ = network()
    adjacency = torch.eye(5, dtype=torch.float64)
    adjacency[EDGES[0], EDGES[1]] = 1
    half = adjacency.sum(1).rsqrt().diag()
    smooth = half @ adjacency @ half
    x = torch.rand(5, 3, dtype=torch.float64)
    exact = module.double().eval()
    one, two = exact.layers
    with torch.no_grad():
        for bias in (one.bias, two.bias):
            bias.normal_()
        hidden = (smooth @ x @ one.weight.T + one.bias).relu()
        expected = smooth @ hidden @ two.weight.T + two.bias
        assert torch.allclose(exact(x), expected, atol=1e-6)


def test_without_edges_it_is_a_network_of_single_nodes() -> None:
    torch.manual_seed(0)
    module = GCN((3, 6, 2), 0.5, 5, 0).eval()
    x = torch.rand(5, 3)
    one, two = module.layers
    plain = nn.functional.linear(nn.functional.linear(x, one.weight, one.bias).relu(), two.weight, two.bias)
    assert torch.allclose(module(x), plain, atol=1e-6)


def test_dropout_is_drawn_in_training_alone() -> None:
    module, _ = network()
    x = torch.rand(5, 3)
    assert torch.equal(module.eval()(x), module(x))
    assert not torch.equal(module.train()(x), module(x))


def test_a_saved_network_has_its_graph_with_it(tmp_path: Path) -> None:
    module, config = network()
    save_model(tmp_path / "gcn.safetensors", module, config)
    loaded, again = load_model(tmp_path / "gcn.safetensors")
    assert again.spec == "gcn[6,2,50,5,6]"
    x = torch.rand(5, 3)
    assert torch.equal(loaded.eval()(x), module.eval()(x))


def test_it_is_tried_out_on_all_its_nodes() -> None:
    module, config = network()
    assert asked_at_once(nn.Sequential(module), 2) == 5
    assert asked_at_once(nn.Linear(3, 2), 2) == 2
    assert fit_to_data(module, "gcn", config, shape=(3,), classes=2, low=0.0, high=1.0) is module
    assert forward_flops(module, (3,), 5) == 2 * 5 * (3 * 6 + 6 * 2)
    assert head_of(module) == "layers.1"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gcn[6]", r"gcn takes 3 numbers in brackets \(hidden units, layers, dropout in percent\)"),
        ("gcn[6,2,100]", "dropout must be below 100 percent, found 100"),
        ("dropout_mlp[6,2,100]", "dropout must be below 100 percent"),
    ],
)
def test_sizes_that_make_no_network_are_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(ModelConfig(full_spec(spec, (3,), (5, 6)), (3,), 2))


def test_what_is_no_graph_of_its_own_is_refused() -> None:
    module, _ = network()
    with pytest.raises(InputError, match="all of its 5 nodes at once, found 2"):
        module(torch.rand(2, 3))
    with pytest.raises(InputError, match="built for 6 edges, found 2"):
        bind(module, EDGES[:, :2])
    with pytest.raises(InputError, match=r"edges must join nodes of 0..4"):
        bind(module, EDGES + 2)
    with pytest.raises(InputError, match="gcn is for a graph"):
        build(ModelConfig("gcn[6,2,50]", (3,), 2))


def test_the_dropout_network_has_the_layers_that_are_asked_for() -> None:
    deep = build(ModelConfig("dropout_mlp[6,3,40]", (3,), 2))
    assert [type(part).__name__ for part in deep] == [  # type: ignore[arg-type]
        *("Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear")
    ]
    assert {part.p for part in deep.modules() if isinstance(part, nn.Dropout)} == {0.4}
    assert full_spec("dropout_mlp", (3,), (5, 6)) == "dropout_mlp[256,2,60]"
    linear = build(ModelConfig("dropout_mlp[6,1,40]", (3,), 2))
    assert [tuple(weight.shape) for weight in linear.parameters()] == [(2, 3), (2,)]


def test_nodes_are_asked_by_number() -> None:
    module, _ = network()
    features = torch.rand(5, 3)
    asked = InGraph(module.eval(), features)
    whole = module(features)
    assert torch.equal(asked(torch.tensor([[4.0], [0.0]])), whole[[4, 0]])
    exact = InGraph(module, features).double()
    assert exact(torch.tensor([[2.0]], dtype=torch.float64)).dtype == torch.float64
