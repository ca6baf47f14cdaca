"""What a network answers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.models.look import logits_of


@torch.no_grad()
def ask(net: nn.Module, inputs: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
    """Logits (B, C) on the CPU of a network in the mode that it is in, asked where it lies, 512 inputs at a time."""
    device = next(net.parameters()).device
    return torch.cat([logits_of(net(part.to(device))).cpu() for part in inputs.split(512)])
