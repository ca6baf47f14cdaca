"""DKPP: dark knowledge with permuted predictions (Furlanello et al., arXiv 1805.04770, section 3.3).

    KL(t'(x) || s(x)),   t' = t with its entries permuted, all but the largest          t, s: (B, C) softmax

What is left of the teacher is how sure it is, not which other classes it thinks of. The permutation is drawn anew for
every example in every epoch, from the example's index and the epoch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.objectives.base import ZeroWhen
from understudy.objectives.divergences import kl
from understudy.training.method import Method

WORD = 2**32 - 1


def scrambled(logits: Float[Tensor, "b c"], order: Int[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """The rows with their entries besides the largest in the order of `order`'s, any distinct integers a row."""
    top = logits.argmax(1, keepdim=True)
    places = torch.arange(logits.shape[1], device=logits.device).expand_as(order)
    others = places[places != top].view(len(logits), -1)
    drawn = order.gather(1, others).argsort(1)
    return logits.scatter(1, others, logits.gather(1, others.gather(1, drawn)))


def hashed(index: Int[Tensor, " b"], epoch: int, classes: int) -> Int[Tensor, "b c"]:
    """Pseudo-random integers, one a class, of each example in an epoch: distinct within a row."""
    word = index[:, None] * classes + torch.arange(classes, device=index.device)
    word = (word * 0x9E3779B1 + (epoch + 1) * 0x85EBCA6B) & WORD
    for factor in (0x7FEB352D, 0x846CA68B):
        word = ((word ^ (word >> 16)) * factor) & WORD
    return (word ^ (word >> 15)) * classes + torch.arange(classes, device=index.device)


@dataclass(frozen=True, kw_only=True)
class DKPP(Method):
    """Dark knowledge with permuted predictions."""

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"soft": "elsewhere"}

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft"}: (B,)."""
        return {"soft": kl(self.rest("soft", teacher, batch), student.logits)}

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """The permuted logits, (B, C): where the student is asked to be."""
        said = teacher.logits
        return scrambled(said, hashed(batch.index, batch.epoch, said.shape[1]))
