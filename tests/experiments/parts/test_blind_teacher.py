"""A teacher that knows nothing: its gradients are those of distillation from smoothed answers."""

from __future__ import annotations

import pytest
import torch

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.experiments.parts.blind_teacher import BlindTeacher
from understudy.methods.logits.label_smoothing import smoothed
from understudy.methods.robust.kd import SD
from understudy.models.outputs import Outputs, View
from understudy.testing import check_method


def test_the_battery() -> None:
    assert check_method(BlindTeacher(alpha=0.7, temperature=3.0))


def test_gradients_are_those_of_distillation_from_smoothed_answers() -> None:
    labels = torch.tensor([0, 2, 1, 2])
    batch = Batch({"clean": torch.zeros(4, 1)}, torch.arange(4), labels)
    own = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    answers = 2.0 * smoothed(labels, 3, 0.3).log()  # softmax(answers / 2) are the smoothed labels
    student, teacher = (Outputs({"clean": View(logits)}) for logits in (own, answers))
    grads = []
    for method in (BlindTeacher(alpha=0.9, temperature=2.0, share=0.3), SD(alpha=0.9, temperature=2.0)):
        loss = sum(values.mean() for values in method.terms(student, teacher, batch).values())
        grads += torch.autograd.grad(loss, own)
    torch.testing.assert_close(*grads)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="share"):
        BlindTeacher(share=1.5)
