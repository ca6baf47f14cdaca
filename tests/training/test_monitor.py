from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.data.dataset import DataSet
from understudy.training.monitor import EXAMPLES, monitor


def test_accuracy_and_agreement_are_shares_of_the_first_examples() -> None:
    inputs = torch.rand(EXAMPLES + 300, 3)
    labels = inputs.argmax(1)
    labels[EXAMPLES:] = (labels[EXAMPLES:] + 1) % 3  # wrong beyond the first thousand: not looked at
    labels[:100] = (labels[:100] + 1) % 3
    data = DataSet("made", "train", inputs, labels)
    student, teacher = nn.Identity().train(), nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        teacher.weight.copy_(torch.eye(3)[[1, 2, 0]])
    found = monitor(student, teacher, data, torch.device("cpu"))
    agree = (inputs[:EXAMPLES].argmax(1) == teacher(inputs[:EXAMPLES]).argmax(1)).float().mean()
    assert found == {"train_accuracy": pytest.approx(0.9), "agreement": pytest.approx(float(agree))}
    assert student.training
    assert monitor(student, None, DataSet("made", "train", inputs), torch.device("cpu")) == {}
