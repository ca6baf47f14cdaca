"""Rollouts: the answers in a batch of text replaced by what the student, or the teacher, writes to the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.models.language import reader_of
from understudy.models.language_sampling import continued
from understudy.models.look import in_mode
from understudy.numbers import check_number
from understudy.sources.base import Cast, Source

Writer = Literal["student", "teacher", "data"]


@dataclass(frozen=True)
class RolledOut(Source):
    """With probability `share`, one draw a batch, `writer` writes the answers; else `otherwise` does.

    The writer reads the prompt, up to the first position that counts, and writes until it has written the end token
    or the row is full. The view and its mask are replaced; what follows the end token does not count. The student
    writes in eval mode, without gradient, and is left in the mode that it was in.

    Attributes:
        share: probability that `writer` writes, lambda of GKD, in [0, 1].
        writer, otherwise: "student", "teacher" or "data", which leaves the batch as it is.
        temperature: of the sampling; 0 takes the likeliest token.
        end: the token that ends an answer, or None if answers fill their rows.
        view: which view is replaced.
        classes: how many of the logits are tokens, where heads are padded.
    """

    share: float = 1.0
    writer: Writer = "student"
    otherwise: Writer = "data"
    temperature: float = 1.0
    end: int | None = None
    view: str = CLEAN
    classes: int | None = None

    def __post_init__(self) -> None:
        check_number("the share of rollouts", self.share, 0.0, 1.0)
        check_number("the temperature of rollouts", self.temperature, 0.0)
        for name in (self.writer, self.otherwise):
            if name not in (known := ("student", "teacher", "data")):
                raise unknown("writer of rollouts", name, known)

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with its view and mask replaced, or itself where the data are shown."""
        if self.view not in batch.masks:
            raise InputError(f"rollouts need text, and the batch has no mask for its view {self.view!r}")
        chosen = torch.rand(1, generator=random.generator)  # one number a step, whichever rows are here
        who = self.writer if float(chosen) < self.share else self.otherwise
        if who == "data":
            return batch
        model: Any = cast.student if who == "student" else cast.teacher
        if model is None:
            raise InputError("the teacher is to write rollouts, and there is none")
        tokens, mask = batch.views[self.view], batch.masks[self.view]
        drawn = random.uniform(tokens.float(), 0.0, 1.0)
        begin = torch.where(mask.any(1), mask.int().argmax(1) + 1, tokens.shape[1])
        with torch.no_grad(), in_mode(cast.student, False):
            made, stop = continued(
                reader_of(model),
                tokens,
                begin,
                drawn,
                temperature=self.temperature,
                end=self.end,
                classes=self.classes,
            )
        following = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        counts = (following >= begin[:, None]) & (following < stop[:, None])
        masks: Mapping[str, Tensor] = {**batch.masks, self.view: counts}
        return replace(batch.with_view(self.view, made), masks=masks)
