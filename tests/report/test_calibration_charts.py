"""Calibration charts: which bins are drawn."""

from __future__ import annotations

import pytest

from understudy.auditing.record import Bin
from understudy.report.calibration_charts import LEAST, BinSeries, reliability


def bins(*counts: int) -> list[Bin]:
    width = 1 / len(counts)
    return [Bin(i * width, (i + 1) * width, n, (i + 0.5) * width, 0.5) for i, n in enumerate(counts)]


def dots(*series: list[Bin]) -> int:
    drawn = reliability(
        "t", [BinSeries(str(i), f"s{i}", one) for i, one in enumerate(series)], "x", "y", "share"
    )
    return str(drawn).count("]: confidence")


def test_small_bins_are_left_out_beside_large_ones_only() -> None:
    few, many = bins(1, LEAST - 1, 2), bins(1, LEAST, 2 * LEAST)
    assert dots(few) == dots(many) == 3
    assert dots(few, many) == 2
    assert dots(few, few) == 6


@pytest.mark.parametrize("kind", ["diagonal", "deviation"])
def test_nothing_measured_is_said(kind: str) -> None:
    empty = [BinSeries("one", "s0", [Bin(0.0, 1.0, 0, None, None)])]
    assert "Nothing was measured." in str(reliability("t", empty, "x", "y", kind))  # type: ignore[arg-type]
