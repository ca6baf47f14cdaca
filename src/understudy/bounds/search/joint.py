"""The joint bound of a batch of nodes, its derivatives by hand, and a few steps of Adam on its parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.bounds.region import Region
from understudy.bounds.relax import Relaxation, relax_relu
from understudy.bounds.search.net import Net, walk_back, walk_forth
from understudy.bounds.search.nodes import Nodes
from understudy.bounds.search.softmax import (
    chord,
    entropy_line,
    intercept,
    lse_box,
    reference_line,
    sigmoid_intercept,
    slopes,
)

THETA = 4.0  # largest slope of a sigmoid's line, in units of its chord's; 0 is the rows apart
RATES = (0.04, 0.02, 0.08, 0.08, 0.2)  # Adam's steps: omega, v, theta, lower slopes, multipliers


@dataclass(frozen=True, eq=False)
class Space:
    """Both networks over the balls around P points."""

    teacher: Net
    student: Net
    region: Region

    @property
    def classes(self) -> int:
        return self.teacher.graph.classes

    @cached_property
    def deep(self) -> Bool[Tensor, " n"]:
        """Which ReLU inputs of both networks interval arithmetic does not describe exactly."""
        return torch.cat([self.teacher.deep, self.student.deep])

    @cached_property
    def coarse(self) -> Space:
        """The same in float32, to descend in: any parameters found are sound, so their errors do not matter."""
        single = torch.float32
        return Space(self.teacher.to(single), self.student.to(single), self.region.to(single))


class Parameters(NamedTuple):
    """The free parameters of N nodes; `v` over the rivals besides the reference."""

    omega: Float[Tensor, "m c"]
    v: Float[Tensor, "m r"]
    theta: Float[Tensor, "m 2"]
    alpha: Float[Tensor, "m n"]
    beta: Float[Tensor, "m n"]

    def map(self, change: object) -> Parameters:
        """The same change to each."""
        return Parameters(*(change(p) for p in self))  # type: ignore[operator]


class Value(NamedTuple):
    """One evaluation: the bound and the ends of t and r it proves, each (N,), and what it was made of."""

    bound: Float[Tensor, " m"]
    aim: Float[Tensor, " m"]  # what descent lowers: the bound, were nothing known of t and r from older rows
    t_top: Float[Tensor, " m"]
    r_top: Float[Tensor, " m"]
    held: tuple[Tensor, Tensor]  # what one unit of each network's row is worth in the joint row
    alone: tuple[Tensor, Tensor]  # and in the row by itself, which reaches its maximum elsewhere
    met: tuple[dict[int, Tensor], dict[int, Tensor]]
    lines: tuple[Relaxation, Relaxation]
    rows: tuple[Tensor, Tensor]  # each network's row
    guide: Float[Tensor, "m d"]  # the joint row, or where the rows apart are lower, their sum
    c_top: Float[Tensor, " m"]
    q: Float[Tensor, "m 2"]
    tops: tuple[Tensor, Tensor]  # B of both sigmoids, of t and of r
    lows: tuple[Tensor, Tensor]  # lower ends of t and r where the difference exceeds the target
    gradients: Parameters | None


class Problem:
    """A batch of nodes with fixed intervals: the bound as a function of the free parameters.

    With `firm` it rests on nothing but the node's intervals, margins and splits, as a certificate must.

    `target` (N,): only where the difference is larger does a bound matter. There neither sigmoid can be small:
    sigmoid(t) > target + 1 - sigmoid(r) and the same for r, which shortens both chords at no cost. So the
    bound is of the larger of the difference and the target.
    """

    def __init__(self, space: Space, nodes: Nodes, target: Float[Tensor, " m"], firm: bool = False) -> None:
        self.space, self.nodes, self.target = space, nodes, target
        count = space.teacher.width
        self.spans = (slice(0, count), slice(count, None))
        self.nets = (space.teacher, space.student)
        self.region = space.region.at(nodes.point)
        sides = [(nodes.low[:, span], nodes.high[:, span]) for span in self.spans]
        self.lines = [relax_relu(low, high) for low, high in sides]
        self.unstable = [(low < 0) & (high > 0) for low, high in sides]
        self.box = lse_box(nodes.margins, nodes.k, nodes.reference)
        self.odds = nodes.firm if firm else nodes.odds
        t_low, t_high, r_low, r_high = nodes.odds.unbind(1)
        t_low, r_low = self._least(t_low, r_high), self._least(r_low, t_high)
        self.chords = torch.stack(
            [chord(torch.minimum(t_low, t_high), t_high), chord(torch.minimum(r_low, r_high), r_high)], 1
        )
        self.up = nodes.sign > 0

    def _least(self, low: Tensor, other: Tensor) -> Tensor:
        """The lower end of one sigmoid's argument where the difference exceeds the target; `other`: the other's top."""
        share = self.target + (-other).sigmoid()
        share = share - 8 * torch.finfo(share.dtype).eps  # rounded down: near 1 the logit is steep
        return torch.maximum(low, torch.logit(share.clamp(0, 1)) - 1e-6)

    def _top(self, rows: Tensor) -> Tensor:
        """Largest value of each node's row (N, d) on its ball."""
        return self.region.maximum(rows[:, None], rows.new_zeros(1, 1))[:, 0]

    def start(self) -> Parameters:
        """The parameters the nodes came with."""
        n = self.nodes
        theta = torch.where(n.q < 0, 1.0, (n.q / self.chords.clamp(min=1e-12)).clamp(0.0, THETA))
        return Parameters(n.omega, self._slopes(), theta, n.alpha, n.beta)

    def _slopes(self) -> Tensor:
        """The nodes' own v, or what the present box suggests if that line is lower where it matters."""
        box, n = self.box, self.nodes
        d = n.near.gather(1, box.others) - n.near.gather(1, n.reference[:, None])
        d = torch.minimum(torch.maximum(d, box.low), box.high)
        own, new = n.v.gather(1, box.others), slopes(box, d)
        at_own, at_new = (intercept(box, v)[0] + (v * d).sum(1) for v in (own, new))
        return torch.where((at_new < at_own)[:, None], new, own)

    def swap(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(raised, lowered) as (teacher, student), or the other way round."""
        up = self.up if first.dim() == 1 else self.up[:, None]
        return torch.where(up, first, second), torch.where(up, second, first)

    def value(self, parameters: Parameters, derive: bool) -> Value:
        """The bound; with `derive` also its gradient by every parameter."""
        omega, v, theta, alpha, beta = parameters
        nodes, space, points = self.nodes, self.space, self.nodes.point
        raised, raised_constant, log_w = entropy_line(omega, nodes.k)
        lowered = reference_line(self.box, v, nodes.k, nodes.reference, space.classes)
        c_top, corner = intercept(self.box, v)
        signed = beta * nodes.split
        rows, constants, tops, met, lines = [], [], [], [], []
        for i, logits in enumerate(self.swap(raised, lowered)):
            span, line = self.spans[i], self.lines[i]
            full = replace(line, lower=torch.where(self.unstable[i], alpha[:, span], line.lower))
            walk = walk_back(self.nets[i], points, logits[:, None], full, signed[:, span])
            rows.append(walk.rows[:, 0])
            constants.append(walk.constant[:, 0])
            tops.append(self._top(rows[i]))
            met.append(walk.met)
            lines.append(full)
        top_t, top_r = self.swap(tops[0], tops[1])
        const_t, const_r = self.swap(constants[0], constants[1])
        const_t, const_r = const_t + raised_constant, const_r + c_top
        t_low, t_old, r_low, r_old = self.odds.unbind(1)
        t_top, r_top = torch.minimum(top_t + const_t, t_old), torch.minimum(top_r + const_r, r_old)
        q = theta * self.chords
        t_low, r_low = self._least(t_low, r_top), self._least(r_low, t_top)
        b_t, reached_t, slope_t = sigmoid_intercept(q[:, 0], torch.minimum(t_low, t_top), t_top)
        b_r, reached_r, slope_r = sigmoid_intercept(q[:, 1], torch.minimum(r_low, r_top), r_top)
        q_net = self.swap(q[:, 0], q[:, 1])
        both = q_net[0][:, None] * rows[0] + q_net[1][:, None] * rows[1]
        joint = self._top(both) + q[:, 0] * const_t + q[:, 1] * const_r + b_t + b_r - 1
        separate = t_top.sigmoid() - (-r_top).sigmoid()
        bound = torch.minimum(joint, separate) + 1e-14
        # descent follows the lower of the joint row and the rows apart as they are, whatever older ranges of t and
        # r say: those can only be improved on by a row that gets better
        line_t, line_r = top_t + const_t, top_r + const_r
        alone = line_t.sigmoid() - (-line_r).sigmoid()
        apart = alone < joint
        steep = self.swap(
            torch.where(apart, line_t.sigmoid() * (-line_t).sigmoid(), slope_t),
            torch.where(apart, line_r.sigmoid() * (-line_r).sigmoid(), slope_r),
        )
        held = [torch.where(apart, 0.0, each) for each in q_net]
        weights = (held[0] + steep[0], held[1] + steep[1])
        guide = torch.where(apart[:, None], steep[0][:, None] * rows[0] + steep[1][:, None] * rows[1], both)
        gradients = None
        if derive:
            at = self.region.maximiser(both)
            z, by_alpha, by_beta = [], [], []
            for i, net in enumerate(self.nets):
                own = self.region.maximiser(rows[i])
                x = held[i][:, None] * at + steep[i][:, None] * own
                logits, inputs = walk_forth(net, points, x, weights[i], lines[i], met[i])
                z.append(logits)
                coefficients = net.flat(met[i], inputs)
                by_alpha.append(torch.where(self.unstable[i], coefficients.clamp(max=0) * inputs, 0.0))
                by_beta.append(inputs * nodes.split[:, self.spans[i]])
            z_t, z_r = self.swap(z[0], z[1])
            w = log_w.exp().scatter(1, nodes.k[:, None], 0.0)
            by_w = self.swap(*weights)[0][:, None] * (log_w + 1) - z_t
            by_v = z_r.gather(1, self.box.others) - z_r.gather(1, nodes.reference[:, None])
            at_t, at_r = self.swap((rows[0] * at).sum(1), (rows[1] * at).sum(1))
            by_q = torch.stack([at_t + const_t - reached_t, at_r + const_r - reached_r], 1)
            gradients = Parameters(
                w * (by_w - (w * by_w).sum(1, keepdim=True)),
                by_v - self.swap(*weights)[1][:, None] * corner,
                by_q * self.chords,
                torch.cat(by_alpha, 1),
                torch.cat(by_beta, 1),
            )
        return Value(
            bound, torch.minimum(joint, alone), t_top, r_top, (held[0], held[1]), steep, (met[0], met[1]),
            (lines[0], lines[1]), (rows[0], rows[1]), guide, c_top, q, (b_t, b_r),
            (torch.minimum(t_low, t_top), torch.minimum(r_low, r_top)), gradients,
        )  # fmt: skip


def descend(problem: Problem, steps: int, rate: float, start: Parameters | None = None) -> Parameters:
    """Adam from `start`, or the nodes' own parameters; per node those with the lowest aim seen."""
    now = (start or problem.start()).map(torch.clone)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in now]
    best, lowest = now, problem.nodes.bound.new_full((len(problem.nodes),), torch.inf)
    for step in range(1, steps + 1):
        value = problem.value(now, True)
        better = value.aim < lowest
        lowest = torch.where(better, value.aim, lowest)
        best = (
            now if step == 1 else Parameters(*(_chosen(better, p, b) for p, b in zip(now, best, strict=True)))
        )
        assert value.gradients is not None
        moved = []
        for p, g, (first, second), speed in zip(now, value.gradients, moments, RATES, strict=True):
            first.lerp_(g, 0.1)
            second.mul_(0.99).addcmul_(g, g, value=0.01)
            scale = (second / (1 - 0.99**step)).sqrt_().add_(1e-12)
            moved.append(torch.addcdiv(p, first, scale, value=-rate * speed / (1 - 0.9**step)))
        now = Parameters(
            moved[0],
            moved[1],
            moved[2].clamp_(0.0, THETA),
            moved[3].clamp_(0.0, 1.0),
            moved[4].clamp_(min=0.0),
        )
    final = problem.value(now, False)
    better = final.aim < lowest
    best = Parameters(*(_chosen(better, p, b) for p, b in zip(now, best, strict=True)))
    return best.map(lambda p: p.nan_to_num(0.0))


def coarsened(found: Parameters) -> Parameters:
    """Float64 parameters whose slopes and multipliers fit into half precision, as a certificate stores them."""
    omega, v, theta, alpha, beta = found.map(Tensor.double)
    return Parameters(omega, v, theta, alpha.half().double(), beta.clamp(max=6e4).half().double())


def _chosen(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better[:, None], new, old)
