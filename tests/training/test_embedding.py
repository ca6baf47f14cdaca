from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.testing import tiny_conv
from understudy.training.embedding import TappedBeforeHead, head_of


@pytest.mark.parametrize(
    ("spec", "head", "width"),
    [("mlp[12,7]", "5", 7), ("cnn[4,4,9]", "7", 9), ("resnet8[4]", "fc", 16), ("vit[2,8,1,2]", "head", 8)],
)
def test_what_enters_the_head_is_found_in_the_papers_networks(spec: str, head: str, width: int) -> None:
    net = zoo.build(ModelConfig(spec, (1, 8, 8), 10)).eval()
    assert head_of(net) == head
    inputs = torch.rand(3, 1, 8, 8)
    with TappedBeforeHead(net, {"embedding": None}) as look:
        logits, seen = look(inputs)
    assert seen["embedding"].shape == (3, width)
    torch.testing.assert_close(net.get_submodule(head)(seen["embedding"]), logits)
    assert not any(part._forward_hooks for part in net.modules())


def test_it_stands_beside_taps_by_name() -> None:
    net = tiny_conv()
    with TappedBeforeHead(net, {"embedding": None, "mid": "mid"}) as look:
        _, seen = look(torch.rand(2, 1, 6, 6))
    assert seen["mid"].shape == (2, 4, 3, 3)
    assert torch.equal(seen["embedding"], seen["mid"].flatten(1))


class SideHead(nn.Module):
    """Its last linear layer is not what gives the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.side = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(x.flatten(1))
        self.side(logits)
        return logits


def test_a_model_whose_embedding_cannot_be_told_is_refused() -> None:
    with pytest.raises(us.InputError, match="it has no such layer inside"):
        TappedBeforeHead(nn.Sequential(nn.Flatten(), nn.Conv1d(1, 1, 1)), {"embedding": None})
    with pytest.raises(us.InputError, match="no such layer inside"):
        TappedBeforeHead(nn.Linear(4, 5), {"embedding": None})
    with (
        TappedBeforeHead(SideHead(), {"embedding": None}) as look,
        pytest.raises(us.InputError, match="'side', gives 2 numbers and the model 5"),
    ):
        look(torch.rand(2, 4))
