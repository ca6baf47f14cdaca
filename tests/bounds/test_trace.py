"""The traced graph computes what the module computes, refuses what it cannot bound, and touches nothing."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds.trace import trace
from understudy.errors import InputError


class Function(nn.Module):
    """A function of one tensor, with a matrix and a vector to use."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.matrix, self.vector = nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.rand(5) + 0.5)
        self.register_buffer("image", torch.rand(3, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def flat(y: Tensor) -> Tensor:
    return y.flatten(1)


FLAT = {
    "addmm": lambda m, x: torch.addmm(m.vector, x, m.matrix.t(), beta=0.5, alpha=2.0),
    "mm": lambda m, x: torch.mm(x, m.matrix),
    "matmul and bias": lambda m, x: x @ m.matrix.T + m.vector,
    "folded constants": lambda m, x: x * (m.vector.exp() + m.matrix.sum(0)) - m.vector.square(),
    "constant first": lambda m, x: 1 - x + m.vector,
    "constant over batch": lambda m, x: (
        torch.zeros_like(x) + 2 * x - torch.ones(x.shape[0], 5, dtype=x.dtype)
    ),
    "division": lambda m, x: x / m.vector / 2,
    "residual with factors": lambda m, x: torch.sub(x, F.relu(x @ m.matrix), alpha=0.5) - x / 2,
    "mean as activation": lambda m, x: x - x.mean(1, keepdim=True),
    "sum": lambda m, x: x * m.vector + x.sum(-1, keepdim=True),
    "clamp": lambda m, x: (x - 0.5).clamp(min=0) + torch.clamp_min(0.5 - x, 0),
    "concatenation": lambda m, x: torch.cat([x[:, 1:], torch.ones(x.shape[0], 2, dtype=x.dtype), -x], dim=1),
    "select and stack": lambda m, x: x[:, 2].unsqueeze(1).expand(-1, 4),
    "in place": lambda m, x: (x @ m.matrix).relu_().add_(1),
    "negation": lambda m, x: -x,
    "leaky": lambda m, x: F.leaky_relu(x, 0.3) + F.leaky_relu(x, -0.5) + F.prelu(x, m.vector),
    "cuts": lambda m, x: F.relu6(5 * x) + F.hardtanh(x) + F.hardsigmoid(x) + x.abs() + x.clamp(-0.1, 0.2),
    "constant cuts": lambda m, x: x.clamp(max=0.3) + torch.maximum(x, m.vector) + torch.min(m.vector, x),
    "smooth": lambda m, x: x.sigmoid() + x.tanh() + F.gelu(x) + F.gelu(x, approximate="tanh") + torch.erf(x),
    "gates": lambda m, x: F.silu(x) + x * torch.sigmoid(2 * x) + F.softplus(x, beta=3.0),
    "written gelu": lambda m, x: 0.5 * x * (1 + torch.erf(x / 1.4142)) + (3 * x) * (torch.erf(-x) * 2 + 2),
    "two": lambda m, x: torch.maximum(x, -x) - torch.min(x, x @ m.matrix) + x.amax(1, keepdim=True),
    "places": lambda m, x: x.max(dim=1, keepdim=True)[0] - x.min(1, keepdim=True)[0],
    "split": lambda m, x: torch.cat([*x.split([2, 3], 1), *x.split(2, dim=1), *x.chunk(2, 1)], 1),
    "stack": lambda m, x: torch.stack([x, torch.ones_like(x), -x], 2).flatten(1),
}
IMAGE = {
    "stride and dilation": lambda m, x: flat(
        F.conv2d(x, m.matrix[:2, :3, None, None].expand(2, 3, 2, 2), stride=(2, 1), dilation=(1, 2))
    ),
    "groups": lambda m, x: flat(F.conv2d(x, m.matrix[:3, :4].reshape(3, 1, 2, 2), m.vector[:3], groups=3)),
    "same padding": lambda m, x: flat(
        F.conv2d(x, m.matrix[:, :3, None, None].expand(5, 3, 2, 4), padding="same")
    ),
    "average pooling": lambda m, x: flat(F.avg_pool2d(x, 2, ceil_mode=True)),
    "padded pooling": lambda m, x: flat(
        F.avg_pool2d(x, (3, 2), stride=(2, 1), padding=1, count_include_pad=False)
    ),
    "pooling with divisor": lambda m, x: flat(F.avg_pool2d(x, 3, divisor_override=5)),
    "adaptive pooling": lambda m, x: flat(F.adaptive_avg_pool2d(x, (3, 2))),
    "spatial mean": lambda m, x: x.mean(dim=(-1, -2)),
    "normalisation": lambda m, x: flat((x - m.image) / m.image),
    "permutation": lambda m, x: flat(x.permute(0, 2, 3, 1).transpose(1, 2) * m.vector[:3]),
    "padding": lambda m, x: flat(F.pad(x, (1, 0, 2, -1), value=0.3)),
    "slices": lambda m, x: flat(x[:, 1:, ::2, :-1]),
    "reshape": lambda m, x: x.reshape(x.shape[0], 3, -1).sum(2).squeeze(),
    "max pooling": lambda m, x: flat(F.max_pool2d(x, 2)),
    "overlap": lambda m, x: flat(F.max_pool2d(x, 3, 2, 1)) + flat(F.max_pool2d(F.relu(x), 3, 2, 1)),
    "dilated": lambda m, x: flat(F.max_pool2d(x, (2, 3), (1, 2), (1, 1), dilation=(2, 1), ceil_mode=True)),
    "padded twice": lambda m, x: flat(F.max_pool2d(F.relu(x), 2, 2, 1, ceil_mode=True)),
    "adaptive maximum": lambda m, x: flat(F.adaptive_max_pool2d(x, (2, 3))),
    "one axis": lambda m, x: flat(F.max_pool1d(x.flatten(2), 4, 3, 2)),
    "walls": lambda m, x: flat(F.max_pool2d(F.pad(x, (0, 1, 2, 0), value=-torch.inf), 3, 2)),
    "global maximum": lambda m, x: x.amax((2, 3)) + x.amin(dim=(1, 2))[:, :3],
    "prelu": lambda m, x: flat(F.prelu(x, m.vector[:3])),
}


class Together(nn.Module):
    """Several functions of one input side by side: one export for all of them."""

    def __init__(self, functions: dict) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Function(function) for function in functions.values())

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1)


def assert_agree(module: nn.Module, shape: tuple[int, ...]) -> None:
    module = module.double().eval()
    graph = trace(module, shape)
    x = torch.randn(7, *shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(graph(x), module(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("functions", "shape"), [(FLAT, (5,)), (IMAGE, (3, 5, 4))], ids=["flat", "image"])
def test_operators(functions: dict, shape: tuple[int, ...]) -> None:
    module = Together(functions).double()
    graph = trace(module, shape)
    x = torch.randn(7, *shape, dtype=torch.float64)
    found = graph(x)
    with torch.no_grad():
        for name, part in zip(functions, module.parts, strict=True):
            expected = part(x)
            mine, found = found.split([expected.shape[1], found.shape[1] - expected.shape[1]], dim=1)
            torch.testing.assert_close(
                mine, expected, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_architectures(tools) -> None:
    for build in tools.architectures.values():
        module = build()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):  # statistics that are not the initial ones
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
                nn.init.normal_(layer.weight)
        assert_agree(module, tools.shape)


def test_broadcast_of_a_grey_image() -> None:
    assert_agree(Function(lambda m, x: flat(x - m.image)), (1, 2, 2))


def test_module_is_untouched() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    before = copy.deepcopy(module.state_dict())
    graph = trace(module, (4,))
    assert module.training
    assert module[0].weight.requires_grad
    assert module[0].weight.dtype == torch.float32
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    graph.nodes[1].op.weight.zero_()
    assert module[0].weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ELU())), ["aten.elu", "'1.0' (ELU)", "conv2d", "linear"]),
        (nn.LSTM(4, 3), ["aten.lstm", "LSTM"]),
        (Function(lambda m, x: torch.sin(x)), ["aten.sin", "the module itself (Function)", "relu"]),
        (Function(lambda m, x: x * x), ["aten.mul", "two activations"]),
        (Function(lambda m, x: m.vector[:4] / x), ["numerator is a constant"]),
        (Function(lambda m, x: m.matrix[:3, :3] @ x), ["left factor is a constant"]),
        (Function(lambda m, x: x - x.mean(0)), ["aten.mean", "reduces over the batch"]),
        (Function(lambda m, x: x.clamp(1, 0)), ["least value, 1, is not below its largest, 0"]),
        (nn.Flatten(0), ["moves the batch's axis"]),
        (Function(lambda m, x: x.t().reshape(-1, 4)), ["moves the batch's axis"]),
        (Function(lambda m, x: torch.cat([x, x])), ["batch's axis"]),
        (Function(lambda m, x: x[:2]), ["cuts the batch"]),
        (nn.Unflatten(1, (2, 2)), ["must return logits", "(2, 2)"]),
        (Function(lambda m, x: (x, x)), ["one tensor of logits", "2 outputs"]),
        (Function(lambda m, x: m.vector.expand(x.shape[0], 5)), ["does not depend on its input"]),
        (nn.Linear(7, 2), ["Linear fails on inputs of shape (3, 4)", "RuntimeError"]),
        (Function(lambda m, x: x if x.sum() > 0 else -x), ["cannot be traced"]),
        (Function(lambda m, x: x * x.shape[0]), ["not a fixed function of one example"]),
    ],
)  # fmt: skip
def test_refusals(module: nn.Module, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        trace(module, (4,))
    for word in words:
        assert word in str(caught.value)


def test_random_layers_are_refused() -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, 0.5, training=True)

    with pytest.raises(InputError, match=r"Noise|dropout|native_dropout"):
        trace(Noise(), (4,))
