"""What a network answers, and how near two networks' answers are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.data.loader import in_order
from understudy.fidelity.streaming import Fidelity, FidelityResult
from understudy.models.look import logits_of

BATCH = 512


@torch.no_grad()
def ask(net: nn.Module, inputs: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
    """Logits (B, C) on the CPU of a network in the mode that it is in, asked where it lies, a batch at a time."""
    device = next(net.parameters()).device
    return torch.cat([logits_of(net(part.to(device))).cpu() for part in inputs.split(BATCH)])


def fidelity_on(data: DataSet, teacher: nn.Module, student: nn.Module) -> FidelityResult:
    """Of the student to the teacher on all of the data, in the modes they are in; InputError as `Fidelity.update`."""
    found = Fidelity()
    for batch in in_order(data, BATCH):
        found.update(ask(teacher, batch.clean), ask(student, batch.clean), batch.labels)
    return found.result()
