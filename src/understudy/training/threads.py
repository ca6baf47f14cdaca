"""How many CPU threads a training uses. Small networks are faster on one: waking the others costs more than they do.

On a machine that is busy otherwise the difference is not a few per cent: threads that wait for one another in every
small operation were measured ten times slower than one thread alone (2 cores, a 64-64-64-10 network).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from understudy.models.gcn import asked_at_once
from understudy.models.look import in_mode

ALONE = 5e8  # floating-point operations of a forward pass over a batch below which one thread is used


def forward_flops(
    module: nn.Module, shape: tuple[int, ...], batch_size: int, *, tokens: bool = False
) -> float:
    """Floating-point operations of one forward pass over `batch_size` inputs, counted on one (or a whole graph)."""
    parameter = next(module.parameters(), torch.zeros(()))
    count = asked_at_once(module, 1)
    kind = torch.int64 if tokens else parameter.dtype
    probe = torch.zeros(count, *shape, dtype=kind, device=parameter.device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), in_mode(module, False), counter:
        module(probe)
    return float(counter.get_total_flops()) * batch_size / count


def threads_for(
    module: nn.Module, shape: tuple[int, ...], batch_size: int, processes: int = 1, *, tokens: bool = False
) -> int:
    """CPU threads a process for training `module`: 1 for a small network, else its share of torch's threads.

    `tokens` says that its inputs are token indices, not floats.
    """
    if forward_flops(module, shape, batch_size, tokens=tokens) < ALONE:
        return 1
    return max(1, torch.get_num_threads() // processes)


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Inside the block torch uses `count` CPU threads; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
