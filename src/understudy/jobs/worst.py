"""The worst inputs of an audit, for its page: found once, kept in worst.safetensors, read back when it is redrawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from understudy.auditing.record import AuditRecord
from understudy.errors import InputError
from understudy.fidelity.emplb import Pair
from understudy.report.page import WorstCase

WORST = 8  # points whose worst inputs are shown on a page
ARRAYS = (
    "original", "perturbed", "teacher_clean", "student_clean", "teacher_attacked", "student_attacked",
)  # fmt: skip


def find_worst(record: AuditRecord, inputs: Tensor, witnesses: Tensor, pair: Pair) -> dict[str, Tensor]:
    """The counted points with the largest gap found at the largest radius, with both models' confidences.

    Args:
        inputs: (P, ...) the examined points.
        witnesses: (P, R, ...) float64, the last radius is shown.

    Returns:
        "row" (K,) positions among the points, and the arrays of `WorstCase`, (K, ...) float64 each.
    """
    counted = [row for row, point in enumerate(record.points) if point.radii[-1].lower is not None]
    chosen = sorted(counted, key=lambda row: -(record.points[row].radii[-1].lower or 0.0))[:WORST]
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
    """Read what `save_worst` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def worst_cases(record: AuditRecord, found: dict[str, Tensor]) -> Sequence[WorstCase]:
    """The page's cases, largest gap first."""
    names = record.data.class_names
    cases = []
    for i, row in enumerate(found["row"].tolist() if found else []):
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
                **{name: found[name][i].numpy() for name in ARRAYS},
            )
        )
    return cases
