"""Differences of networks of one structure: bounds hold at samples, are exact where they must be, and tight."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds.crown import crown_pass
from understudy.bounds.graph import Graph, Node, Relu, Smooth, evaluate
from understudy.bounds.pair import crown_gaps
from understudy.bounds.region import region
from understudy.bounds.shared import (
    Shared,
    difference_bounds,
    logit_differences,
    matches,
    odds_gaps,
    rival_gap,
    shared_pass,
)
from understudy.bounds.shared.planes import Hexagon, close, relax_pair
from understudy.bounds.shared.slopes import slope_range
from understudy.bounds.smooth import KINDS, SLOPES
from understudy.bounds.trace import trace
from understudy.errors import InputError

NAMES = ("linear", "plain", "convolutional", "residual")
BALLS = [Ball(0.02), Ball(0.3), Ball(0.4, norm="l2")]
SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(os.environ.get("UNDERSTUDY_DATA", SHARED / "data"))


def changed(graph: Graph, generator: torch.Generator, size: float) -> Graph:
    """The same operations with weights moved by normal noise of a relative size."""
    nodes = []
    for node in graph.nodes:
        op = node.op
        if hasattr(op, "weight") or (hasattr(op, "scale") and op.scale.numel() > 1):
            name = "weight" if hasattr(op, "weight") else "scale"
            values = {field: getattr(op, field) for field in op.__dataclass_fields__}
            for field in (name, "bias"):
                old = values[field]
                if old is not None:
                    noise = torch.randn(old.shape, generator=generator, dtype=old.dtype)
                    values[field] = old + size * old.std(correction=0) * noise
            op = type(op)(**values)
        nodes.append(Node(op, node.parents, node.shape, node.where))
    return Graph(tuple(nodes), graph.dtype, graph.device)


def run(teacher: Graph, student: Graph, x: Tensor, ball: Ball) -> Shared:
    here = region(x, ball)
    return shared_pass(crown_pass(teacher, here), crown_pass(student, here), here)


def every_value(graph: Graph, x: Tensor) -> list[Tensor]:
    values = [x]
    for node in graph.nodes[1:]:
        values.append(evaluate(node.op, [values[i] for i in node.parents]))
    return values


def ascended(teacher: Graph, student: Graph, x: Tensor, ball: Ball, generator: torch.Generator) -> Tensor:
    """Points of one ball: samples, corners, and for every pair of classes an ascent of the difference."""
    classes = teacher.classes
    points = [tools_corners(x, ball, 200, generator)]
    for j, k in itertools.permutations(range(classes), 2):
        found = tools_corners(x, ball, 8, generator)
        for step in (1.0, 0.5, 0.2):
            found = found.detach().requires_grad_()
            rows = student(found) - teacher(found)
            (gradient,) = torch.autograd.grad((rows[:, j] - rows[:, k]).sum(), found)
            moved = ball.step(found.detach(), gradient, step * ball.eps)
            found = ball.project(moved, x[None].expand_as(found))
            points.append(found)
    return torch.cat(points)


def tools_corners(x: Tensor, ball: Ball, count: int, generator: torch.Generator) -> Tensor:
    low, high = ball.box(x)
    uniform = torch.rand(count, *x.shape, generator=generator, dtype=x.dtype)
    uniform[::2] = uniform[::2].round()
    points = low + uniform * (high - low)
    return points if ball.norm == "linf" else ball.project(points, x[None].expand_as(points))


def check_holds(shared: Shared, bounds: Tensor, x: Tensor, ball: Ball, generator: torch.Generator) -> None:
    """Every interval and every bound of a margin's difference holds at every point tried."""
    teacher, student = shared.twin.teacher, shared.twin.student
    for i in range(len(x)):
        points = ascended(teacher, student, x[i], ball, generator)
        ours, theirs = every_value(teacher, points), every_value(student, points)
        for position, one in shared.relaxations.items():
            before = teacher.nodes[position].parents[0]
            for value, (low, high) in zip(
                (ours[before], theirs[before], theirs[before] - ours[before]), one.hexagon, strict=True
            ):
                slack = 1e-12 * (1 + value.abs().max())
                assert (value >= low[i] - slack).all(), position
                assert (value <= high[i] + slack).all(), position
        difference = theirs[-1] - ours[-1]
        margins = difference[:, :, None] - difference[:, None, :]
        assert (margins <= bounds[i] + 1e-12 * (1 + difference.abs().max())).all()
        gaps = (ours[-1].softmax(1) - theirs[-1].softmax(1)).abs()
        own = [z[:, :, None] - z[:, None, :] for z in (ours[-1], theirs[-1])]
        # ranges as tight as the points allow: the formula alone is tested here
        most = odds_gaps(*(z.amax(0)[None] for z in own), margins.amax(0)[None])
        assert (gaps <= most + 1e-12).all()


CASES = {
    "name": st.sampled_from(NAMES),
    "seed": st.integers(0, 10**6),
    "size": st.sampled_from([0.3, 1.0, 3.0]),
    "noise": st.sampled_from([0.0, 1e-6, 0.01, 0.1, 1.0, 3.0]),
    "ball": st.sampled_from([*BALLS, Ball(1e-9), Ball(1.0)]),
}


@settings(max_examples=12, deadline=None, derandomize=True)
@given(**CASES)
def test_random_networks(graphs, tools, name, seed, size, noise, ball) -> None:
    check_network(graphs, tools, name, seed, size, noise, ball)


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(**CASES)
def test_many_random_networks(graphs, tools, name, seed, size, noise, ball) -> None:
    check_network(graphs, tools, name, seed, size, noise, ball)


def check_network(graphs, tools, name, seed, size, noise, ball) -> None:
    generator = torch.Generator().manual_seed(seed)
    teacher = tools.with_weights(graphs[name], generator, size)
    student = changed(teacher, generator, noise)
    x = torch.rand(2, *tools.shape, generator=generator, dtype=torch.float64)
    x[0] = x[0].round()  # the range cuts the ball
    shared = run(teacher, student, x, ball)
    check_holds(shared, logit_differences(shared), x, ball, generator)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ball", [*BALLS, Ball(1.0)], ids=str)
def test_a_network_against_its_copy_is_zero(name: str, ball: Ball, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(3)
    teacher = tools.with_weights(graphs[name], generator, 3.0)
    x = torch.rand(3, *tools.shape, generator=generator, dtype=torch.float64)
    here = region(x, ball)
    passes = crown_pass(teacher, here), crown_pass(changed(teacher, generator, 0.0), here)
    bounds = difference_bounds(*passes, here)
    assert bounds.min() >= 0
    assert bounds.max() <= 1e-9
    differences = crown_gaps(*passes, here).differences
    assert odds_gaps(differences.teacher, differences.student, bounds).max() <= 1e-9


@pytest.mark.parametrize("name", ["plain", "convolutional", "residual"])
def test_near_copies_are_bounded_tighter_than_apart(name: str, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(4)
    teacher = tools.with_weights(graphs[name], generator, 1.0)
    student = changed(teacher, generator, 0.02)
    x = torch.rand(4, *tools.shape, generator=generator, dtype=torch.float64)
    here = region(x, Ball(0.2))
    passes = crown_pass(teacher, here), crown_pass(student, here)
    apart, together = crown_gaps(*passes, here).differences.between, difference_bounds(*passes, here)
    other = ~torch.eye(teacher.classes, dtype=torch.bool)
    assert together[:, other].mean() < 0.5 * apart[:, other].mean()


def test_bounds_do_not_depend_on_the_batch_or_the_budget(graphs, tools, monkeypatch) -> None:
    generator = torch.Generator().manual_seed(9)
    teacher = tools.with_weights(graphs["convolutional"], generator, 1.0)
    student = changed(teacher, generator, 0.1)
    x = torch.rand(3, *tools.shape, generator=generator, dtype=torch.float64)
    whole = logit_differences(run(teacher, student, x, Ball(0.1)))
    monkeypatch.setattr("understudy.bounds.crown.ROWS_BUDGET", 4000)
    for i in range(3):
        alone = logit_differences(run(teacher, student, x[i : i + 1], Ball(0.1)))
        assert torch.allclose(alone[0], whole[i], rtol=1e-9, atol=1e-12)


def test_rounding_is_covered(graphs, tools) -> None:
    """Against the exact maximum in rationals, where a linear network attains the bound."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        teacher = tools.with_weights(graphs["linear"], generator, 1e6)
        student = changed(teacher, generator, 1e-9)
        x = torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64)
        bound = float(logit_differences(run(teacher, student, x, Ball(0.1)))[0, 0, 1])
        low, high = (side.flatten().tolist() for side in Ball(0.1).box(x))
        ours, theirs = teacher.nodes[-1].op, student.nodes[-1].op
        total = sum(
            sign * (Fraction(float(theirs.bias[j])) - Fraction(float(ours.bias[j])))
            for sign, j in ((1, 0), (-1, 1))
        )
        for i in range(len(low)):
            s, t = (
                Fraction(float(op.weight[0, i])) - Fraction(float(op.weight[1, i])) for op in (theirs, ours)
            )
            total += max((s - t) * Fraction(low[i]), (s - t) * Fraction(high[i]))
        assert Fraction(bound) >= total
        assert bound - float(total) <= 1e-6  # of weights near 1e6: about 1e-12 of their size


def test_parts_of_a_ball(graphs, tools) -> None:
    """A split of one neuron: both parts hold on their points, and are at least as tight as the whole."""
    generator = torch.Generator().manual_seed(12)
    teacher = tools.with_weights(graphs["plain"], generator, 1.0)
    student = changed(teacher, generator, 0.05)
    x, ball = torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64), Ball(0.3)
    whole = run(teacher, student, x, ball)
    bounds = logit_differences(whole)
    position = teacher.relus[0]
    neuron = int(
        torch.minimum(
            -whole.relaxations[position].hexagon.x[0], whole.relaxations[position].hexagon.x[1]
        ).argmax()
    )
    index = torch.zeros(2, dtype=torch.long)
    intervals = [
        {
            i: tuple(side[index].clone() for side in getattr(one.hexagon, net))
            for i, one in whole.relaxations.items()
        }
        for net in ("x", "y")
    ]
    intervals[0][position][1][0, neuron] = 0.0  # off
    intervals[0][position][0][1, neuron] = 0.0  # on
    parts = whole.narrow(index, *intervals)
    narrowed = logit_differences(parts)
    assert (narrowed <= bounds + 0.05).all()
    assert narrowed.sum() < 2 * bounds.sum()
    # the student's neuron follows the teacher's
    assert (
        parts.relaxations[position].hexagon.y[1][0, neuron]
        < whole.relaxations[position].hexagon.y[1][0, neuron]
    )
    points = ascended(teacher, student, x[0], ball, generator)
    side = (every_value(teacher, points)[position - 1][:, neuron] >= 0).long()
    difference = student(points) - teacher(points)
    assert (difference[:, :, None] - difference[:, None, :] <= narrowed[side] + 1e-12).all()


def test_rows_on_both_networks(graphs, tools) -> None:
    generator = torch.Generator().manual_seed(13)
    teacher = tools.with_weights(graphs["residual"], generator, 1.0)
    student = changed(teacher, generator, 0.1)
    x, ball = torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64), Ball(0.2)
    shared = run(teacher, student, x, ball)
    on_s, on_t = torch.randn(2, 1, 5, teacher.classes, generator=generator, dtype=torch.float64)
    top = shared.maximum(on_s, on_s + on_t)
    points = ascended(teacher, student, x[0], ball, generator)
    assert (student(points) @ on_s[0].T + teacher(points) @ on_t[0].T <= top + 1e-12).all()


def test_deadline(graphs, tools) -> None:
    generator = torch.Generator().manual_seed(14)
    teacher = tools.with_weights(graphs["plain"], generator, 1.0)
    student = changed(teacher, generator, 0.05)
    x = torch.rand(2, *tools.shape, generator=generator, dtype=torch.float64)
    here = region(x, Ball(0.2))
    passes = crown_pass(teacher, here), crown_pass(student, here)
    late = shared_pass(*passes, here, deadline=0.0)
    assert not late.complete
    assert shared_pass(*passes, here).complete
    bounds = logit_differences(late)
    assert bounds.sum() > difference_bounds(*passes, here).sum()
    check_holds(late, bounds, x, Ball(0.2), generator)


def test_matches(graphs, tools) -> None:
    generator = torch.Generator().manual_seed(15)
    for name, graph in graphs.items():
        assert matches(graph, tools.with_weights(graph, generator, 1.0)), name
        assert [other for other in graphs if matches(graph, graphs[other])] == [name]
    assert not matches(graphs["plain"], trace(tools.architectures["plain"](), tools.shape, torch.float32))

    def net(activation: nn.Module, width: int = 5, stride: int = 1) -> Graph:
        conv = nn.Conv2d(1, 2, 2, stride=stride)
        size = 2 * ((4 - 2) // stride + 1) ** 2
        return trace(nn.Sequential(conv, activation, nn.Flatten(), nn.Linear(size, width)), tools.shape)

    same = net(nn.Sigmoid())
    assert matches(same, net(nn.Sigmoid()))
    for other in (net(nn.Tanh()), net(nn.Sigmoid(), width=4), net(nn.Sigmoid(), stride=2)):
        assert not matches(same, other)
    here = region(torch.zeros(1, *tools.shape).double(), Ball(0.1))
    passes = (crown_pass(graphs[name], here) for name in ("plain", "linear"))
    with pytest.raises(InputError, match="same layers"):
        difference_bounds(*passes, here)


def random_hexagon(generator: torch.Generator, count: int, scale: float) -> Hexagon:
    ends = torch.randn(3, 2, count, generator=generator, dtype=torch.float64)
    ends[2] *= scale
    x, y, d = ends.sort(1).values
    return Hexagon((x[0], x[1]), (y[0], y[1]), (d[0], d[1]))


@pytest.mark.parametrize("scale", [1e-14, 0.3, 10.0])
@pytest.mark.parametrize("kind", ["relu", *KINDS])
def test_planes(kind: str, scale: float) -> None:
    """Both planes hold on points of random hexagons; empty ones have none to hold on."""
    generator = torch.Generator().manual_seed(16)
    op = Relu() if kind == "relu" else Smooth(kind)
    size = 1.0 if kind == "relu" else 5.0
    given_ = Hexagon(*((low * size, high * size) for low, high in random_hexagon(generator, 4000, scale)))
    relaxed = relax_pair(op, given_)
    tried = 0
    for _ in range(30):
        share = torch.rand(2, 4000, generator=generator, dtype=torch.float64)
        share = torch.where(share < 0.2, 0.0, torch.where(share > 0.8, 1.0, share))
        x = given_.x[0] + share[0] * (given_.x[1] - given_.x[0])
        low, high = torch.maximum(given_.y[0], x + given_.d[0]), torch.minimum(given_.y[1], x + given_.d[1])
        y = low + share[1] * (high - low)
        fits = low <= high
        tried += int(fits.sum())
        gain, d = evaluate(op, [y]) - evaluate(op, [x]), y - x
        top, bottom = (p.along * d + p.across * x + p.intercept for p in (relaxed.above, relaxed.below))
        assert (gain <= top + 1e-13)[fits].all()
        assert (gain >= bottom - 1e-13)[fits].all()
        for value, (least, most) in zip((x, y, d), close(given_), strict=True):
            assert (value >= least - 1e-14)[fits].all()
            assert (value <= most + 1e-14)[fits].all()
    assert tried > 1000


def test_planes_are_exact_where_the_signs_are_known() -> None:
    def planes(x: tuple[float, float], y: tuple[float, float], d: tuple[float, float]):
        ends = (tuple(torch.tensor([end], dtype=torch.float64) for end in pair) for pair in (x, y, d))
        return relax_pair(Relu(), Hexagon(*ends))

    for x, y, d, along, across in (
        ((0.5, 2.0), (0.1, 1.0), (-3.0, 3.0), 1.0, 0.0),  # both on: y - x
        ((-2.0, -0.5), (-1.0, -0.1), (-3.0, 3.0), 0.0, 0.0),  # both off: 0
        ((0.5, 2.0), (-1.0, -0.1), (-3.0, 3.0), 0.0, -1.0),  # the teacher's on alone: -x
        ((-2.0, -0.5), (0.1, 1.0), (-3.0, 3.0), 1.0, 1.0),  # the student's on alone: y
    ):
        found = planes(x, y, d)
        for plane in (found.above, found.below):
            assert (float(plane.along), float(plane.across)) == (along, across)
            assert abs(float(plane.intercept)) <= 1e-13
    # a small step anywhere: never more than the step, in the middle half of it
    near = planes((-1.0, 1.0), (-1.0, 1.0), (-0.01, 0.01))
    assert float(near.above.intercept) == pytest.approx(0.005, abs=1e-12)
    unknown = planes((-1.0, float("nan")), (-1.0, 1.0), (-0.1, 0.1))
    assert unknown.above.intercept.isnan().all()
    assert unknown.below.intercept.isnan().all()


@pytest.mark.parametrize("kind", KINDS)
def test_slope_ranges(kind: str) -> None:
    generator = torch.Generator().manual_seed(17)
    low, high = (6 * torch.randn(2, 2000, generator=generator, dtype=torch.float64)).sort(0).values
    least, most = slope_range(kind, low, high)
    share = torch.linspace(0, 1, 401, dtype=torch.float64)[:, None]
    seen = SLOPES[kind](low + share * (high - low))
    assert (seen >= least).all()
    assert (seen <= most).all()
    assert (seen.amin(0) - least).max() <= 0.02
    assert (most - seen.amax(0)).max() <= 0.02


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.Softplus, nn.LeakyReLU])
def test_other_activations(activation: type[nn.Module], tools) -> None:
    torch.manual_seed(18)
    layers = [nn.Conv2d(1, 2, 2), activation(), nn.Flatten(), nn.Linear(18, 6), activation(), nn.Linear(6, 3)]
    teacher = trace(nn.Sequential(*layers), tools.shape)
    generator = torch.Generator().manual_seed(18)
    student = changed(teacher, generator, 0.02)
    x, ball = torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64), Ball(0.3)
    shared = run(teacher, student, x, ball)
    bounds = logit_differences(shared)
    check_holds(shared, bounds, x, ball, generator)
    here = region(x, ball)
    passes = crown_pass(teacher, here), crown_pass(student, here)
    assert bounds.mean() < crown_gaps(*passes, here).differences.between.mean()
    assert difference_bounds(passes[0], passes[0], here).max() <= 1e-8


def test_many_classes(tools) -> None:
    torch.manual_seed(19)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 20))
    teacher, generator = trace(net, tools.shape), torch.Generator().manual_seed(19)
    student = changed(teacher, generator, 0.05)
    x, ball = torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64), Ball(0.1)
    shared = run(teacher, student, x, ball)
    loose = logit_differences(shared)
    pairs = torch.tensor([[0, 1], [5, 2]])
    tight = logit_differences(shared, pairs)
    assert (tight[:, pairs[:, 0], pairs[:, 1]] <= loose[:, pairs[:, 0], pairs[:, 1]] + 1e-12).all()
    assert tight.isinf().sum() == 20 * 19 - 2
    points = tools_corners(x[0], ball, 4000, generator)
    difference = student(points) - teacher(points)
    margins = difference[:, :, None] - difference[:, None, :]
    assert (margins <= loose + 1e-12).all()
    assert (margins <= tight + 1e-12).all()


def grids(low: Tensor, high: Tensor, count: int) -> Iterator[Tensor]:
    """All points of a grid over each interval (c,), rival by rival."""
    axes = [
        torch.linspace(float(a), float(b), count, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    ]
    yield from torch.cartesian_prod(*axes).split(10_000)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([0.1, 1.0, 5.0, 30.0]),
    near=st.sampled_from([0.01, 0.3, 3.0]),
)
def test_rival_gaps_against_a_grid(seed: int, size: float, near: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    ends = size * torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
    low, high = ends[0].sort(0).values
    bottom, ceiling = ends[1].sort(0).values
    between = near * torch.randn(2, generator=generator, dtype=torch.float64)
    bound = float(rival_gap((low, high), (bottom, ceiling), between))
    best = -1.0
    for a in grids(low, high, 60):
        # the lowered network's margins as high as they may be
        b = torch.minimum(ceiling, a + between)
        fits = (b >= bottom).all(1)
        gap = 1 / (1 + a.exp().sum(1)) - 1 / (1 + b.exp().sum(1))
        best = max([best, *gap[fits].tolist()])
    assert best <= bound
    assert bound <= 1


def test_rival_gaps_at_the_edges() -> None:
    wide = torch.full((9,), 900.0, dtype=torch.float64)
    one = torch.ones(9, dtype=torch.float64)
    nan = one * torch.nan
    assert rival_gap((-wide, wide), (-wide, wide), 0 * one) <= 1e-9  # e^900 overflows, equal is equal
    assert rival_gap((-wide, wide), (-wide, wide), wide) >= 0.999
    assert rival_gap((-one, one), (-one, one), nan) == 1.0
    assert rival_gap((nan, one), (-one, one), one) == 1.0
    assert 0 <= rival_gap((-one, one), (-one, one), 0 * one) <= 1e-10
    # one rival: no better than the closed form tanh(e / 4), and no worse
    first, e = torch.tensor([5.0], dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64)
    assert float(rival_gap((-first, first), (-first, first), e)) == pytest.approx(
        float(torch.tanh(e / 4)), abs=1e-9
    )


@pytest.fixture(scope="module")
def mnist() -> Tensor:
    table = pq.read_table(next((DATA / "mnist").glob("test-*.parquet"))).slice(0, 8).to_pylist()
    images = [np.array(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in table]
    return torch.from_numpy(np.stack(images))[:, None].double() / 255


@pytest.mark.data
@pytest.mark.skipif(
    not (DATA / "mnist").is_dir() or not (SHARED / "pairs").is_dir(),
    reason="needs MNIST and the pairs: set UNDERSTUDY_DATA",
)
@pytest.mark.parametrize(("eps", "most"), [(0.01, 0.0034), (0.03, 0.033)])
def test_a_rounded_network(eps: float, most: float, mnist: Tensor) -> None:
    """Against its copy on a grid of 1/64 much tighter than apart (.0050, .073); against itself 0."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)
    )
    net.load_state_dict(load_file(SHARED / "pairs" / "T_mlp.safetensors"))
    teacher, here = trace(net, (1, 28, 28)), region(mnist, Ball(eps))
    with torch.no_grad():
        for node in net:
            if isinstance(node, nn.Linear):
                node.weight.copy_((node.weight * 64).round() / 64)
        student = trace(net, (1, 28, 28))
        passes = crown_pass(teacher, here), crown_pass(student, here)
        between = difference_bounds(*passes, here)
        differences = crown_gaps(*passes, here).differences
        gaps = odds_gaps(differences.teacher, differences.student, between).amax(1)
        assert gaps.mean() <= most
        own = difference_bounds(passes[0], crown_pass(changed(teacher, torch.Generator(), 0.0), here), here)
        assert own.max() <= 1e-9
    for x, gap in zip(mnist[:3], gaps, strict=False):
        points = tools_corners(x, Ball(eps), 20, torch.Generator().manual_seed(20))
        for _ in range(5):
            points = points.detach().requires_grad_()
            found = (teacher(points).softmax(1) - student(points).softmax(1)).abs().amax(1)
            assert found.max() <= gap
            (gradient,) = torch.autograd.grad(found.sum(), points)
            points = Ball(eps).project(
                points.detach() + 0.3 * eps * gradient.sign(), x[None].expand_as(points)
            )
