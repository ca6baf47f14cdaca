from __future__ import annotations

import torch
from torch import nn

from understudy.experiments.parts.asking import ask


def test_all_inputs_are_asked_without_gradient() -> None:
    net, inputs = nn.Linear(3, 2), torch.rand(1100, 3)
    found = ask(net, inputs)
    torch.testing.assert_close(found, net(inputs))
    assert not found.requires_grad
