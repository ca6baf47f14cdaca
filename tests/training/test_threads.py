from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.testing import tiny_lm
from understudy.training.threads import forward_flops, threads_for, using_threads


def test_operations_of_a_forward_pass_are_counted() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).train()
    assert forward_flops(net, (1, 8, 8), 128) == 128 * 2 * (64 * 32 + 32 * 10)
    assert net.training


def test_language_models_are_asked_about_tokens() -> None:
    net = tiny_lm(5)
    assert forward_flops(net, (6,), 10, tokens=True) == 10 * 6 * 2 * (8 * 8 + 8 * 5)
    assert threads_for(net, (6,), 10, tokens=True) == 1


def test_small_nets_get_one_thread_and_large_ones_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    small, large = nn.Linear(64, 10), nn.Linear(2000, 2000)
    assert threads_for(small, (64,), 128) == 1
    assert threads_for(large, (2000,), 128) == 8
    assert threads_for(large, (2000,), 128, processes=3) == 2
    assert threads_for(large, (2000,), 128, processes=100) == 1


def test_the_number_of_threads_comes_back() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with using_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.get_num_threads() == before
