"""SFT: supervised fine-tuning, the next token's cross-entropy; what a language model without a teacher learns from.

    1/L_y sum over n of CE(s(y_<n), y_n)          s(y_<n): (V,) logits behind the prompt and the answer so far

The sum is over the tokens of the answer y; the prompt is given and not asked for. Of a piece of running text all
tokens but the first few (the data's `prompt`) are its answer. On text, `train` means this method.

Needs no teacher. Cost: one forward and backward pass. Known failure: the student only ever sees true prefixes, so its
own mistakes, once made, lead to texts it was never shown (see GKD).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.tokens import mask_of, next_token_loss
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class SFT(Method):
    """The next token's cross-entropy."""

    needs = Needs(teacher=(), labels=True, tokens=True)
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard": (B,)}."""
        return {"hard": next_token_loss(student.logits, batch.clean, mask_of(batch))}
