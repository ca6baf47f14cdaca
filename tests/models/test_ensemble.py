"""`MeanConfidence`: the mean of confidences, as logits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.models.ensemble import MeanConfidence


def test_the_mean_of_confidences() -> None:
    torch.manual_seed(0)
    members = [nn.Linear(4, 3) for _ in range(3)]
    x = torch.randn(6, 4)
    mean = sum(member(x).softmax(1) for member in members) / 3
    assert torch.allclose(MeanConfidence(members)(x).softmax(1), mean, atol=1e-6)
    assert torch.allclose(MeanConfidence(members[:1])(x), members[0](x).log_softmax(1))


def test_it_is_never_worse_than_its_members_on_average() -> None:
    torch.manual_seed(1)
    members = [nn.Linear(4, 3) for _ in range(3)]
    x, y = torch.randn(50, 4), torch.randint(0, 3, (50,))
    each = [nn.functional.cross_entropy(member(x), y) for member in members]
    assert nn.functional.cross_entropy(MeanConfidence(members)(x), y) <= torch.stack(each).mean()


def test_nobody() -> None:
    with pytest.raises(InputError, match="one member at least"):
        MeanConfidence([])
