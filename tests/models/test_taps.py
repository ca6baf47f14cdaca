from __future__ import annotations

import gc
import weakref
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.taps import Tapped, resolve, resolve_all, shapes_of

PROBE = torch.rand(2, 1, 8, 8)


def _resnet() -> nn.Module:
    torch.manual_seed(0)
    return zoo.build(ModelConfig("resnet20", (1, 8, 8), 3)).eval()


def _hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in model.modules() for kind in kinds)


class Odd(nn.Module):
    """A model whose layers answer in every way: tuple, mapping, nothing to tap; one runs twice, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = _Returns(lambda x: (None, x + 1, x + 2))
        self.named = _Returns(lambda x: OrderedDict(first=x * 2, second=x))
        self.text = _Returns(lambda x: "text")
        self.relu = nn.ReLU()
        self.spare = nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        self.pair(x), self.named(x), self.text(x)
        return {"logits": self.relu(self.relu(x) - 0.5)}["logits"]


class _Returns(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(x)


def test_names_and_patterns() -> None:
    model = _resnet()
    assert resolve(model, "layer2") == "layer2"
    assert resolve(model, "layer2.1.relu2") == "layer2.1.relu2"
    assert resolve(model, "*3.2.bn2") == "layer3.2.bn2"
    assert resolve_all(model, "layer2.*.relu2") == [f"layer2.{i}.relu2" for i in range(3)]


def test_a_wrong_name_lists_what_exists_and_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        resolve(_resnet(), "layer2.1.relu3", PROBE)
    message = str(caught.value)
    assert "did you mean 'layer2.1.relu" in message
    assert "layer1 (2, 16, 8, 8)" in message
    assert "more" in message
    with pytest.raises(InputError, match="known: conv, bn"):
        resolve(_resnet(), "backbone")


def test_several_fitting_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"ambiguous, 3 fit: layer2.0.relu2 \(2, 32, 4, 4\), layer2.1"):
        resolve(_resnet(), "layer2.*.relu2", PROBE)


def test_shapes_of_leaves_the_model_alone() -> None:
    model = _resnet().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    shapes = shapes_of(model, PROBE)
    assert shapes["fc"] == (2, 3)
    assert shapes["layer3.0"] == (2, 64, 2, 2)
    assert model.training
    assert model.bn.training
    assert _hooks(model) == 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert shapes_of(model, None) == {}


def test_features_are_those_of_the_layer() -> None:
    model = _resnet()
    x = PROBE.clone().requires_grad_()
    with Tapped(model, {"stem": "relu", "mid": "layer2.2", "same": "layer2.2.relu2"}) as look:
        logits, features = look(x)
    stem = model.relu(model.bn(model.conv(x)))
    assert torch.equal(features["stem"], stem)
    assert torch.equal(features["mid"], model.layer2(model.layer1(stem)))
    assert features["mid"] is features["same"]
    assert torch.equal(logits, model(x))
    (gradient,) = torch.autograd.grad(features["mid"].sum(), x)  # features keep their graph
    assert gradient.abs().sum() > 0


def test_no_hook_stays() -> None:
    model = _resnet()
    tapped = Tapped(model, {"mid": "layer2"})
    assert _hooks(model) == 0
    with tapped:
        assert _hooks(model) == 1
        tapped(PROBE)
    assert _hooks(model) == 0
    with pytest.raises(ZeroDivisionError), tapped:
        1 / 0  # noqa: B018
    assert _hooks(model) == 0
    with pytest.raises(RuntimeError), tapped:
        tapped(torch.rand(2, 5, 8, 8))  # the model itself raises
    assert _hooks(model) == 0
    with tapped:  # and it can be used again
        assert torch.equal(tapped(PROBE)[0], model(PROBE))
    assert _hooks(model) == 0


def test_hooks_of_others_stay() -> None:
    model = _resnet()
    model.layer2.register_forward_hook(lambda *_: None)
    with Tapped(model, {"mid": "layer2"}) as look:
        look(PROBE)
    assert _hooks(model) == 1


def test_nothing_is_held_after_the_pass() -> None:
    with Tapped(_resnet(), {"mid": "layer2"}) as look:
        feature = weakref.ref(look(PROBE)[1]["mid"])
        gc.collect()
        assert feature() is None


def test_use_outside_the_block_or_twice_is_refused() -> None:
    tapped = Tapped(_resnet(), {"mid": "layer2"})
    with pytest.raises(InputError, match="only inside the block"):
        tapped(PROBE)
    with tapped, pytest.raises(InputError, match="in use already"), tapped:
        pass
    assert _hooks(tapped.model) == 0


def test_tuples_mappings_and_layers_that_run_twice() -> None:
    x = torch.randn(2, 3)
    with Tapped(Odd(), {"pair": "pair", "named": "named", "relu": "relu"}) as look:
        logits, features = look(x)
    assert torch.equal(features["pair"], x + 1)
    assert torch.equal(features["named"], x * 2)
    assert torch.equal(features["relu"], logits)  # the last of the two runs


def test_layers_without_a_tensor_and_layers_that_do_not_run() -> None:
    x = torch.randn(2, 3)
    for layer, says in (
        ("text", "gives no tensor to tap, but str"),
        ("spare", r"did not run .*'a' \(spare\)"),
    ):
        model = Odd()
        with pytest.raises(InputError, match=says), Tapped(model, {"a": layer}) as look:
            look(x)
        assert _hooks(model) == 0


def test_a_transformers_output() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=3,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    with Tapped(model, {"tokens": "vit"}) as look:
        logits, features = look(PROBE)
    assert torch.equal(logits, model(PROBE).logits)
    assert features["tokens"].shape == (2, 5, 8)  # last_hidden_state: class token and four patches


@pytest.fixture
def fresh_dynamo() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("spec", ["cnn", "resnet8"])
def test_taps_stay_fresh_under_compile(spec: str) -> None:
    torch.manual_seed(0)
    model = zoo.build(ModelConfig(spec, (1, 8, 8), 3, (0.5,), (0.5,))).eval()
    layer = {"cnn": "body.3", "resnet8": "body.layer2"}[spec]
    tapped = Tapped(model, {"mid": layer})
    with tapped:
        compiled = torch.compile(tapped, fullgraph=True, backend="aot_eager")
        for step in range(3):
            x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(step)).requires_grad_()
            logits, features = compiled(x)
            expected, reference = tapped(x)
            torch.testing.assert_close(logits, expected)
            torch.testing.assert_close(features["mid"], reference["mid"])
            found, wanted = (
                torch.autograd.grad(part["mid"].square().sum(), x)[0] for part in (features, reference)
            )
            torch.testing.assert_close(found, wanted)
    assert _hooks(model) == 0
    with pytest.raises(torch._dynamo.exc.Unsupported, match="only inside the block"):
        compiled(PROBE)  # a full graph cannot raise: the compiler passes our message on
    with tapped:  # the second use of the compiled module sees the new hooks
        logits, features = compiled(PROBE)
        torch.testing.assert_close(features["mid"], tapped(PROBE)[1]["mid"])


@pytest.mark.usefixtures("fresh_dynamo")
def test_a_model_compiled_before_it_was_tapped_is_refused() -> None:
    """The compiler does not look for new hooks: a stale or absent feature must not pass for one."""
    compiled = torch.compile(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), backend="eager")
    compiled(torch.zeros(2, 3))
    with Tapped(compiled, {"a": "*.0"}) as look, pytest.raises(InputError, match="then compile the Tapped"):
        look(torch.zeros(2, 3))
