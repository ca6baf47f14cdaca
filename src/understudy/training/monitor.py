"""What is measured after each epoch: the student on a fixed part of its training data. Never on test data."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.batch import CLEAN
from understudy.data.dataset import DataSet
from understudy.models.look import answer_of, in_mode, logits_of
from understudy.objectives.divergences import kl
from understudy.training.label_metrics import label_metrics

EXAMPLES = 500


class Monitor:
    """Accuracy and (with a teacher) top-1 agreement, in [0, 1], and KL, nats, on the first 500 training examples.

    Of a graph all nodes are looked at; accuracy is of the examples that bear a label. Where the models answer
    with vectors that mean no class (`vectors`), the distance and the cosine between their answers instead; of text,
    over the tokens that count, and without the KL. The teacher is asked once: its answers do not change.
    """

    def __init__(
        self, teacher: nn.Module | None, data: DataSet, device: torch.device, *, vectors: bool = False
    ) -> None:
        self.vectors, self.several = vectors, data.multi_label
        rows = slice(0, len(data) if data.edges is not None else min(EXAMPLES, len(data)))
        self.portion = len(data) if data.edges is not None else 250
        self.inputs = data.inputs(rows).to(device)
        self.labels = None if data.labels is None else data.labels[rows]
        views, self.mask = data.views(rows), data.masks(rows).get(CLEAN)
        if self.mask is not None:  # position i says what token i + 1 is
            self.labels = self.inputs.cpu().roll(-1, 1)[self.mask]
        same = (
            teacher is not None and len(views) == 1
        )  # a teacher with another tokenizer reads a view of its own
        self.teacher = self._answers(teacher) if teacher is not None and same else None

    def _answers(self, module: nn.Module) -> Tensor:
        with torch.no_grad(), in_mode(module, False):
            if self.mask is not None:
                said = [answer_of(module(part)).argmax(-1).cpu() for part in self.inputs.split(20)]
                return torch.cat(said)[self.mask]
            said = [logits_of(module(part)) for part in self.inputs.split(self.portion)]
        return torch.cat([part.cpu() for part in said])

    def __call__(self, student: nn.Module) -> dict[str, float]:
        """What holds of the student now: "train_accuracy" with labels, "agreement" and "kl" with a teacher.

        "kl" is the mean KL(teacher || student) at temperature 1, left out if it is not finite; both lie within the
        first 500 examples.

        Of several labels an example what `label_metrics` says. Of vectors: "distance", the mean of |student - teacher|,
        and "cosine", its mean; {} if their lengths differ.
        """
        said = self._answers(student)
        if self.vectors:
            if self.teacher is None or self.teacher.shape != said.shape:
                return {}
            apart, cosine = (said - self.teacher).norm(dim=1), F.cosine_similarity(said, self.teacher)
            return {"distance": apart.double().mean().item(), "cosine": cosine.double().mean().item()}
        if self.several and self.labels is not None:
            return label_metrics(said, self.labels, self.teacher)
        known = {
            "train_accuracy": self.labels,
            "agreement": None if self.teacher is None else _top(self.teacher),
        }
        answers = _top(said)
        found = {
            name: (answers == truth)[truth >= 0].double().mean().item()
            for name, truth in known.items()
            if truth is not None and (truth >= 0).any()
        }
        if self.teacher is not None and self.teacher.dim() == 2 and self.teacher.shape == said.shape:
            apart_by = kl(self.teacher, said).double().mean().item()
            if math.isfinite(apart_by):  # a student may have diverged, a teacher may rule a class out
                found["kl"] = apart_by
        return found


def _top(said: Tensor) -> Tensor:
    """The top class of logits (N, C); what is a class already stays."""
    return said.argmax(1) if said.dim() == 2 else said
