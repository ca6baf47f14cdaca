"""The net with an embedding a label."""

from __future__ import annotations

import pytest
import torch

from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.label_cnn import PER_LABEL
from understudy.models.taps import Tapped
from understudy.models.zoo import build, full_spec


def test_it_embeds_every_label_and_answers_for_it_alone() -> None:
    torch.manual_seed(0)
    net = build(ModelConfig("label_cnn[4,8]", (1, 16, 16), 5)).eval()
    x = torch.rand(3, 1, 16, 16)
    with Tapped(net, {"labels": PER_LABEL}) as tapped:
        logits, seen = tapped(x)
    assert logits.shape == (3, 5)
    assert seen["labels"].shape == (3, 5, 8)
    one = torch.autograd.grad(logits[:, 2].sum(), seen["labels"])[0]
    assert one[:, 2].abs().min() > 0
    assert not one[:, [0, 1, 3, 4]].any()


def test_attention_is_a_mean_over_the_places() -> None:
    torch.manual_seed(0)
    net = build(ModelConfig("label_cnn[4,8]", (1, 16, 16), 5)).eval()
    attention = net.get_submodule(PER_LABEL)
    place = torch.randn(1, 8, 1, 1)
    everywhere, once = attention(place.expand(1, 8, 4, 4)), attention(place)
    torch.testing.assert_close(everywhere, once)
    maps = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(attention(maps), attention(maps.flip(2, 3)))


def test_its_sizes() -> None:
    assert full_spec("label_cnn", (1, 16, 16)) == "label_cnn[16,32]"
    with pytest.raises(InputError, match="2 numbers"):
        full_spec("label_cnn[4]", (1, 16, 16))
    with pytest.raises(InputError, match="at least 4 pixels"):
        full_spec("label_cnn", (1, 3, 3))
