"""The triangle LP and the big-M MILP of one or two networks over one box, as sparse rows.

Columns: the input, then every activation's value, net by net, then (MILP) one binary for each ReLU that may
switch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.bounds.graph import Relu
from understudy.bounds.milp.proof import Net
from understudy.bounds.milp.rows import Affines

INF = np.inf


@dataclass(frozen=True, eq=False)
class Part:
    """One network in a program.

    Attributes:
        net, rows: what is known of it over the box, and its sparse rows.
        columns: by activation, the column where its values begin.
        rising: by ReLU layer, the flat positions of those that may switch and the row where their y >= z begin.
    """

    net: Net
    rows: dict[int, Affines]
    columns: dict[int, int] = field(default_factory=dict)
    rising: dict[int, tuple[np.ndarray, int]] = field(default_factory=dict)


class Assembly:
    """low <= columns <= high, row_low <= matrix @ columns <= row_high; the last `binaries` columns in {0, 1}."""

    def __init__(
        self,
        nets: list[tuple[Net, dict[int, Affines]]],
        middle: Tensor,
        radius: Tensor,
        *,
        integral: bool,
    ) -> None:
        from scipy.sparse import csr_array

        self.integral, self.binaries = integral, 0
        self._column_limits = [((middle - radius).cpu().numpy(), (middle + radius).cpu().numpy())]
        self._row_limits: list[tuple[np.ndarray, np.ndarray]] = []
        self._entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # rows, columns, values
        self._height, self._width = 0, len(middle)
        self.parts = [Part(net, rows) for net, rows in nets]
        for part in self.parts:
            for position in part.net.graph.activations:
                part.columns[position] = self._width
                self._add_columns(*self._column_bounds(part.net, position))
        for part in self.parts:
            for position in part.net.graph.activations:
                self._constrain(part, position)
        self._add_columns(np.zeros(self.binaries), np.ones(self.binaries))
        self.low, self.high = _joined(self._column_limits)
        self.row_low, self.row_high = _joined(self._row_limits)
        row, column, value = (
            np.concatenate([one[i] for one in self._entries]) if self._entries else np.zeros(0)
            for i in range(3)
        )
        index = (row.astype(np.int64), column.astype(np.int64))
        self.matrix: Any = csr_array((value, index), shape=(self._height, self._width))

    def _add_columns(self, low: np.ndarray, high: np.ndarray) -> None:
        self._column_limits.append((low, high))
        self._width += len(low)

    def _column_bounds(self, net: Net, position: int) -> tuple[np.ndarray, np.ndarray]:
        low, high = _argument(net, position)
        if self.integral:
            own_low, own_high = (_flat(side) for side in net.bounds[position])
            return own_low, own_high
        if not isinstance(net.graph.nodes[position].op, Relu):
            return np.full_like(low, -INF), np.full_like(high, INF)
        # in the LP no more than the proof from its multipliers knows as well
        return np.where(low >= 0, -INF, 0.0), np.where(high <= 0, 0.0, INF)

    def _constrain(self, part: Part, position: int) -> None:
        """Rows for one layer of activations y of z."""
        net = part.net
        low, high = _argument(net, position)
        if not isinstance(net.graph.nodes[position].op, Relu):
            lines, every = net.relaxations[position], np.arange(len(low))
            below = torch.zeros_like(lines.lower) if lines.lower_intercept is None else lines.lower_intercept
            self._add(part, position, every, _flat(lines.lower), _flat(below), INF)
            self._add(part, position, every, _flat(lines.upper), -INF, _flat(lines.intercept))
            return
        on, may = (low >= 0).nonzero()[0], ((low < 0) & (high > 0)).nonzero()[0]
        self._add(part, position, on, np.ones(len(on)), 0.0, 0.0)
        part.rising[position] = (may, self._height)
        ones = np.ones(len(may))
        self._add(part, position, may, ones, 0.0, INF)
        if not self.integral:
            lines = net.relaxations[position]
            chord, shift = _flat(lines.upper)[may], _flat(lines.intercept)[may]
            self._add(part, position, may, chord, -INF, shift)
            return
        # y <= z - low (1 - binary), y <= high binary; every other column exists by now
        binary = self._width + self.binaries + np.arange(len(may))
        self.binaries += len(may)
        self._entries.append((self._height + np.arange(len(may)), binary, -low[may]))
        self._add(part, position, may, ones, -INF, -low[may])
        here, own = self._height + np.arange(len(may)), part.columns[position] + may
        self._entries += [(here, own, ones), (here, binary, -high[may])]
        self._limit(np.full(len(may), -INF), np.zeros(len(may)))

    def _add(
        self,
        part: Part,
        position: int,
        index: np.ndarray,
        slope: np.ndarray,
        low: np.ndarray | float,
        high: np.ndarray | float,
    ) -> None:
        """Rows low <= y - slope z <= high for the entries `index` of a layer."""
        affines, here = part.rows[position], self._height + np.arange(len(index))
        self._entries.append((here, part.columns[position] + index, np.ones(len(index))))
        for cut, matrix in affines.matrices.items():
            block = matrix[index].tocoo()
            first = 0 if cut == 0 else part.columns[cut]
            self._entries.append(
                (self._height + block.row, first + block.col, -slope[block.row] * block.data)
            )
        shift = slope * affines.constant[index]  # z's constant, moved to the limits
        self._limit(shift + low, shift + high)

    def _limit(self, low: np.ndarray, high: np.ndarray) -> None:
        self._row_limits.append((low, high))
        self._height += len(low)


def _argument(net: Net, position: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = net.bounds[net.graph.nodes[position].parents[0]]
    return _flat(low), _flat(high)


def _flat(values: Tensor) -> np.ndarray:
    return values.flatten().cpu().double().numpy()


def _joined(limits: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if not limits:
        return np.zeros(0), np.zeros(0)
    low, high = zip(*limits, strict=True)
    return np.concatenate(low), np.concatenate(high)
