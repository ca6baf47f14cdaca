"""`PairBounds`: how far two networks' confidences can differ on the ball around each point, at most."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds import crown
from understudy.bounds.certificate import Certificate
from understudy.bounds.crown import Pass, crown_pass
from understudy.bounds.graph import Graph
from understudy.bounds.interval import interval_bounds
from understudy.bounds.milp import milp_gaps
from understudy.bounds.ops import size
from understudy.bounds.pair import Gaps, crown_gaps, interval_gaps, met, same_class
from understudy.bounds.region import Region, region
from understudy.bounds.search.record import Record, certificate
from understudy.bounds.search.run import Start, searched
from understudy.bounds.search.search import Effort, Search
from understudy.bounds.shared import Shared, logit_differences, matches, shared_pass
from understudy.bounds.trace import trace
from understudy.bounds.witness import difference_at, evaluate_lower
from understudy.errors import InputError, unknown

Mode = Literal["none", "ibp", "crown", "alpha", "milp", "exact"]
Status = Literal["exact", "bounded", "timeout", "skipped"]
WAYS = ("ub1", "ub2", "ub3", "difference")
SEARCHING = ("alpha", "exact")
HELPS = 0.99  # a bound this much lower than the one without differences of neurons makes the search use them
TOLD = 0.2  # seconds between two reports of a search
Clock = Callable[[], float]


@dataclass(frozen=True)
class Step:
    """How far a search has come with one point: number `point` of `points` in the call."""

    point: int
    points: int
    lower: float
    upper: float
    nodes: int
    open: int
    seconds: float
    done: bool


@dataclass(frozen=True, eq=False)
class PairBound:
    """One point's bound: D(x) <= upper, in real arithmetic on the stored weights.

    Attributes:
        upper: in [0, 1].
        status: exact (upper - lower <= tolerance, or eps 0), bounded (the method has no more to try), timeout (the
            limit came first: looser, still sound), skipped (mode none: upper is 1).
        seconds: time of its batch divided by the batch's size.
        used: which bound was smallest for the worst class ("ub1", "ub2", "ub3", "difference" where both
            networks have one structure), "ibp", "search", "milp", "clean" at eps 0, "none" where nothing was
            bounded.
        same_class: proved that both networks predict one same class on the whole ball.
        lower, witness: the largest difference that the search itself met, rounded down, and where; None in modes
            that do not search.
        nodes: parts of the ball that were bounded, over all classes and signs.
        history: (seconds, lower, upper, nodes), each row no worse than the one before.
        certificate: the proof, where it was asked for.
    """

    upper: float
    status: Status
    seconds: float
    used: str
    same_class: bool
    lower: float | None = None
    witness: Tensor | None = None
    nodes: int = 0
    history: tuple[tuple[float, float, float, int], ...] = ()
    certificate: Certificate | None = None


class PairBounds:
    """Upper bounds of D(x) = max over the ball and over classes of |softmax(teacher)_k - softmax(student)_k|.

    Args:
        teacher, student: modules that map (batch, *shape) to logits (batch, classes), or their graphs, as
            another `PairBounds` holds them (saves tracing a teacher again). The same object given twice gives
            the resolution of the bounds: what they leave where the truth is 0. The modules are not touched.
        shape: of one input.
        mode: "ibp" (interval arithmetic), "crown" (linear bounds), "alpha" (one joint bound with optimised
            slopes), "milp" (mixed-integer programs by HiGHS), "exact" (branch and bound), "none" (every point
            skipped).
        effort: how hard alpha and exact try.
        clock: seconds, as time limits count them.

    Raises:
        InputError: an operator that cannot be bounded; class counts or input shapes that differ; a mode that
            does not exist.
    """

    def __init__(
        self,
        teacher: nn.Module | Graph,
        student: nn.Module | Graph,
        shape: tuple[int, ...],
        *,
        mode: Mode = "crown",
        effort: Effort | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        if mode not in get_args(Mode):
            raise unknown("mode", str(mode), get_args(Mode))
        self.mode, self.clock, self.effort = mode, clock, effort or Effort()
        self.shape = tuple(shape)
        self.teacher = _graph(teacher, self.shape, None, "teacher")
        self.student = self.teacher
        if student is not teacher:
            self.student = _graph(student, self.shape, self.teacher.device, "student")
        if self.teacher.classes != self.student.classes:
            raise InputError(
                f"teacher and student must have the same classes: the teacher has {self.teacher.classes}, "
                f"the student {self.student.classes}"
            )
        if self.teacher.classes < 2:
            raise InputError("one class has confidence 1 everywhere: at least two are needed")

    def bound(
        self,
        inputs: Float[Tensor, "b ..."],
        ball: Ball,
        *,
        lower: Float[Tensor, " n"] | None = None,
        witness: Float[Tensor, "n ..."] | None = None,
        tolerance: float = 1e-4,
        time_limit: float | None = None,
        watch: Callable[[Step], None] | None = None,
        certify: bool = False,
    ) -> list[PairBound]:
        """One bound a point.

        Args:
            inputs: points (b, *shape) in the ball's valid range.
            ball: the radius, norm and range.
            lower, witness: what an attack found at each point, and where. A search starts from it; in the other
                modes `lower` decides the status only.
            tolerance: upper - lower that counts as exact, 0 or more; a search stops there.
            time_limit: seconds a point. The fast modes then go on with interval arithmetic, a search returns
                the best bounds so far; the status is timeout.
            watch: told of a search's progress a few times a second.
            certify: let a search keep its proof (point by point; l_inf balls only).

        Raises:
            InputError: inputs of another shape, not finite or out of range; a lower or witness of another
                length; a tolerance or time limit that is negative or NaN.
        """
        self._check(inputs, lower, tolerance, time_limit)
        if witness is not None and witness.shape != inputs.shape:
            raise InputError(
                f"witnesses must have the inputs' shape {tuple(inputs.shape)}, found {tuple(witness.shape)}"
            )
        if self.mode == "none":
            return [PairBound(1.0, "skipped", 0.0, "none", False) for _ in inputs]
        points = inputs.detach().to(self.teacher.device, torch.float64)
        known = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        if lower is not None:
            known = lower.detach().to(known)
        where = points if witness is None else witness.detach().to(points)
        bounds: list[PairBound] = []
        with torch.no_grad():
            for part in (
                torch.arange(len(points)).split(1 if certify else self._at_once()) if len(points) else ()
            ):
                if self.mode in SEARCHING and ball.eps > 0:
                    tell = _Teller(watch, part.tolist(), len(points), self.clock, time_limit)
                    bounds += self._searched(
                        points[part], ball, known[part], where[part], tolerance, tell, certify
                    )
                else:
                    bounds += self._part(points[part], ball, time_limit)
        if lower is None:
            return bounds
        return [_closed(one, float(floor), tolerance) for one, floor in zip(bounds, lower, strict=True)]

    def resolution(self, inputs: Float[Tensor, "b ..."], ball: Ball) -> list[PairBound]:
        """The bounds of the teacher against itself: what the method leaves where the truth is 0."""
        return PairBounds(self.teacher, self.teacher, self.shape, mode=self.mode).bound(inputs, ball)

    def _check(
        self, inputs: Tensor, lower: Tensor | None, tolerance: float, time_limit: float | None
    ) -> None:
        if tuple(inputs.shape[1:]) != self.shape:
            raise InputError(f"inputs must have shape (batch, {self.shape}), found {tuple(inputs.shape)}")
        if lower is not None and lower.shape != inputs.shape[:1]:
            raise InputError(f"one lower bound a point is needed: {len(inputs)}, found {tuple(lower.shape)}")
        if math.isnan(tolerance) or tolerance < 0:
            raise InputError(f"the tolerance must be 0 or more, found {tolerance}")
        if time_limit is not None and not time_limit > 0:
            raise InputError(f"the time limit must be a positive number of seconds, found {time_limit}")

    def _at_once(self) -> int:
        """Points a batch, so that its largest tensor of rows stays within the budget.

        Without a GPU to fill, a search takes point by point: the first answers come at once.
        """
        if self.mode == "milp" or (self.mode in SEARCHING and self.teacher.device.type == "cpu"):
            return 1
        rows = self.teacher.classes**2
        for graph in (self.teacher, self.student):
            if self.mode != "ibp":
                before = [graph.nodes[i].parents[0] for i in graph.activations]
                rows = max([rows, *(2 * size(graph.nodes[i].shape) for i in before if not graph.tight[i])])
        width = max(self.teacher.width, self.student.width)
        return max(1, crown.BATCH_BUDGET // (rows * width))

    def _part(self, points: Tensor, ball: Ball, time_limit: float | None) -> list[PairBound]:
        start = time.perf_counter()
        deadline = None if time_limit is None else start + time_limit * len(points)
        here = region(points, ball)
        ours, theirs = self.teacher(points), self.student(points)
        states: list[Status]
        if ball.eps == 0:
            known = ours.isfinite().all(1) & theirs.isfinite().all(1)
            upper = torch.where(known, difference_at(self.teacher, self.student, points)[1], 1.0)
            agree = known & (ours.argmax(1) == theirs.argmax(1))
            used, states = ["clean"] * len(points), ["exact" if one else "bounded" for one in known.tolist()]
        elif self.mode == "milp":
            passes = self._passes(here, deadline)
            upper, done, agree = milp_gaps(*passes, here, deadline)
            used, states = ["milp"] * len(points), ["bounded" if one else "timeout" for one in done]
        else:
            gaps, complete = self._gaps(here, deadline)
            upper, way = gaps.worst()
            agree = same_class(gaps, upper, ours, theirs)
            used = ["ibp" if self.mode == "ibp" else WAYS[i] for i in way.tolist()]
            states = ["bounded" if complete else "timeout"] * len(points)
        upper = upper.nan_to_num(nan=1.0).clamp(0, 1)
        rows = zip(upper.tolist(), states, used, agree.tolist(), strict=True)
        seconds = (time.perf_counter() - start) / len(points)
        return [PairBound(value, status, seconds, how, same) for value, status, how, same in rows]

    def _gaps(self, here: Region, deadline: float | None) -> tuple[Gaps, bool]:
        if self.mode == "ibp":
            ours = Pass(self.teacher, interval_bounds(self.teacher, here), {}, True)
            theirs = ours
            if self.student is not self.teacher:
                theirs = Pass(self.student, interval_bounds(self.student, here), {}, True)
            return interval_gaps(ours, theirs), True
        ours, theirs = self._passes(here, deadline)
        return self._met(ours, theirs, here, deadline)[0], ours.complete and theirs.complete

    def _met(
        self, ours: Pass, theirs: Pass, here: Region, deadline: float | None
    ) -> tuple[Gaps, Shared | None]:
        """CROWN's gaps, with those of the neurons' differences where both networks have one structure.

        The differences are returned where they help any point: networks trained apart may look alike and
        have nothing in common.
        """
        gaps = crown_gaps(ours, theirs, here)
        if not matches(self.teacher, self.student):
            return gaps, None
        shared = shared_pass(ours, theirs, here, deadline)
        better = met(gaps, logit_differences(shared))
        return better, shared if bool((better.worst()[0] < HELPS * gaps.worst()[0]).any()) else None

    def _passes(self, here: Region, deadline: float | None) -> tuple[Pass, Pass]:
        ours = crown_pass(self.teacher, here, deadline)
        return ours, ours if self.student is self.teacher else crown_pass(self.student, here, deadline)

    def _searched(
        self,
        points: Tensor,
        ball: Ball,
        lower: Tensor,
        witness: Tensor,
        tolerance: float,
        tell: _Teller,
        certify: bool,
    ) -> list[PairBound]:
        here = region(points, ball)
        ours, theirs = self._passes(here, None)
        gaps, shared = self._met(ours, theirs, here, None)
        if not certify:  # a certificate rests on the search alone
            tell.note(self.clock(), lower, gaps.worst()[0], torch.zeros(len(points), dtype=torch.long), 2)
        start = Start(ours, theirs, here, gaps, points, ball, lower, witness, shared)
        record: Record | None
        found, record = searched(start, tolerance, self.effort, self.mode == "exact", tell.more, certify)
        found.upper = found.upper.nan_to_num(nan=1.0)
        seconds = tell.finish(found.lower, found.upper, found.nodes)
        reached = evaluate_lower(self.teacher, self.student, found.witness.view_as(points))
        best = torch.maximum(lower, reached)
        agree = same_class(gaps, found.upper, self.teacher(points), self.student(points))
        bounds = []
        for i, (upper, floor, same) in enumerate(
            zip(found.upper.tolist(), best.tolist(), agree.tolist(), strict=True)
        ):
            met = upper - floor <= tolerance
            status: Status = "exact" if met else "timeout" if tell.late else "bounded"
            place = found.witness[i].view(self.shape)
            proof = None
            if record is not None:
                proof = certificate(self.teacher, self.student, points[i], ball, record, status)
                upper = min(1.0, max(upper, proof.upper))
            bounds.append(
                PairBound(
                    upper,
                    status,
                    seconds,
                    "search",
                    same,
                    floor,
                    place,
                    int(found.nodes[i]),
                    tell.history(i),
                    proof,
                )
            )
        return bounds


class _Teller:
    """Keeps the history of a group's search, tells who watches, and says when its time is up."""

    def __init__(
        self,
        watch: Callable[[Step], None] | None,
        numbers: list[int],
        points: int,
        clock: Clock,
        limit: float | None,
    ) -> None:
        self.watch, self.numbers, self.points, self.clock = watch, numbers, points, clock
        self.began = self.told = clock()
        self.late = False
        self.limit = math.inf if limit is None else limit * len(numbers)
        self.rows: list[list[tuple[float, float, float, int]]] = [[] for _ in numbers]

    def more(self, search: Search) -> bool:
        """Whether there is time left."""
        now = self.clock()
        found = search.found
        self.note(now, found.lower, found.upper, found.nodes, 2)
        if self.watch is not None and now - self.told >= TOLD:
            self.told = now
            self._tell(found.lower, found.upper, found.nodes, search.open.tolist(), False)
        self.late = now - self.began >= self.limit
        return not self.late

    def finish(self, lower: Tensor, upper: Tensor, nodes: Tensor) -> float:
        """The last row and the last report; seconds a point."""
        self.note(self.clock(), lower, upper, nodes, 3)
        self._tell(lower, upper, nodes, [0] * len(self.numbers), True)
        return (self.clock() - self.began) / len(self.numbers)

    def history(self, i: int) -> tuple[tuple[float, float, float, int], ...]:
        return tuple(self.rows[i])

    def note(self, now: float, lower: Tensor, upper: Tensor, nodes: Tensor, columns: int) -> None:
        """A row each, where one of the first `columns` of lower, upper, nodes is new. NaN is worth nothing."""
        ends = lower.nan_to_num(nan=0.0).tolist(), upper.nan_to_num(nan=1.0).tolist()
        for rows, *row in zip(self.rows, *ends, nodes.tolist(), strict=True):
            if not rows or row[:columns] != list(rows[-1][1 : 1 + columns]):
                rows.append((now - self.began, *row))

    def _tell(self, lower: Tensor, upper: Tensor, nodes: Tensor, open_: list[int], done: bool) -> None:
        if self.watch is None:
            return
        seconds = self.clock() - self.began
        rows = zip(self.numbers, lower.tolist(), upper.tolist(), nodes.tolist(), open_, strict=True)
        for number, low, high, count, left in rows:
            self.watch(Step(number, self.points, low, high, count, left, seconds, done))


def _graph(
    model: nn.Module | Graph,
    shape: tuple[int, ...],
    device: torch.device | None,
    who: str,
) -> Graph:
    if isinstance(model, Graph):
        if model.shape != shape:
            raise InputError(f"the {who} takes inputs of shape {model.shape}, the pair's is {shape}")
        return model
    try:
        return trace(model, shape, device=device)
    except InputError as error:
        raise InputError(f"the {who} cannot be bounded: {error}") from error


def _closed(bound: PairBound, lower: float, tolerance: float) -> PairBound:
    """The bound, called exact where it meets the lower one. NaN meets nothing."""
    if bound.upper - lower <= tolerance:
        return replace(bound, status="exact")
    return bound
