"""The worst inputs of an audit, for its page: found once, kept in worst.safetensors, read back when it is redrawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from understudy.auditing.record import AuditRecord
from understudy.fidelity.emplb import Pair
from understudy.models.saved import read_tensors
from understudy.report.page import WorstCase

WORST = (
    8  # points whose worst inputs are shown for each method of a comparison, and at least on an audit's page
)
MOST, VALUES = 100, 1_000_000  # of an audit: points at most, and input values of all of them
ARRAYS = (
    "original", "perturbed", "teacher_clean", "student_clean", "teacher_attacked", "student_attacked",
)  # fmt: skip


def most_points(values: int) -> int:
    """How many inputs of so many values an audit's page shows."""
    return max(WORST, min(MOST, VALUES // max(values, 1)))


def find_worst(record: AuditRecord, inputs: Tensor, witnesses: Tensor, pair: Pair) -> dict[str, Tensor]:
    """The counted points at the largest radius, the largest gap found first, with both models' confidences.

    All of them, as long as they are at most `most_points`.

    Args:
        inputs: (P, ...) the examined points.
        witnesses: (P, R, ...) float64, the last radius is shown.

    Returns:
        "row" (K,) positions among the points, and the arrays of `WorstCase`, (K, ...) float64 each.
    """
    counted = [row for row, point in enumerate(record.points) if point.radii[-1].lower is not None]
    chosen = sorted(counted, key=lambda row: -(record.points[row].radii[-1].lower or 0.0))
    chosen = chosen[: most_points(inputs[0].numel())]
    if not chosen:
        return {}
    original, perturbed = inputs[chosen], witnesses[chosen, -1].to(inputs.device)
    clean, attacked = pair.exact_logits(original), pair.exact_logits(perturbed)
    logits = dict(zip(ARRAYS[2:], (*clean, *attacked), strict=True))
    found = {name: value.softmax(1) for name, value in logits.items()}
    found.update(original=original.double(), perturbed=perturbed)
    kept = {name: value.cpu().contiguous() for name, value in found.items()}
    return {"row": torch.tensor(chosen), **kept}


def save_worst(path: Path, found: dict[str, Tensor]) -> None:
    """Write what `find_worst` found."""
    save_file(found, path)


def read_worst(path: Path) -> dict[str, Tensor]:
    """Read what `save_worst` wrote. Raises InputError if the file is missing or damaged."""
    return read_tensors(path)


def as_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The same for the page, which knows no tensors."""
    return {name: value.numpy() for name, value in tensors.items()}


def worst_cases(
    record: AuditRecord, found: dict[str, Tensor], most: int | None = WORST
) -> Sequence[WorstCase]:
    """The page's cases, largest gap first, at most `most` of them or all."""
    names = record.data.class_names
    cases = []
    for i, row in enumerate(found["row"].tolist()[:most] if found else []):
        point = record.points[row]
        last = point.radii[-1]
        label = None if point.label is None else names[point.label] if names else str(point.label)
        cases.append(
            WorstCase(
                index=point.index,
                eps=last.eps,
                label=label,
                lower=last.lower or 0.0,
                upper=last.upper,
                closed=last.status == "exact",
                **{name: found[name][i].numpy() for name in ARRAYS},
            )
        )
    return cases
