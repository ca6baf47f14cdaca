"""Augmented several times, and only what a model finds hardest to tell is shown: CutMixPick's source.

Wang, Lohit, Jones and Fu, "What Makes a 'Good' Data Augmentation in Knowledge Distillation", arXiv 2012.02909.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.models.look import in_mode, logits_of
from understudy.sources.base import Cast, Source
from understudy.sources.with_augmented import AUGMENTED, WithAugmented

Score = Literal["teacher", "student"]
Keep = Literal["most", "least"]


def entropy(logits: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """-sum_k p_k ln p_k of softmax(logits), in [0, ln C] nats; half precision is computed in float32."""
    log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def pick(scores: Float[Tensor, " n"], count: int, keep: Keep = "most") -> Int[Tensor, " m"]:
    """Places of the `count` highest (or lowest) scores, in ascending order; of equal ones the first."""
    chosen = scores.argsort(descending=keep == "most", stable=True)[:count]
    return chosen.sort().values


@dataclass(frozen=True)
class Picked(Source):
    """Adds the view "augmented": of `runs` augmentations of the batch the B images of highest entropy.

    Attributes:
        augmentation: how each of them is made.
        runs: how many; at 1 nothing is scored, and this is `augmentation` alone.
        score: whose entropy, at temperature 1 and without gradient; the student's is taken in eval mode.
        keep: "most", or for comparison "least".
    """

    augmentation: WithAugmented = field(default_factory=WithAugmented)
    runs: int = 2
    score: Score = "teacher"
    keep: Keep = "most"

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise InputError(f"runs must be 1 or more, found {self.runs}")
        if self.score not in ("teacher", "student"):
            raise unknown("score", self.score, ("teacher", "student"))
        if self.keep not in ("most", "least"):
            raise unknown("keep", self.keep, ("most", "least"))

    @property
    def whole_batch(self) -> bool:
        """The examples compete for their places, or are mixed with one another."""
        return self.runs > 1 or self.augmentation.whole_batch

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with its augmented view; row i of it is some example, not example i."""
        pool = [self.augmentation.show(batch, cast, random).views[AUGMENTED] for _ in range(self.runs)]
        if self.runs == 1:
            return batch.with_view(AUGMENTED, pool[0])
        images = torch.cat(pool)
        return batch.with_view(AUGMENTED, images[pick(self._scores(images, cast), len(batch), self.keep)])

    def _scores(self, images: Tensor, cast: Cast) -> Tensor:
        with torch.no_grad():
            if self.score == "student":
                with in_mode(cast.student, False):
                    return entropy(logits_of(cast.student(images)))
            if cast.teacher is None:
                raise InputError("images are picked by the teacher's entropy, and there is no teacher")
            return entropy(cast.teacher(images))
