"""What a model says on a whole split as it is: measured example by example, so that methods can be paired by example.

The audit looks hard at a few points; accuracy, KL and agreement are cheap, and precise only with many examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.fidelity import calibration
from understudy.fidelity.agreement import top1_agreement, top1_correct
from understudy.models.look import in_mode, logits_of
from understudy.models.saved import read_tensors
from understudy.objectives.divergences import cross_entropy, kl, total_variation

ROWS = 500  # examples at a time; part of what the last bits depend on
ANSWERS = "answers.safetensors"
WHOLE = ("relative_ece", "ece_student")  # of the split, not of an example


def answers(module: nn.Module, data: DataSet, device: torch.device) -> Float[Tensor, "n c"]:
    """The logits on every example, as the model computes them; on the CPU, in float64."""
    said = []
    module = module.to(device)
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    with torch.no_grad(), in_mode(module, False):
        for start in range(0, len(data), ROWS):
            x = data.inputs(slice(start, min(start + ROWS, len(data))))
            said.append(logits_of(module(x.to(device, like.dtype))).double().cpu())
    return torch.cat(said)


def measure(
    teacher: Float[Tensor, "n c"], student: Float[Tensor, "n c"], labels: Tensor | None
) -> dict[str, Tensor]:
    """Name -> one value an example (N,), float64; those of the whole split are numbers ().

    `agreement` and `accuracy` are 0 or 1, `kl` is KL(teacher || student) and `nll_student` is in nats,
    `brier_student` in [0, 2]. What needs labels is over those examples that bear one; absent if none does.
    """
    found = {
        "agreement": top1_agreement(teacher, student).double(),
        "kl": kl(teacher, student),
        "total_variation": total_variation(teacher, student),
        "relative_ece": torch.tensor(calibration.relative_ece(teacher, student), dtype=torch.float64),
    }
    known = None if labels is None else labels >= 0
    if labels is not None and known is not None and known.any():
        student, labels = student[known], labels[known]
        found["accuracy"] = top1_correct(student, labels).double()
        found["nll_student"] = cross_entropy(student, labels)
        right = torch.nn.functional.one_hot(labels.long(), student.shape[1])
        found["brier_student"] = (student.softmax(1) - right).square().sum(1)
        found["ece_student"] = torch.tensor(calibration.ece(student, labels), dtype=torch.float64)
    return found


def teacher_measures(teacher: Float[Tensor, "n c"], labels: Tensor | None) -> dict[str, float]:
    """The teacher's own: accuracy, NLL, Brier and ECE against the labels; {} without labels."""
    found = measure(teacher, teacher, labels)
    wanted = {"accuracy": "accuracy", "nll_student": "nll", "brier_student": "brier", "ece_student": "ece"}
    return {name: float(found[key].mean()) for key, name in wanted.items() if key in found}


def save_answers(path: Path, found: Mapping[str, Tensor]) -> None:
    """Write what `measure` gave, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(dict(found), partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"could not write {path}: {error}") from error


def read_answers(path: Path) -> dict[str, Tensor]:
    """Read what `save_answers` wrote. Raises InputError if the file is missing or damaged."""
    return read_tensors(path)
