"""`Program`: one LP or MILP for all objectives of a point, solved by HiGHS from the basis of the last."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from understudy.bounds.milp.assemble import Assembly
from understudy.bounds.milp.proof import Duals, Net
from understudy.bounds.milp.rows import LOGITS
from understudy.errors import InputError

TOLERANCE = 1e-9  # feasibility of rows, columns, reduced costs and integers, as given to the solver
FOREVER = 1e9  # seconds
LARGEST = 1e5  # of a column's range in a MILP: beyond it the tolerance means little


def import_highs() -> ModuleType:
    """The highspy package, or an InputError that says what to install."""
    try:
        import highspy
    except ImportError as missing:
        raise InputError(
            f"mode 'milp' needs highspy ({missing}): pip install 'understudy[milp]'"
        ) from missing
    return highspy


@dataclass(frozen=True)
class Solved:
    """A MILP's dual bound (infinite where there is none), and whether the solver finished."""

    upper: float
    finished: bool


class Program:
    """max of rows of logits over an assembly's constraints."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self._highs = import_highs()
        self._solver = self._build()

    def _build(self) -> Any:
        highspy, made = self._highs, self.assembly
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(made.low), len(made.row_low)
        model.col_cost_ = np.zeros(len(made.low))
        model.col_lower_, model.col_upper_ = made.low, made.high
        model.row_lower_, model.row_upper_ = made.row_low, made.row_high
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = made.matrix.indptr
        model.a_matrix_.index_ = made.matrix.indices
        model.a_matrix_.value_ = made.matrix.data
        model.sense_ = highspy.ObjSense.kMaximize
        if made.binaries:
            kinds = highspy.HighsVarType
            continuous = [kinds.kContinuous] * (len(made.low) - made.binaries)
            model.integrality_ = continuous + [kinds.kInteger] * made.binaries
        solver = highspy.Highs()
        settings: dict[str, Any] = {"output_flag": False, "threads": 1, "mip_rel_gap": 0.0}
        settings["mip_abs_gap"] = TOLERANCE
        for name in ("primal", "dual", "mip"):
            settings[f"{name}_feasibility_tolerance"] = TOLERANCE
        for name, value in settings.items():
            solver.setOptionValue(name, value)
        solver.passModel(model)
        return solver

    @property
    def scaled(self) -> bool:
        """The columns' ranges are small enough for a MILP's bound to be trusted."""
        return bool(
            np.abs(self.assembly.low).max() <= LARGEST and np.abs(self.assembly.high).max() <= LARGEST
        )

    def solve(self, rows: list[np.ndarray], deadline: float | None) -> Solved:
        """Maximise the sum over the networks of row . logits (one row a network, in the assembly's order).

        An LP's upper is infinite: a bound is proved from its `duals`. A MILP's dual bound rests on the solver's
        floating-point arithmetic and is not proved again. It is widened by TOLERANCE times the sum of the
        columns' ranges, which is what reduced costs wrong by the tolerance can hide, and relative to its size.
        A solver that fails, or finds no feasible point where there is one, has not finished and bounds nothing.
        """
        left = FOREVER if deadline is None else deadline - time.perf_counter()
        if not left > 0:
            return Solved(np.inf, False)
        made, solver, status = self.assembly, self._solver, self._highs.HighsModelStatus
        cost, constant = self._objective(rows)
        solver.setOptionValue(
            "time_limit", solver.getRunTime() + left
        )  # its clock runs on from solve to solve
        solver.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), cost)
        solver.run()
        found = solver.getModelStatus()
        finished = found == status.kOptimal
        if not made.integral or found not in (status.kOptimal, status.kTimeLimit):
            return Solved(np.inf, finished)
        value = solver.getInfo().mip_dual_bound
        if not np.isfinite(value):
            return Solved(np.inf, False)
        slack = TOLERANCE * (1 + float((made.high - made.low).sum()) + abs(value) + abs(constant))
        return Solved(value + constant + slack, finished)

    def _objective(self, rows: list[np.ndarray]) -> tuple[np.ndarray, float]:
        """Costs of all columns, and a constant."""
        cost, constant = np.zeros(len(self.assembly.low)), 0.0
        for part, row in zip(self.assembly.parts, rows, strict=True):
            logits = part.rows[LOGITS]
            constant += float(row @ logits.constant)
            for cut, matrix in logits.matrices.items():
                first = 0 if cut == 0 else part.columns[cut]
                cost[first : first + matrix.shape[1]] += row @ matrix
        return cost, constant

    def duals(self) -> list[dict[int, np.ndarray]]:
        """After an LP: per network and ReLU layer the multipliers of y >= z, 0 where there is no such row."""
        values = np.abs(np.array(self._solver.getSolution().row_dual))
        found = []
        for part in self.assembly.parts:
            own = {}
            for position, (index, first) in part.rising.items():
                own[position] = np.zeros(len(part.rows[position].constant))
                own[position][index] = values[first : first + len(index)]
            found.append(own)
        return found


def stacked(found: list[dict[int, np.ndarray]], net: Net) -> Duals:
    """Several objectives' multipliers of one network as tensors, rows first."""
    dtype, device = net.graph.dtype, net.graph.device
    return {
        position: torch.from_numpy(np.stack([one[position] for one in found]))
        .to(device, dtype)
        .view(len(found), *net.graph.nodes[position].shape)
        for position in (found[0] if found else {})
    }
