"""Randomised smoothing in the terminal: a table by radius, and in plain words what was shown and what was not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from understudy.auditing.smoothing_record import SmoothedRadius, SmoothingRecord
from understudy.report.words import count, norm_name, number, percent, radius


def smoothing_table(record: SmoothingRecord) -> RenderableType:
    """A row a radius: how far the bound was moved, its mean over the points and its maximum; then the statement."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("ε", "ρ/σ", "upper\nmean", "upper\nmax"):
        table.add_column(head, justify="right")
    for row in record.summary:
        table.add_row(
            radius(row.eps), f"{row.rho / record.sigma:.3g}", number(row.upper_mean), number(row.upper_max)
        )
    estimate = math.fsum(point.mean for point in record.points) / len(record.points)
    note = (
        f"{norm_name(record.norm)} balls around {count(len(record.points), 'point')} of {record.data.name} "
        f"({record.data.split}), noise σ = {record.sigma:g}, {record.samples:,} draws a point. "
        f"Estimate at ε = 0, no bound: {number(estimate, 4)}."
    )
    return Group(table, Text(note), Text(""), Text(record.statement))


def smoothing_statement(
    summary: Sequence[SmoothedRadius],
    *,
    points: int,
    sigma: float,
    norm: str,
    confidence: float,
    joint: float | None,
    low: float | None,
    high: float | None,
    precision: str,
    device: str,
) -> str:
    """One paragraph: what holds, with what confidence, of which networks, and what does not follow."""
    last = max(summary, key=lambda row: row.eps)
    within = "at" if last.rho == 0 else f"within an {norm_name(norm)} radius of {radius(last.eps)} of"
    points_named = "the point" if points == 1 else f"each of {count(points, 'point')}"
    together = "" if joint is None or points == 1 else f", and at {_percent(joint)} for all points at once"
    found = number(last.upper_max)
    if points > 1:
        found = (
            f"a bound that is {number(last.upper_mean)} on average over the points and {found} at the worst"
        )
    limits = "the inputs have no declared range"
    if low is not None and high is not None:
        limits = (
            f"the noise leaves the valid range [{low:g}, {high:g}], where both networks were run as they are, "
            "without clipping"
        )
    return (
        f"Shown statistically: {within} {points_named}, the absolute difference of the two "
        f"models' confidences, averaged over Gaussian noise of standard deviation {sigma:g} on every input value, "
        f"is in every class at most {found}. This holds at a confidence of {_percent(confidence)} for "
        f"each point by itself{together}. It speaks of the smoothed pair, that is of averages over the noise: at "
        f"a single input the two networks may differ by more. It speaks of the networks as they were run "
        f"({precision} on {device}); {limits}."
    )


def _percent(share: float) -> str:
    """A confidence, not rounded up to certainty."""
    return percent(share) if share <= 0.9994 else f"{math.floor(1e8 * share) / 1e6:g}%"
