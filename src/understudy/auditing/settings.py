"""`AuditSettings`: what an audit examines and how hard it tries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from understudy.attacks import Ball, Norm
from understudy.data.dataset import DataSet
from understudy.errors import InputError, unknown
from understudy.numbers import check_number

Certify = Literal["none", "ibp", "crown", "alpha", "milp", "exact"]
SEARCHES: tuple[Certify, ...] = (
    "milp",
    "exact",
)  # go on until they are done, which may be never: they get a limit
SECONDS = 30.0  # that limit, a point and radius, where none is stated
PROVING: tuple[Certify, ...] = ("alpha", "exact")  # hand out certificates


@dataclass(frozen=True)
class AuditSettings:
    """The options of an audit.

    Attributes:
        eps: radii in the data's units; 0 is always added, and they are kept sorted.
        points: how many rows are examined; None takes 100, or as many as there are.
        start: the first row.
        all_points: whether points that the teacher gets wrong are counted too (always so without labels).
        certify: "none", or the bound that is computed: "ibp" (interval arithmetic), "crown" (linear bounds), "alpha"
            (their slopes optimised), "exact" (branch and bound until lower and upper meet), "milp" (HiGHS).
        time_limit: seconds a point and radius for the bound; None for no limit, 30 for "exact" and "milp".
        tolerance: a point is called exact when upper - lower is at most this.
        norm: "linf" or "l2".
        seed: of the attacks' random starts.
        certificates: whether each proof is kept as a file; for "alpha" and "exact" over l_inf balls.
    """

    eps: tuple[float, ...]
    points: int | None = None
    start: int = 0
    all_points: bool = False
    certify: Certify = "crown"
    time_limit: float | None = None
    tolerance: float = 1e-4
    norm: Norm = "linf"
    seed: int = 0
    certificates: bool = False

    def __post_init__(self) -> None:
        for eps in self.eps:
            Ball(eps, self.norm, -math.inf, math.inf)
        object.__setattr__(self, "eps", tuple(sorted({0.0, *map(float, self.eps)})))
        if self.points is not None and self.points < 1:
            raise InputError(f"points must be 1 or more, found {self.points}")
        if self.start < 0:
            raise InputError(f"start must be 0 or more, found {self.start}")
        if self.certify not in get_args(Certify):
            raise unknown("certificate", str(self.certify), get_args(Certify))
        if self.certificates and (self.certify not in PROVING or self.norm != "linf"):
            raise InputError(
                f"certificates come from --certify {' or '.join(PROVING)} over linf balls, found "
                f"{self.certify} over {self.norm}"
            )
        if self.time_limit is None and self.certify in SEARCHES:
            object.__setattr__(self, "time_limit", SECONDS)
        if self.time_limit is not None:
            check_number("time_limit (seconds)", self.time_limit, 0.0, above=True)
        check_number("tolerance", self.tolerance, 0.0)
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be 0 or more, below 2**63, found {self.seed}")

    def check(self, data: DataSet) -> None:
        """InputError if the data set lacks the rows, or a radius is larger than its whole range."""
        self.rows(len(data))
        for eps in self.eps:
            Ball(eps, self.norm, data.low, data.high)

    def rows(self, available: int) -> slice:
        """The rows of a split of `available` examples.

        Raises:
            InputError: there are not that many.
        """
        if self.start >= available:
            raise InputError(f"start {self.start} lies past the last row: the split has {available}")
        wanted = min(100, available - self.start) if self.points is None else self.points
        if self.start + wanted > available:
            raise InputError(
                f"points {self.start}..{self.start + wanted - 1} were asked for; the split has {available} rows"
            )
        return slice(self.start, self.start + wanted)
