"""Every nonlinear operator: intervals and lines hold in random networks, and max pooling loses nothing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds import PairBounds
from understudy.bounds.crown import backward, crown_pass
from understudy.bounds.graph import Graph, Node, Relu, Smooth, evaluate
from understudy.bounds.interval import interval_bounds, interval_margins
from understudy.bounds.ops import Linear
from understudy.bounds.region import region
from understudy.bounds.smooth import KINDS
from understudy.bounds.trace import trace
from understudy.errors import InputError
from understudy.models.onnx import open_onnx

SHAPE = (1, 4, 4)
BALLS = [Ball(0.02), Ball(0.3), Ball(0.3, norm="l2"), Ball(3.0, low=-torch.inf, high=torch.inf)]


class Pooling(nn.Module):
    """Max pooling before and after a ReLU, with overlap, padding, dilation and a last window cut short."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 2, padding=1)
        self.head = nn.Linear(26, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.second(F.max_pool2d(F.relu(y), 3, 2, 1))
        wide = F.adaptive_max_pool2d(F.max_pool2d(z, (2, 1), 1, dilation=(2, 1)), (1, 3))
        line = F.max_pool1d(y.flatten(2), 5, 3, ceil_mode=True)
        return self.head(torch.cat([wide.flatten(1), line.flatten(1), y.amax((2, 3)), z.amin(2)[:, :, 0]], 1))


class Bent(nn.Module):
    """Leaky ReLUs and everything that cuts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 8), nn.Linear(40, 6), nn.Linear(6, 3)
        self.slopes = nn.PReLU(8)
        nn.init.uniform_(self.slopes.weight, -0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.flatten(1))
        parts = [F.leaky_relu(y, 0.2), self.slopes(y), F.relu6(4 * y), F.hardtanh(y), y.abs()]
        z = self.second(torch.cat(parts, 1))
        return self.head(F.hardsigmoid(z).clamp(max=0.7))


class Extremes(nn.Module):
    """Larger and smaller of two activations, or of one and constants."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(12, 3)
        self.register_buffer("limits", torch.linspace(-1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.first(x.flatten(1)), self.second(x.flatten(1))
        least, most = torch.minimum(y, z).split([3, 5], dim=1)
        two = torch.stack([torch.maximum(y, z), torch.maximum(y, self.limits)], 1)
        four = torch.min(two.max(dim=1)[0], self.limits)[:, 4:]
        return self.head(torch.cat([least, most, four], 1))


def smoothed(graph: Graph, kind: Any) -> Graph:
    """The network with a smooth function in place of each ReLU."""
    nodes = [
        Node(Smooth(kind), node.parents, node.shape, node.where) if isinstance(node.op, Relu) else node
        for node in graph.nodes
    ]
    return Graph(tuple(nodes), graph.dtype, graph.device)


@pytest.fixture(scope="module")
def networks(graphs) -> dict[str, Graph]:
    """By name; smooth ones as "kind architecture"."""
    torch.manual_seed(0)
    found = {build.__name__: trace(build(), SHAPE) for build in (Pooling, Bent, Extremes)}
    return found | {
        f"{kind} {name}": smoothed(graphs[name], kind)
        for kind in KINDS
        for name in ("plain", "convolutional", "residual")
    }


NAMES = ["Pooling", "Bent", "Extremes"] + [
    f"{kind} {name}" for kind in KINDS for name in ("plain", "convolutional", "residual")
]


def every_value(graph: Graph, x: Tensor) -> list[Tensor]:
    values = [x]
    for node in graph.nodes[1:]:
        values.append(evaluate(node.op, [values[i] for i in node.parents]))
    return values


@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold_everywhere(name: str, networks, tools) -> None:
    """Intervals of all nodes, margins, and lines, at samples, corners and the lines' own maximisers."""
    generator = torch.Generator().manual_seed(11)
    for trial, ball in enumerate(BALLS):
        graph = tools.with_weights(networks[name], generator, (1.0, 3.0, 2.0, 30.0)[trial])
        x = torch.rand(2, *SHAPE, generator=generator, dtype=torch.float64)
        if trial == 0:
            x = x.round()
        here = region(x, ball)
        loose, tight = interval_bounds(graph, here), crown_pass(graph, here)
        objectives = torch.randn(2, 4, tools.classes, generator=generator, dtype=torch.float64)
        lines, constant = backward(graph, tight.relaxations, len(graph.nodes) - 1, objectives, tight.sizes)
        top = here.maximum(lines, constant)
        best = here.middle[:, None] + here.radius[:, None] * lines.flatten(2).sign()
        samples = torch.stack([tools.corners(one, ball, 300, generator) for one in x], 1)
        points = [samples]
        if here.is_box:
            points.append(best.transpose(0, 1).unflatten(2, SHAPE))
        margins = interval_margins(graph, loose)
        for part in points:
            values = every_value(graph, part.flatten(0, 1))
            scale = max(1.0, float(values[-1].abs().max()))
            for position, value in enumerate(values):
                seen = value.unflatten(0, part.shape[:2])
                for low, high in (loose[position], tight.bounds[position]):
                    assert (seen >= low - 1e-11 * scale).all(), position
                    assert (seen <= high + 1e-11 * scale).all(), position
            logits = values[-1].unflatten(0, part.shape[:2])
            assert (logits[..., :, None] - logits[..., None, :] <= margins + 1e-11 * scale).all()
            truth = torch.einsum("nbc,brc->nbr", logits, objectives)
            bound = torch.einsum("nbi,bri->nbr", part.flatten(2), lines.flatten(2)) + constant
            assert (truth <= bound + 1e-10 * scale).all()
            assert (truth <= top + 1e-10 * scale).all()
        for (low, high), (wider_low, wider_high) in zip(tight.bounds, loose, strict=True):
            assert (low >= wider_low - 1e-10 * scale).all()
            assert (high <= wider_high + 1e-10 * scale).all()


@pytest.mark.parametrize("name", NAMES)
def test_small_balls_are_nearly_exact(name: str, networks, tools) -> None:
    """The lines are tangents in the end: what they leave vanishes faster than the radius."""
    generator = torch.Generator().manual_seed(12)
    graph = tools.with_weights(networks[name], generator, 1.0)
    x = torch.rand(1, *SHAPE, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    here = region(x, Ball(1e-6))
    rows = torch.eye(3).double()[None]
    done = crown_pass(graph, here)
    lines, constant = backward(graph, done.relaxations, len(graph.nodes) - 1, rows, done.sizes)
    found = (lines * x[:, None]).flatten(2).sum(2) + constant
    torch.testing.assert_close(found, graph(x), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["Pooling", "Bent", "gelu residual", "tanh plain", "silu convolutional"])
def test_no_attack_rises_above_a_pair(name: str, networks, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(13)
    for size in (1.0, 4.0):
        nets = (
            tools.with_weights(networks[name], generator, size),
            tools.with_weights(graphs["plain"], generator, size),
        )
        x = torch.rand(2, *SHAPE, generator=generator, dtype=torch.float64)
        for mode in ("ibp", "crown"):
            for i, one in enumerate(PairBounds(*nets, SHAPE, mode=mode).bound(x, Ball(0.1))):
                assert tools.attack(*nets, x[i], Ball(0.1), generator, count=64) <= one.upper + 1e-9


def test_intervals_of_pooling_are_exact() -> None:
    """Over a box the largest of independent coordinates ranges from the largest lower end to the largest upper."""
    for layer, shape in (
        (nn.MaxPool2d(3, 2, 1), (2, 5, 6)),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)), (2, 5, 6)),
        (nn.MaxPool2d(2, padding=1), (1, 4, 5)),
        (nn.MaxPool2d((2, 3), (3, 1), (1, 0), dilation=(1, 2), ceil_mode=True), (2, 7, 6)),
        (nn.AdaptiveMaxPool2d((3, 2)), (1, 5, 5)),
    ):
        graph = trace(nn.Sequential(layer, nn.Flatten()), shape)
        x = torch.randn(4, *shape, dtype=torch.float64)
        here = region(x, Ball(0.5, low=-torch.inf, high=torch.inf))
        low, high = interval_bounds(graph, here)[-1]
        ends = [layer(end).flatten(1) for end in here.box]
        torch.testing.assert_close(low, ends[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(high, ends[1], rtol=0, atol=1e-12)


def test_cuts_have_exact_intervals() -> None:
    x = torch.randn(4, 6, dtype=torch.float64) * 3
    here = region(x, Ball(1.0, low=-torch.inf, high=torch.inf))
    for layer in (nn.ReLU6(), nn.Hardtanh(-1.5, 0.5), nn.LeakyReLU(0.3), nn.Hardsigmoid()):
        low, high = interval_bounds(trace(layer, (6,)), here)[-1]
        torch.testing.assert_close(low, layer(here.box[0]), rtol=0, atol=1e-12)
        torch.testing.assert_close(high, layer(here.box[1]), rtol=0, atol=1e-12)


def test_kinds_of_nodes() -> None:
    """What is decomposed leaves ReLUs only; SiLU and GELU are known in the forms that exporters write."""

    class Written(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            gelu = 0.5 * x * (1 + torch.erf(x / 1.4142135))
            return gelu + torch.sigmoid(1.702 * x) * x + F.max_pool1d(x[:, None], 3, 1, 1)[:, 0]

    graph = trace(Written(), (6,))
    assert sorted(graph.nodes[i].op.kind for i in graph.activations if i not in graph.relus) == [
        "gelu",
        "silu",
    ]
    assert len(graph.relus) == 2
    assert set(graph.relus) < set(graph.activations)
    assert {graph.nodes[i].op.kind for i in graph.activations if graph.nodes[i].parents[0] in graph.bent} == {
        "gelu",
        "silu",
    }


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.ELU(), ["aten.elu", "(ELU)", "supported:", "max_pool2d", "gelu", "leaky_relu"]),
        (nn.Softplus(threshold=5.0), ["aten.softplus", "linear at 5"]),
        (nn.Threshold(0.1, 0.0), ["at most 0.1"]),
        (nn.Hardswish(), ["aten.hardswish", "not supported"]),
    ],
)
def test_refusals_name_operator_and_place(layer: nn.Module, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        trace(nn.Sequential(nn.Linear(4, 3), layer), (4,))
    for word in ["'1'", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: torch.sigmoid(x) * torch.tanh(x), "multiplies two activations"),
        (lambda x: x[:, :2] * torch.sigmoid(x[:, 2:]), "multiplies two activations"),
        (lambda x: F.pad(x, (1, 0), value=-torch.inf).clamp(min=0), "only max pooling can"),
        (lambda x: F.pad(x, (1, 0), value=torch.inf), "pads with inf"),
        (lambda x: x.amax(0), "reduces over the batch"),
        (lambda x: x - x.max(), "reduces over the batch"),
        (lambda x: torch.stack([x, x]), "joins along the batch's axis"),
        (lambda x: x.split(1)[0], "cuts the batch"),
    ],
)
def test_refused_functions(function: Any, words: str) -> None:
    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    with pytest.raises(InputError, match=words):
        trace(Function(), (4,))


def test_from_onnx(tmp_path: Path) -> None:
    """Each operator as it stands in ONNX files, side by side in one of them, against onnxruntime."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    make = onnx.helper.make_node
    nodes = [
        make("MaxPool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        make("MaxPool", ["x"], ["b"], kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        make("Sub", ["x", "half"], ["t"]),
        make("LeakyRelu", ["t"], ["c"], alpha=0.2),
        make("PRelu", ["t", "slope"], ["d"]),
        make("Sigmoid", ["t"], ["e"]),
        make("Tanh", ["t"], ["f"]),
        make("Gelu", ["t"], ["g"]),
        make("Gelu", ["t"], ["h"], approximate="tanh"),
        make("Div", ["t", "root"], ["e1"]),
        make("Erf", ["e1"], ["e2"]),
        make("Add", ["e2", "one"], ["e3"]),
        make("Mul", ["t", "e3"], ["e4"]),
        make("Mul", ["e4", "half"], ["i"]),
        make("Mul", ["t", "e"], ["j"]),
        make("Softplus", ["t"], ["k"]),
        make("Clip", ["t", "low", "half"], ["l"]),
        make("GlobalMaxPool", ["t"], ["m"]),
        make("ReduceMin", ["t", "axes"], ["n"]),
        make("Max", ["t", "e", "f"], ["o"]),
        make("Min", ["t", "low"], ["p"]),
        make("HardSigmoid", ["t"], ["q"]),
        make("Abs", ["t"], ["r"]),
        make("Concat", ["c", "d", "e", "f"], ["joined"], axis=1),
    ]
    outputs = [*"abghijklmnopqr", "joined"]
    nodes += [make("Flatten", [name], [f"{name}_flat"]) for name in outputs]
    nodes.append(make("Concat", [f"{name}_flat" for name in outputs], ["logits"], axis=1))
    constants = {
        "half": np.float32(0.5), "one": np.float32(1), "root": np.float32(2**0.5), "low": np.float32(-0.25),
        "slope": np.float32([[[0.1]], [[0.7]]]), "axes": np.int64([2, 3]),
    }  # fmt: skip
    shape = (2, 5, 6)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "test",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *shape])],
            [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", None])],
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=9,
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = trace(open_onnx(path, shape).module, shape)
    x = torch.rand(7, *shape, dtype=torch.float64)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = torch.from_numpy(session.run(None, {"x": x.float().numpy()})[0]).double()
    torch.testing.assert_close(graph(x), expected, rtol=0, atol=2e-5)
    here = region(x, Ball(0.2))
    low, high = interval_bounds(graph, here)[-1]
    for end in here.box:
        assert (graph(end) >= low - 1e-12).all()
        assert (graph(end) <= high + 1e-12).all()
    kinds = {node.op.kind for node in graph.nodes if isinstance(node.op, Smooth)}
    assert kinds == {"sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "softplus"}
    assert not any(isinstance(node.op, Linear) for node in graph.nodes)
