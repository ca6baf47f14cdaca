"""`PairBounds`: how far two networks' confidences can differ on the ball around each point, at most."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds import crown
from understudy.bounds.crown import Pass, crown_pass
from understudy.bounds.graph import Graph
from understudy.bounds.interval import interval_bounds
from understudy.bounds.ops import size
from understudy.bounds.pair import Gaps, crown_gaps, interval_gaps, same_class
from understudy.bounds.region import Region, region
from understudy.bounds.trace import trace
from understudy.errors import InputError, unknown

Mode = Literal["none", "ibp", "crown", "exact"]
Status = Literal["exact", "bounded", "timeout", "skipped"]
WAYS = ("ub1", "ub2", "ub3")


@dataclass(frozen=True)
class PairBound:
    """One point's bound: D(x) <= upper, in real arithmetic on the stored weights, up to float64 rounding.

    Attributes:
        upper: in [0, 1].
        status: exact (upper - lower <= tolerance, or eps 0), bounded (the method finished), timeout (the
            limit came first: looser, still sound), skipped (mode none: upper is 1).
        seconds: time of its batch divided by the batch's size.
        used: which bound was smallest for the worst class ("ub1", "ub2", "ub3"), "ibp", "clean" at eps 0,
            "none" where nothing was bounded.
        same_class: proved that both networks predict one same class on the whole ball.
    """

    upper: float
    status: Status
    seconds: float
    used: str
    same_class: bool


class PairBounds:
    """Upper bounds of D(x) = max over the ball and over classes of |softmax(teacher)_k - softmax(student)_k|.

    Args:
        teacher, student: modules that map (batch, *shape) to logits (batch, classes), or their graphs, as
            another `PairBounds` holds them (saves tracing a teacher again). The same object given twice gives
            the resolution of the bounds: what they leave where the truth is 0. The modules are not touched.
        shape: of one input.
        mode: "ibp" (interval arithmetic), "crown" (linear bounds), "none" (every point skipped).
        dtype: the precision computed in; float64 unless the rounding error of float32 is acceptable.

    Raises:
        InputError: an operator that cannot be bounded; class counts or input shapes that differ; a mode that
            does not exist or is not built.
    """

    def __init__(
        self,
        teacher: nn.Module | Graph,
        student: nn.Module | Graph,
        shape: tuple[int, ...],
        *,
        mode: Mode = "crown",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if mode not in get_args(Mode):
            raise unknown("mode", str(mode), get_args(Mode))
        if mode == "exact":
            raise InputError("mode 'exact' is not built yet: use 'crown' (sound, not exact)")
        self.mode = mode
        self.shape = tuple(shape)
        self.teacher = _graph(teacher, self.shape, dtype, None, "teacher")
        self.student = self.teacher
        if student is not teacher:
            self.student = _graph(student, self.shape, dtype, self.teacher.device, "student")
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
        tolerance: float = 1e-4,
        time_limit: float | None = None,
    ) -> list[PairBound]:
        """One bound a point.

        Args:
            inputs: points (b, *shape) in the ball's valid range.
            ball: the radius, norm and range.
            lower: what an attack found at each point; decides the status only.
            tolerance: upper - lower that counts as exact, 0 or more.
            time_limit: seconds a point. When a batch has used up its points' time, the layers that are left
                get interval arithmetic, and its points the status timeout.

        Raises:
            InputError: inputs of another shape, not finite or out of range; a lower of another length; a
                tolerance or time limit that is negative or NaN.
        """
        self._check(inputs, lower, tolerance, time_limit)
        if self.mode == "none":
            return [PairBound(1.0, "skipped", 0.0, "none", False) for _ in inputs]
        points = inputs.detach().to(self.teacher.device, self.teacher.dtype)
        bounds: list[PairBound] = []
        with torch.no_grad():
            for part in points.split(self._at_once()) if len(points) else ():
                bounds += self._part(part, ball, time_limit)
        if lower is None:
            return bounds
        return [_closed(one, float(known), tolerance) for one, known in zip(bounds, lower, strict=True)]

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
        """Points a batch, so that its largest tensor of rows stays within the budget."""
        rows = self.teacher.classes**2
        for graph in (self.teacher, self.student):
            if self.mode == "crown":
                before = [graph.nodes[i].parents[0] for i in graph.relus]
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
            upper = (ours.softmax(1) - theirs.softmax(1)).abs().amax(1)
            known = upper.isfinite()
            agree = known & (ours.argmax(1) == theirs.argmax(1))
            used, states = ["clean"] * len(points), ["exact" if one else "bounded" for one in known.tolist()]
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
        ours = crown_pass(self.teacher, here, deadline)
        theirs = ours if self.student is self.teacher else crown_pass(self.student, here, deadline)
        return crown_gaps(ours, theirs, here), ours.complete and theirs.complete


def _graph(
    model: nn.Module | Graph,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device | None,
    who: str,
) -> Graph:
    if isinstance(model, Graph):
        if model.shape != shape:
            raise InputError(f"the {who} takes inputs of shape {model.shape}, the pair's is {shape}")
        return model
    try:
        return trace(model, shape, dtype, device)
    except InputError as error:
        raise InputError(f"the {who} cannot be bounded: {error}") from error


def _closed(bound: PairBound, lower: float, tolerance: float) -> PairBound:
    """The bound, called exact where it meets the lower one. NaN meets nothing."""
    if bound.upper - lower <= tolerance:
        return PairBound(bound.upper, "exact", bound.seconds, bound.used, bound.same_class)
    return bound
