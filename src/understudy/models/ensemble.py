"""`MeanConfidence`: several models as one, by the mean of their confidences; `Team` gives each one's as well."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.look import logits_of
from understudy.models.outputs import Answer


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


class Team(nn.Module):
    """Several teachers as one model: an `Answer` of the logarithm of their mean confidence, and each one's logits.

    Args:
        members: modules from inputs to logits (B, C), all of one C; their heads are called "0", "1", ...
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise InputError("a team needs one member at least, found none")
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Shaped[Tensor, "b ..."]) -> Answer:
        """Logits (B, C), the natural logarithm of the mean confidence, and the members' (B, C) as heads."""
        heads = {str(i): logits_of(member(inputs)) for i, member in enumerate(self.members)}
        if len(sizes := {head.shape[1] for head in heads.values()}) > 1:
            raise InputError(f"the members of a team must tell the same classes apart, found {sorted(sizes)}")
        said = torch.stack([head.float().log_softmax(-1) for head in heads.values()])
        return Answer(said.logsumexp(0) - math.log(len(heads)), heads)
