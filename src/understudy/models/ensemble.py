"""`MeanConfidence`: several models as one, by the mean of their confidences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError


class MeanConfidence(nn.Module):
    """Logits whose softmax is the mean of the members' confidences, weighted equally.

    Args:
        members: modules from inputs to logits (B, C), all of one C.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise InputError("an ensemble needs one member at least, found none")
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        """Natural logarithm of the mean confidence (B, C)."""
        said = torch.stack([member(inputs).log_softmax(-1) for member in self.members])
        return said.logsumexp(0) - torch.tensor(float(len(self.members))).log().to(said)
