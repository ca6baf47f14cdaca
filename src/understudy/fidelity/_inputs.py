"""What every measurement asks of its inputs: finite logits (B, C) of one shape, B >= 1, labels in 0..C-1."""

from __future__ import annotations

from torch import Tensor

from understudy.errors import InputError


def check_logits(logits: Tensor, whose: str = "the model") -> None:
    """InputError unless the logits are finite floats (B, C) with at least one example and one class."""
    if logits.ndim != 2 or not logits.is_floating_point():
        raise InputError(
            f"logits of {whose} must be floats (B, C), found {logits.dtype} of shape {tuple(logits.shape)}"
        )
    if 0 in logits.shape:
        raise InputError(
            f"logits of {whose} hold no example or no class: their shape is {tuple(logits.shape)}"
        )
    finite = logits.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0, 0])
        raise InputError(f"logits of {whose} must be finite; row {row} is {logits[row].tolist()}")


def check_pair(teacher_logits: Tensor, student_logits: Tensor) -> None:
    """InputError unless both models' logits are sound and of one shape."""
    check_logits(teacher_logits, "the teacher")
    check_logits(student_logits, "the student")
    if teacher_logits.shape != student_logits.shape:
        raise InputError(
            "teacher and student logits must have the same shape (B, C), "
            f"found {tuple(teacher_logits.shape)} and {tuple(student_logits.shape)}"
        )


def check_labelled(logits: Tensor, labels: Tensor) -> None:
    """InputError unless the logits are sound and there is one label in 0..C-1 an example."""
    check_logits(logits)
    if labels.shape != logits.shape[:1]:
        raise InputError(
            f"{len(logits)} examples need labels of shape ({len(logits)},), found {tuple(labels.shape)}"
        )
    if labels.is_floating_point():
        raise InputError(f"labels must be integers, found {labels.dtype}")
    wrong = (labels < 0) | (labels >= logits.shape[1])
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        raise InputError(
            f"labels must lie in 0..{logits.shape[1] - 1} (there are {logits.shape[1]} classes); "
            f"row {row} has {int(labels[row])}"
        )
