"""The search's parts: lines that hold everywhere, derivatives, splits that lose nothing, the pool."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds.crown import crown_pass
from understudy.bounds.pair import crown_gaps
from understudy.bounds.region import region
from understudy.bounds.search import softmax
from understudy.bounds.search.branch import best_cut, chord_gap
from understudy.bounds.search.joint import Parameters, Problem, Space, coarsened, descend
from understudy.bounds.search.net import net_of
from understudy.bounds.search.nodes import Nodes, Pool
from understudy.bounds.search.root import roots
from understudy.bounds.search.softmax import (
    ENUMERATED,
    chord,
    intercept,
    lse_box,
    sigmoid_intercept,
    slopes,
)
from understudy.bounds.search.split import children, close
from understudy.bounds.trace import trace


def network(classes: int, seed: int, hidden: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )
    return layers.double()


@pytest.fixture(scope="module")
def start() -> tuple[Space, Nodes]:
    """A pair's roots over two balls, with sigmoids that are neither flat nor linear."""
    teacher, student = (trace(one, (6,)) for one in (network(4, 0), network(4, 1, 6)))
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    here = region(x, Ball(0.3))
    with torch.no_grad():
        ours, theirs = crown_pass(teacher, here), crown_pass(student, here)
        gaps = crown_gaps(ours, theirs, here)
        space = Space(net_of(ours), net_of(theirs), here)
        nodes, _ = roots(space, ours, theirs, gaps, here, torch.full((2,), -1.0, dtype=torch.float64))
    return space, nodes


def inside(space: Space, nodes: Nodes, count: int) -> Tensor:
    """(count, N, d) points of every node's ball, corners among them."""
    generator = torch.Generator().manual_seed(3)
    share = (
        torch.rand(count, len(nodes), space.region.middle.shape[1], generator=generator, dtype=torch.float64)
        * 2
        - 1
    )
    share[: count // 2] = share[: count // 2].sign()
    middle, radius = space.region.middle[nodes.point], space.region.radius[nodes.point] * (1 - 1e-9)
    return middle + share * radius


def differences(space: Space, nodes: Nodes, x: Tensor) -> Tensor:
    """The queried difference of confidences at points (count, N, d)."""
    ours, theirs = (
        net.graph(x.flatten(0, 1)).softmax(1).unflatten(0, x.shape[:2])
        for net in (space.teacher, space.student)
    )
    k = nodes.k.expand(len(x), -1)[:, :, None]
    return (ours - theirs).gather(2, k)[:, :, 0] * nodes.sign


def loose(nodes: Nodes) -> Tensor:
    """A target below every difference: nothing is shortened."""
    return torch.full_like(nodes.bound, -1.0)


@torch.no_grad()
@pytest.mark.parametrize("classes", [2, 3, 6, ENUMERATED + 4])
def test_the_intercept_holds_on_the_whole_box(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "SOFT", 1e-12)
    generator = torch.Generator().manual_seed(classes)
    z = torch.randn(50, 40, classes, generator=generator, dtype=torch.float64) * 3
    margins = close((z[:, :, :, None] - z[:, :, None, :]).amax(1))
    k, m = torch.zeros(50, dtype=torch.long), torch.ones(50, dtype=torch.long)
    box = lse_box(margins, k, m)
    v = torch.randn(50, classes - 2, generator=generator, dtype=torch.float64)
    top, reached = intercept(box, v)
    d = z.gather(2, box.others[:, None].expand(-1, 40, -1)) - z[:, :, 1:2]
    value = torch.cat([d, torch.zeros_like(z[:, :, :1])], 2).logsumexp(2) - (v[:, None] * d).sum(2)
    assert (value <= top[:, None]).all()
    assert ((reached >= box.low - 1e-12) & (reached <= box.high + 1e-12)).all()
    if classes - 2 <= ENUMERATED:  # the bound is attained there
        at = torch.cat([reached, reached.new_zeros(50, 1)], 1).logsumexp(1) - (v * reached).sum(1)
        assert torch.allclose(at, top, atol=1e-10)


def test_an_intercepts_derivative_is_that_of_a_smoothed_maximum() -> None:
    generator = torch.Generator().manual_seed(3)
    upper = torch.rand(30, 5, 5, generator=generator, dtype=torch.float64) * 4
    box = lse_box(upper, torch.zeros(30, dtype=torch.long), torch.ones(30, dtype=torch.long))
    v = torch.rand(30, 3, generator=generator, dtype=torch.float64).requires_grad_()
    corners = box.low[:, None] + softmax.vertices(3, (v.dtype, "cpu")) * (box.high - box.low)[:, None]
    values = torch.cat([corners, corners.new_zeros(30, 8, 1)], 2).logsumexp(2) - (corners * v[:, None]).sum(2)
    width = softmax.SOFT * (values.amax(1) - values.mean(1)).detach()
    (smoothed,) = torch.autograd.grad((width * (values / width[:, None]).logsumexp(1)).sum(), v)
    assert torch.allclose(intercept(box, v.detach())[1], -smoothed)


def test_slopes_give_a_line_that_is_low_where_they_are_asked_to() -> None:
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(40, 20, 6, generator=generator, dtype=torch.float64) * 3
    upper = (z[:, :, :, None] - z[:, :, None, :]).amax(1)
    box = lse_box(upper, torch.zeros(40, dtype=torch.long), torch.ones(40, dtype=torch.long))
    d = box.low + (box.high - box.low) * torch.rand(40, 4, generator=generator, dtype=torch.float64)
    v = slopes(box, d)
    line = intercept(box, v)[0] + (v * d).sum(1)
    rise = (box.high.exp() - box.low.exp()) / (box.high - box.low)
    chords = (1 + (box.low.exp() + rise * (d - box.low)).sum(1)).log()
    truth = torch.cat([d, d.new_zeros(40, 1)], 1).logsumexp(1)
    assert (line >= truth).all()
    assert (line <= chords + 1e-9).all()
    none = lse_box(upper[:, :2, :2], torch.zeros(40, dtype=torch.long), torch.ones(40, dtype=torch.long))
    assert slopes(none, d[:, :0]).shape == (40, 0)


def test_a_cut_leaves_chords_that_are_near() -> None:
    generator = torch.Generator().manual_seed(5)
    low = -6 * torch.rand(30, 4, generator=generator, dtype=torch.float64)
    high = low + 0.1 + 6 * torch.rand(30, 4, generator=generator, dtype=torch.float64)
    rest = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    along = torch.linspace(0, 1, 4001, dtype=torch.float64)
    d = low[..., None] + (high - low)[..., None] * along
    curve = torch.logaddexp(rest[..., None], d)
    chord_ = curve[..., :1] + (curve[..., -1:] - curve[..., :1]) * along
    assert torch.allclose(chord_gap(low, high, rest), (chord_ - curve).amax(-1), atol=1e-6)
    cut, share = best_cut(low, high, rest)
    half = torch.maximum(chord_gap(low, cut, rest), chord_gap(cut, high, rest))
    assert torch.allclose(1 - share, half / chord_gap(low, high, rest))
    holds_zero = (low < 0) & (high > 0)
    assert holds_zero.any()
    assert (cut[holds_zero] == 0).all()
    middle = (low + high) / 2
    by_half = torch.maximum(chord_gap(low, middle, rest), chord_gap(middle, high, rest))
    assert (half <= by_half + 1e-12)[~holds_zero].all()
    assert (half < by_half - 1e-3)[~holds_zero].any()


def test_the_sigmoids_line_holds_and_touches() -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(500, generator=generator, dtype=torch.float64) * 6
    high = low + torch.rand(500, generator=generator, dtype=torch.float64) * 10
    q = chord(low, high) * torch.rand(500, generator=generator, dtype=torch.float64) * 3
    top, reached, _ = sigmoid_intercept(q, low, high)
    x = low + (high - low) * torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    gap = q * x + top - x.sigmoid()
    assert (gap >= 0).all()
    assert gap.amin(0).max() < 1e-5
    assert ((reached >= low) & (reached <= high)).all()


@torch.no_grad()
def test_any_parameters_are_sound(start: tuple[Space, Nodes]) -> None:
    space, nodes = start
    x = inside(space, nodes, 4000)
    truth = differences(space, nodes, x).amax(0)
    generator = torch.Generator().manual_seed(1)
    problem = Problem(space, nodes, loose(nodes))
    for scale in (0.0, 0.1, 1.0):
        moved = [
            p + scale * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in problem.start()
        ]
        parameters = Parameters(
            moved[0], moved[1], moved[2].clamp(min=0), moved[3].clamp(0, 1), moved[4].clamp(min=0)
        )
        assert (problem.value(parameters, False).bound >= truth).all()


@torch.no_grad()
def test_a_target_shortens_soundly(start: tuple[Space, Nodes]) -> None:
    space, nodes = start
    truth = differences(space, nodes, inside(space, nodes, 4000)).amax(0)
    for target in (0.0, 0.05, 0.2, 0.6):
        level = torch.full_like(nodes.bound, target)
        problem = Problem(space, nodes, level)
        bound = problem.value(coarsened(descend(problem, 10, 1.0)), False).bound
        assert (torch.maximum(bound, level) >= truth).all()


@torch.no_grad()
@pytest.mark.parametrize("which", range(5), ids=["omega", "v", "theta", "alpha", "beta"])
def test_derivatives_by_hand(start: tuple[Space, Nodes], which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "SOFT", 1e-9)  # the intercept's own derivative
    space, nodes = start
    nodes = nodes.take(torch.arange(len(nodes)))
    generator = torch.Generator().manual_seed(which)
    nodes.odds[:, 1::2] = 50.0  # no older range hides the rows
    signs = torch.randint(-1, 2, nodes.split.shape, generator=generator)
    nodes.split = signs.to(torch.int8)
    problem = Problem(space, nodes, loose(nodes))
    problem.chords[:] = 0.02  # the joint row is the lower one
    start_ = [p + 0.1 * torch.rand(p.shape, generator=generator, dtype=p.dtype) for p in problem.start()]
    start_[3] = torch.rand(start_[3].shape, generator=generator, dtype=torch.float64)
    value = problem.value(Parameters(*start_), True)
    assert value.gradients is not None
    direction = torch.randn(start_[which].shape, generator=generator, dtype=torch.float64)
    ends = []
    for step in (1e-6, -1e-6):
        moved = list(start_)
        moved[which] = moved[which] + step * direction
        ends.append(problem.value(Parameters(*moved), False).bound)
    measured = (ends[0] - ends[1]) / 2e-6
    derived = (value.gradients[which] * direction).sum(1)
    smooth = (ends[0] + ends[1] - 2 * value.bound).abs() < 1e-9  # not on a kink
    assert smooth.sum() > len(nodes) // 2
    assert torch.allclose(measured[smooth], derived[smooth], atol=1e-6)


@torch.no_grad()
def test_descent_never_ends_above_its_start(start: tuple[Space, Nodes]) -> None:
    space, nodes = start
    problem = Problem(space, nodes, loose(nodes))
    before = problem.value(problem.start(), False).aim
    after = problem.value(descend(problem, 20, 1.0), False).aim
    assert (after <= before + 1e-12).all()
    assert (after < before - 1e-4).any()


@torch.no_grad()
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_children_cover_their_parent(start: tuple[Space, Nodes], kind: int) -> None:
    space, nodes = start
    nodes = nodes.take(torch.arange(len(nodes)))
    unstable = (nodes.low < 0) & (nodes.high > 0)
    width = space.teacher.width
    first = torch.where(
        torch.tensor(kind == 2),
        width + unstable[:, width:].to(torch.uint8).argmax(1),
        unstable[:, :width].to(torch.uint8).argmax(1),
    )
    other = torch.zeros_like(first)
    cut = torch.zeros_like(nodes.bound)
    if kind == 3:
        first, other = (nodes.k + 1) % 4, (nodes.k + 2) % 4
    if kind > 3:
        cut = nodes.odds[:, 2 * (kind - 4) : 2 * (kind - 4) + 2].mean(1)
    nodes.choice, nodes.cut = torch.stack([torch.full_like(first, kind), first, other], 1), cut
    nodes.serial = torch.arange(len(nodes))
    young = children(space, nodes)
    x = inside(space, nodes, 2000)
    truth = differences(space, nodes, x)
    bound = (
        Problem(space, young, loose(young)).value(Problem(space, young, loose(young)).start(), False).bound
    )
    best = torch.full((len(nodes),), -1.0, dtype=torch.float64).scatter_reduce(0, young.serial, bound, "amax")
    assert (best >= truth.amax(0)).all()


def test_the_pool_keeps_what_is_put_in(start: tuple[Space, Nodes]) -> None:
    _, nodes = start
    pool = Pool(nodes)
    order = pool.bounds.topk(5)
    taken = pool.pop(order.indices)
    assert len(pool) == len(nodes) - 5
    assert torch.equal(taken.bound, order.values)
    pool.add(nodes)
    pool.add(taken)
    assert len(pool) == 2 * len(nodes)
    assert torch.equal(
        pool.bounds[pool.open].sort().values, torch.cat([nodes.bound, nodes.bound]).sort().values
    )
