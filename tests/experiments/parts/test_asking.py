from __future__ import annotations

import torch
from torch import nn

from understudy.data import DataSet
from understudy.experiments.parts.asking import ask, fidelity_on
from understudy.fidelity.streaming import Fidelity


def test_all_inputs_are_asked_without_gradient() -> None:
    net, inputs = nn.Linear(3, 2), torch.rand(1100, 3)
    found = ask(net, inputs)
    torch.testing.assert_close(found, net(inputs))
    assert not found.requires_grad


def test_fidelity_is_over_all_of_the_data() -> None:
    teacher, student, inputs = nn.Linear(3, 2), nn.Linear(3, 2), torch.rand(1100, 3)
    labels = torch.arange(1100) % 2
    found = fidelity_on(DataSet("d", "test", inputs, labels, 2), teacher, student)
    whole = Fidelity()
    whole.update(ask(teacher, inputs), ask(student, inputs), labels)
    for name, one in whole.result().estimates().items():
        assert getattr(found, name).count == one.count
        torch.testing.assert_close(getattr(found, name).mean, one.mean)
