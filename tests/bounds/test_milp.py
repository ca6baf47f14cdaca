"""LP and MILP bounds: constraints that every run of the network meets, optima that other programs find too."""

from __future__ import annotations

import itertools
import sys
import time

import mpmath
import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from soundness.graphs import graph
from soundness.networks import draw
from soundness.truth import programs, truths
from understudy.attacks.ball import Ball
from understudy.bounds.crown import Pass, crown_pass
from understudy.bounds.graph import Graph, Relu, evaluate
from understudy.bounds.milp import gaps as module
from understudy.bounds.milp import milp_gaps, rows
from understudy.bounds.milp.assemble import Assembly
from understudy.bounds.milp.proof import nets, widened
from understudy.bounds.milp.rows import sparse_rows
from understudy.bounds.region import Region, region
from understudy.errors import InputError

NAMES = ("linear", "plain", "convolutional", "residual")


def small(seed: int, *sizes: int, size: float = 1.5) -> Graph:
    layers = itertools.chain(*((nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)))
    return graph(draw(nn.Sequential(*list(layers)[:-1]), seed, size), (sizes[0],))


def values(net: Graph, x: Tensor) -> list[Tensor]:
    """Every node's value on a batch."""
    found = [x]
    for node in net.nodes[1:]:
        found.append(evaluate(node.op, [found[i] for i in node.parents]))
    return found


def sampled(here: Region, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(count, here.middle.shape[1], generator=generator, dtype=torch.float64) * 2 - 1
    share[::2] = share[::2].sign()
    return (here.middle[0] + share * here.radius[0]).view(count, *here.center.shape[1:])


@pytest.mark.parametrize("integral", [False, True])
@pytest.mark.parametrize("names", [("plain",), ("convolutional", "residual"), ("linear", "residual")])
def test_every_run_meets_the_constraints(names: tuple[str, ...], integral: bool, graphs, tools) -> None:
    """Columns filled in from forward passes lie within the limits, and so do the rows."""
    generator = torch.Generator().manual_seed(1)
    pair = [tools.with_weights(graphs[name], generator, 1.5) for name in names]
    here = region(torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64), Ball(0.2))
    parts = [(nets(crown_pass(net, here))[0], sparse_rows(net)) for net in pair]
    made = Assembly(parts, here.middle[0], here.radius[0], integral=integral)
    x = sampled(here, 100)
    columns, binaries, open_count = [x.flatten(1)], [], 0
    for net, (known, _) in zip(pair, parts, strict=True):
        found = values(net, x)
        for position in net.relus:
            columns.append(found[position].flatten(1))
            low, high = (side.flatten() for side in known.bounds[net.nodes[position].parents[0]])
            open_ = (low < 0) & (high > 0)
            open_count += int(open_.sum())
            binaries.append((found[net.nodes[position].parents[0]].flatten(1)[:, open_] > 0).double())
    assert made.binaries == (open_count if integral else 0)
    assert open_count > 0 or names == ("linear",)
    filled = torch.cat([*columns, *(binaries if integral else [])], 1).numpy()
    assert (filled >= made.low - 1e-9).all()
    assert (filled <= made.high + 1e-9).all()
    rows_filled = filled @ made.matrix.T.toarray()
    assert (rows_filled >= made.row_low - 1e-9).all()
    assert (rows_filled <= made.row_high + 1e-9).all()


@pytest.mark.parametrize("name", NAMES)
def test_sparse_rows_compute_the_network(name: str, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(2)
    net = tools.with_weights(graphs[name], generator, 1.0)
    x = torch.rand(5, *tools.shape, generator=generator, dtype=torch.float64)
    found, affines = values(net, x), sparse_rows(net)
    for key, wanted in affines.items():
        position = len(net.nodes) - 1 if key == rows.LOGITS else net.nodes[key].parents[0]
        total = wanted.constant + sum(
            found[cut].flatten(1).numpy() @ matrix.T for cut, matrix in wanted.matrices.items()
        )
        np.testing.assert_allclose(total, found[position].flatten(1).numpy(), atol=1e-10)


def layers(net: Graph) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (node.op.weight.numpy(), node.op.bias.numpy()) for node in net.nodes if hasattr(node.op, "weight")
    ]


def enumerated(net: Graph, low: np.ndarray, high: np.ndarray, row: np.ndarray) -> float:
    """max row . logits of one hidden layer's network, pattern by pattern."""
    (w, b), (v, c) = layers(net)
    best = -np.inf
    for pattern in itertools.product((0, 1), repeat=len(b)):
        on = np.array(pattern)
        signs = np.where(on == 1, -1.0, 1.0)
        found = linprog(
            -(row @ v * on) @ w,
            A_ub=signs[:, None] * w,
            b_ub=-signs * b,
            bounds=list(zip(low, high, strict=True)),
        )
        if found.status == 0:
            best = max(best, -found.fun + float((row @ v * on) @ b + row @ c))
    return best


def triangles(net: Graph, bounds, low: np.ndarray, high: np.ndarray, row: np.ndarray) -> float:
    """The triangle LP of one hidden layer's network, written down a second time."""
    (w, b), (v, c) = layers(net)
    l, u = bounds[0][0].numpy(), bounds[1][0].numpy()  # noqa: E741
    n, m = len(low), len(b)
    above, right = [], []
    limits = list(zip(low, high, strict=True))
    for i in range(m):
        y = np.eye(m)[i]
        if u[i] <= 0:
            limits.append((0.0, 0.0))
            continue
        limits.append((0.0, None))
        above.append(np.concatenate([w[i], -y]))
        right.append(-b[i])
        slope = 1.0 if l[i] >= 0 else u[i] / (u[i] - l[i])
        above.append(np.concatenate([-slope * w[i], y]))
        right.append(slope * (b[i] - min(l[i], 0)) if l[i] < 0 else b[i])
    cost = np.concatenate([np.zeros(n), -(row @ v)])
    found = linprog(cost, A_ub=np.array(above), b_ub=np.array(right), bounds=limits)
    assert found.status == 0
    return float(-found.fun + row @ c)


@pytest.mark.parametrize("seed", range(3))
def test_optima_are_those_of_other_programs(seed: int, monkeypatch) -> None:
    """The LP's proved bound is the triangle LP's optimum, the MILP's bound the enumerated one."""
    net = small(seed, 2, 5, 3, size=2.0)
    here = region(
        torch.rand(1, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), Ball(0.4)
    )
    run = crown_pass(net, here)
    low, high = (side[0].numpy() for side in here.box)
    known = (nets(run)[0],) * 2
    point = module._Point(known, (sparse_rows(net),) * 2, here.middle[0], here.radius[0], None)
    pairs = [(j, k) for j in range(3) for k in range(3) if j != k]
    rows_of = {pair: np.eye(3)[pair[0]] - np.eye(3)[pair[1]] for pair in pairs}
    point._linear("teacher", pairs, None, 6)
    for j, k in pairs:
        truth = triangles(net, run.bounds[1], low, high, rows_of[j, k])
        ours = float(point.differences.teacher[0, j, k])
        assert truth - 1e-9 <= ours <= truth + 1e-7
    point._integer("teacher", pairs, None, 6)
    for j, k in pairs:
        truth = enumerated(net, low, high, rows_of[j, k])
        assert truth - 1e-12 <= float(point.differences.teacher[0, j, k]) <= truth + 1e-6
    assert point.complete


def test_the_joint_program_sees_that_copies_agree() -> None:
    """A copy in another graph: the joint MILP proves what no separate bound can."""
    here = region(torch.tensor([[0.4, 0.6]], dtype=torch.float64), Ball(0.1))
    twins = [crown_pass(small(3, 2, 4, 3), here) for _ in range(2)]
    upper, complete, _ = milp_gaps(*twins, here, None)
    assert complete == [True]
    assert 0 <= float(upper) < 1e-6
    same = milp_gaps(twins[0], twins[0], here, None)
    assert same[0].tolist() == [0.0]
    assert same[2].tolist() == [True]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("conv-groups-dilation-1", 0.3), ("gelu-1", 0.3), ("saturated-30-uniform", 0.3), ("neurons-kink-at-point", 0.0),
     ("neurons-kink-at-point", 0.3), ("same-rounded", 0.3), ("classes-2", 0.3), ("classes-200", 0.3),
     ("weights-1e+08-0.1", 0.3), ("radius-1e-09", 0.0), ("radius-1e-09", 0.3), ("cut-range", 0.3)],
)  # fmt: skip
def test_above_the_truth(name: str, seconds: float) -> None:
    """No bound below an exact gap, by any amount, and none above 1."""
    case, _, _ = programs(name)
    pair = graph(case.teacher, case.shape), graph(case.student, case.shape)
    here = region(case.points, case.ball)
    runs = [crown_pass(net, here) for net in pair]
    upper, complete, agree = milp_gaps(*runs, here, time.perf_counter() + seconds * len(case.points))
    assert upper.shape == agree.shape == (len(case.points),)
    assert len(complete) == len(case.points)
    for one, truth, same in zip(upper.tolist(), truths(name, 1), agree.tolist(), strict=True):
        assert truth.reached <= mpmath.mpf(one)
        assert one <= 1
        if same:
            both = torch.cat([case.teacher(truth.samples), case.student(truth.samples)]).argmax(1)
            assert bool((both == both[0]).all())
    if seconds == 0 and any(isinstance(node.op, Relu) for net in pair for node in net.nodes):
        assert not any(complete)


def test_linear_networks_are_exact_with_two_classes() -> None:
    """Nothing to relax: the difference of the log-odds is attained."""
    teacher, student = small(5, 2, 2), small(6, 2, 2)
    here = region(torch.tensor([[0.5, 0.5]], dtype=torch.float64), Ball(0.01))
    upper, complete, _ = milp_gaps(crown_pass(teacher, here), crown_pass(student, here), here, None)
    corners = sampled(here, 50)
    reached = (teacher(corners).softmax(1) - student(corners).softmax(1)).abs().max()
    assert complete == [True]
    assert float(reached) <= float(upper) <= float(reached) + 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_widened_intervals_hold_and_are_close(name: str, graphs, tools) -> None:
    generator = torch.Generator().manual_seed(4)
    net = tools.with_weights(graphs[name], generator, 1.0)
    here = region(torch.rand(1, *tools.shape, generator=generator, dtype=torch.float64), Ball(0.1))
    run = crown_pass(net, here)
    found = values(net, sampled(here, 50))
    for (low, high), (wide_low, wide_high), value in zip(run.bounds, widened(run), found, strict=True):
        assert bool(((wide_low <= low) & (high <= wide_high)).all())
        assert float((wide_high - high).max()) < 1e-7
        assert bool(((wide_low <= value) & (value <= wide_high)).all())


def test_weights_that_are_not_numbers_prove_nothing() -> None:
    teacher, student = small(7, 2, 4, 3), small(8, 2, 4, 3)
    here = region(torch.tensor([[0.5, 0.5]], dtype=torch.float64), Ball(0.1))
    student.nodes[1].op.weight[0, 0] = float("nan")
    upper, _, agree = milp_gaps(crown_pass(teacher, here), crown_pass(student, here), here, None)
    assert upper.tolist() == [1.0]
    assert agree.tolist() == [False]


def ready(ball: Ball) -> tuple[Pass, Region]:
    here = region(torch.tensor([[0.5, 0.5]], dtype=torch.float64), ball)
    return crown_pass(small(9, 2, 4, 3), here), here


def test_l2_balls_are_refused() -> None:
    run, here = ready(Ball(0.1, norm="l2"))
    with pytest.raises(InputError, match="l_inf"):
        milp_gaps(run, run, here, None)


def test_large_networks_are_refused_with_their_size(monkeypatch) -> None:
    run, here = ready(Ball(0.1))
    monkeypatch.setattr(rows, "MOST", 3)
    with pytest.raises(InputError, match="at most 3 activations, this one has 4"):
        milp_gaps(run, run, here, None)
    monkeypatch.setattr(rows, "MOST", 10)
    monkeypatch.setattr(rows, "MOST_NONZEROS", 5)
    with pytest.raises(InputError, match="5 coefficients"):
        milp_gaps(run, run, here, None)


def test_the_missing_package_is_named(monkeypatch) -> None:
    run, here = ready(Ball(0.1))
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(InputError, match=r"understudy\[milp\]"):
        milp_gaps(run, run, here, None)
