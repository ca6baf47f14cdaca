"""`Batch`: what one step sees. Named views of the same examples, with their indices and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Float, Int
from torch import Tensor, nn

CLEAN = "clean"
ATTACKED = "attacked"


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples, as one or several views of them.

    Attributes:
        views: view name -> (B, ...) inputs in the valid range; "clean" is the data as the source gave it.
        index: (B,) row of each example in its data set.
        labels: (B,) class indices, or None.
        progress: share of the training that lies behind, in [0, 1): what a schedule reads.
        epoch, epochs: which pass over the data this is, from 0, and of how many.
        past: what the objective noted when each example was last seen, name -> (B, ...); NaN for an example that
            has no past. Empty where none of them has.
        auxiliary: networks of the objective's own (a projector), which train along and are dropped afterwards.
    """

    views: Mapping[str, Float[Tensor, "b ..."]]
    index: Int[Tensor, " b"]
    labels: Int[Tensor, " b"] | None = None
    progress: float = 0.0
    epoch: int = 0
    epochs: int = 1
    past: Mapping[str, Float[Tensor, "b ..."]] = field(default_factory=dict)
    auxiliary: nn.Module | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def clean(self) -> Tensor:
        """The view called "clean": (B, ...)."""
        return self.views[CLEAN]

    def with_view(self, name: str, inputs: Float[Tensor, "b ..."]) -> Batch:
        """The same examples with one view more (or another under that name)."""
        return replace(self, views={**self.views, name: inputs})
