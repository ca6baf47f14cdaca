"""`Outputs`: what one model said about one batch, view by view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from understudy.data.batch import CLEAN
from understudy.errors import unknown


@dataclass(frozen=True, eq=False)
class Answer:
    """What a module with several heads returns: its logits (B, C), which stand for it, and each head's by name."""

    logits: Tensor
    heads: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class View:
    """A model's answer to one view: logits (B, C), for a language model (B, L, V), and more by name.

    Attributes:
        logits: what the model says.
        features: what was tapped inside it.
        heads: what each of its heads says, (B, C) each, where it has several: the members of a team of teachers,
            the two heads of a student.
    """

    logits: Float[Tensor, "b *l c"]
    features: Mapping[str, Tensor] = field(default_factory=dict)
    heads: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outputs:
    """Answers by view name: `outputs["attacked"].logits`; `outputs.logits` is the clean view's."""

    views: Mapping[str, View]

    def __getitem__(self, name: str) -> View:
        if name not in self.views:
            raise unknown("view", name, self.views)
        return self.views[name]

    @property
    def logits(self) -> Tensor:
        """Logits of the clean view: (B, C)."""
        return self[CLEAN].logits

    @property
    def features(self) -> Mapping[str, Tensor]:
        """Features of the clean view, by the name they were asked under."""
        return self[CLEAN].features
