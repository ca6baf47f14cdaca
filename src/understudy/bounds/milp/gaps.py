"""The difference of confidences from LP and MILP bounds of the differences of logits."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.bounds.crown import ROWS_BUDGET, Pass
from understudy.bounds.milp.assemble import Assembly
from understudy.bounds.milp.program import Program, import_highs, stacked
from understudy.bounds.milp.proof import Duals, Net, gamma, highest, nets, upper_lines
from understudy.bounds.milp.rows import Affines, sparse_rows
from understudy.bounds.pair import AT_ONCE, Differences, Gaps, same_class
from understudy.bounds.region import Region
from understudy.bounds.softmax import Range, joint, separate, shifts
from understudy.errors import InputError

CROWN, LP, MILP = 0, 1, 2  # how far a class's differences have been taken
WHICH = ("teacher", "student", "between")


def milp_gaps(
    teacher: Pass, student: Pass, region: Region, deadline: float | None
) -> tuple[Float[Tensor, " b"], list[bool], Bool[Tensor, " b"]]:
    """Upper bounds of D over each ball, which of them are complete, and where one class is proved for both.

    The differences z_j - z_k of each network, and of both, are bounded by CROWN, then by the triangle LP, then
    by the big-M MILP, in the classes that can still be the worst: no more would lower the maximum. CROWN's and
    the LP's bounds hold in real arithmetic (the LP's are proved again from its multipliers); the MILP's rest on
    the solver's, widened by its tolerances. Not complete: the deadline (`time.perf_counter`'s) came first.

    Raises:
        InputError: an l_2 region, a network too large, highspy missing.
    """
    import_highs()
    if not region.is_box:
        raise InputError("mode 'milp' bounds l_inf balls only: use 'crown' for l_2")
    rows = sparse_rows(teacher.graph)
    same = student.graph is teacher.graph
    sides = (rows, rows if same else sparse_rows(student.graph))
    ours = nets(teacher)
    theirs = ours if same else nets(student)
    classes = teacher.graph(region.center), student.graph(region.center)
    found = []
    for i, pair in enumerate(zip(ours, theirs, strict=True)):
        now = time.perf_counter()
        end = None if deadline is None else now + max(0.0, deadline - now) / (len(ours) - i)
        if not (pair[0].finite and pair[1].finite):
            found.append((1.0, True, False))
        elif same:
            found.append((0.0, True, True))
        else:
            point = _Point(pair, sides, region.middle[i], region.radius[i], end)
            found.append(point.bound(classes[0][i : i + 1], classes[1][i : i + 1]))
    upper, complete, agree = zip(*found, strict=True)
    device = region.center.device
    return (
        torch.tensor(upper, dtype=region.center.dtype, device=device),
        list(complete),
        torch.tensor(agree, device=device),
    )


class _Point:
    """Bounds around one point, refined class by class."""

    def __init__(
        self,
        pair: tuple[Net, Net],
        rows: tuple[dict[int, Affines], dict[int, Affines]],
        middle: Tensor,
        radius: Tensor,
        end: float | None,
    ) -> None:
        self.pair, self.rows, self.middle, self.radius, self.end = pair, rows, middle, radius, end
        self.count = pair[0].graph.classes
        empty = torch.zeros(1, self.count, self.count, dtype=middle.dtype, device=middle.device)
        self.differences = Differences(*(empty.clone().fill_(torch.inf) for _ in WHICH))
        for margins in self._margins():
            margins.diagonal(dim1=1, dim2=2).zero_()
        self.programs: dict[tuple[str, int], Program] = {}
        self.stage = [CROWN] * self.count
        self.complete = True

    def bound(self, ours: Tensor, theirs: Tensor) -> tuple[float, bool, bool]:
        """Upper bound, complete, one class proved; from both networks' logits (1, c) at the point."""
        self._crown()
        self._refine(int(ours.argmax()), LP)
        while True:
            gaps = self._gaps()
            best = gaps.ways[0].amin(0)
            worst = int(best.argmax())
            if self.stage[worst] == MILP or self._late():
                break
            self._refine(worst, self.stage[worst] + 1)
        self.complete = self.complete and self.stage[worst] == MILP
        upper, _ = gaps.worst()
        return float(upper), self.complete, bool(same_class(gaps, upper, ours, theirs))

    def _late(self) -> bool:
        return self.end is not None and time.perf_counter() > self.end

    def _margins(self) -> list[Tensor]:
        return [getattr(self.differences, name) for name in WHICH]

    def _crown(self) -> None:
        """All pairs by CROWN's own slopes; of many classes the logits one by one."""
        step = max(1, ROWS_BUDGET // max(net.graph.width for net in self.pair))
        every = torch.arange(self.count, device=self.middle.device)
        if self.count > AT_ONCE:
            for net, margins in zip(self.pair, self._margins(), strict=False):
                unit = torch.eye(self.count, dtype=self.middle.dtype, device=self.middle.device)
                lines = upper_lines(net, torch.cat([unit, -unit]), {})
                high, low = highest(self.middle, self.radius, [lines], gamma(net.graph)).chunk(2)
                loose = _up(high[:, None] + low[None, :]).nan_to_num(nan=torch.inf)
                margins.copy_(loose.fill_diagonal_(0.0)[None])
            return
        for part in torch.cartesian_prod(every, every).split(step):
            j, k = part[part[:, 0] != part[:, 1]].unbind(1)
            for name in WHICH:
                self._meet(name, j, k, self._prove(name, j, k, [{}, {}]))

    def _refine(self, k: int, stage: int) -> None:
        """Every difference with class k by the LP or the MILP, in half of the time that is left."""
        pairs = [pair for j in range(self.count) if j != k for pair in ((j, k), (k, j))]
        names = list(WHICH)
        ways = self._gaps().ways[0, :, k]
        if float(ways[1]) < float(ways[0]):
            names.reverse()  # the joint differences decide
        now = time.perf_counter()
        end = None if self.end is None else now + (self.end - now) / (2 if stage == MILP else 1)
        left = len(names) * len(pairs)
        solved: Callable[[str, list[tuple[int, int]], float | None, int], None]
        solved = self._linear if stage == LP else self._integer
        for name in names:
            solved(name, pairs, end, left)
            left -= len(pairs)
        self.stage[k] = stage

    def _linear(self, name: str, pairs: list[tuple[int, int]], end: float | None, left: int) -> None:
        program, solved = self._program(name, LP), []
        duals: list[list[dict[int, np.ndarray]]] = []
        for done, pair in enumerate(pairs):
            if program.solve(self._objective(name, *pair), _share(end, left - done)).finished:
                solved.append(pair)
                duals.append(program.duals())
        self.complete = self.complete and len(solved) == len(pairs)
        if solved:
            sides = [list(side) for side in zip(*duals, strict=True)]
            own = [stacked(side, net) for side, net in zip(sides, self._nets(name), strict=True)]
            j, k = torch.tensor(solved, device=self.middle.device).unbind(1)
            self._meet(name, j, k, self._prove(name, j, k, own))

    def _integer(self, name: str, pairs: list[tuple[int, int]], end: float | None, left: int) -> None:
        program = self._program(name, MILP)
        if program.assembly.binaries == 0:
            return  # the LP is exact
        if not program.scaled:
            self.complete = False
            return
        values = []
        for done, pair in enumerate(pairs):
            solved = program.solve(self._objective(name, *pair), _share(end, left - done))
            self.complete = self.complete and solved.finished
            values.append(solved.upper)
        j, k = torch.tensor(pairs, device=self.middle.device).unbind(1)
        found = self.middle.new_tensor(values)
        wrong = found < self._attained(name, j, k)
        self.complete = self.complete and not bool(wrong.any())
        self._meet(name, j, k, found.masked_fill(wrong, torch.inf))

    def _attained(self, name: str, j: Tensor, k: Tensor) -> Tensor:
        """The largest differences at a few points of the box: a MILP's bound below them is not believed."""
        generator = torch.Generator(self.middle.device).manual_seed(0)
        share = torch.rand(64, len(self.middle), generator=generator, device=self.middle.device) * 2 - 1
        share[:32] = share[:32].sign()
        points = self.middle + share.to(self.middle) * self.radius
        total = torch.zeros(len(points), len(j), dtype=self.middle.dtype, device=self.middle.device)
        for net, sign in zip(self._nets(name), (-1, 1) if name == "between" else (1,), strict=True):
            logits = net.graph(points.view(-1, *net.graph.shape))
            total += sign * (logits[:, j] - logits[:, k])
        return total.amax(0)

    def _nets(self, name: str) -> list[Net]:
        return list(self.pair) if name == "between" else [self.pair[WHICH.index(name)]]

    def _program(self, name: str, stage: int) -> Program:
        if (name, stage) not in self.programs:
            which = (0, 1) if name == "between" else (WHICH.index(name),)
            parts = [(self.pair[i], self.rows[i]) for i in which]
            assembly = Assembly(parts, self.middle, self.radius, integral=stage == MILP)
            self.programs[name, stage] = Program(assembly)
        return self.programs[name, stage]

    def _objective(self, name: str, j: int, k: int) -> list[np.ndarray]:
        row = np.zeros(self.count)
        row[j], row[k] = 1.0, -1.0
        return [-row, row] if name == "between" else [row]

    def _prove(self, name: str, j: Tensor, k: Tensor, duals: list[Duals]) -> Tensor:
        """Upper bounds (r,) of the pairs' differences in real arithmetic."""
        unit = torch.eye(self.count, dtype=self.middle.dtype, device=self.middle.device)
        rows = unit[j] - unit[k]
        signed = (-rows, rows) if name == "between" else (rows,)
        lines = [
            upper_lines(net, row, own) for net, row, own in zip(self._nets(name), signed, duals, strict=False)
        ]
        return highest(self.middle, self.radius, lines, max(gamma(net.graph) for net in self._nets(name)))

    def _meet(self, name: str, j: Tensor, k: Tensor, values: Tensor) -> None:
        margins = getattr(self.differences, name)
        # NaN does not replace what is known
        margins[0, j, k] = torch.where(values < margins[0, j, k], values, margins[0, j, k])

    def _gaps(self) -> Gaps:
        """Both ways' bounds of every class, rounded up."""
        between = torch.minimum(
            self.differences.between, _up(self.differences.student + self.differences.teacher.mT)
        )
        self.differences.between = between
        ours, theirs = (self._outward(odds) for odds in self.differences.odds)
        up, down = (_up(shift) for shift in shifts(between))
        largest = torch.stack([side.abs() for odds in (ours, theirs) for side in odds]).amax(0)
        spare = 8 * torch.finfo(up.dtype).eps * largest.nan_to_num(posinf=0.0)
        ways = torch.stack([separate(ours, theirs), joint(ours, theirs, up + spare, down + spare)], 1)
        return Gaps(_up(ways), self.differences)

    def _outward(self, odds: Range) -> Range:
        """Ranges of log-odds, widened for the rounding of a log-sum-exp of `count` terms."""
        large = max(float(m[m.isfinite()].abs().max()) for m in self._margins()[:2])
        error = torch.finfo(odds[0].dtype).eps * (4 * self.count + 16 + 4 * large)
        return odds[0] - error, odds[1] + error


def _up(values: Tensor) -> Tensor:
    return values + 8 * torch.finfo(values.dtype).eps * (values.abs() + torch.finfo(values.dtype).tiny)


def _share(end: float | None, left: int) -> float | None:
    """Until when the first of `left` solves may go on."""
    now = time.perf_counter()
    return None if end is None else now + (end - now) / left
