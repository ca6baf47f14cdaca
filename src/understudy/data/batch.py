"""`Batch`: what one step sees. Named views of the same examples, with their indices and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

CLEAN = "clean"
ATTACKED = "attacked"


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples, as one or several views of them.

    Attributes:
        views: view name -> (B, ...) inputs in the valid range; "clean" is the data as the source gave it. For a
            language model (B, L) token indices, where position i is asked what token i + 1 is.
        index: (B,) row of each example in its data set.
        labels: (B,) class indices, -1 for an example without one; (B, C) of 0 and 1 where an example bears
            several; or None.
        progress: share of the training that lies behind, in [0, 1): what a schedule reads.
        epoch, epochs: which pass over the data this is, from 0, and of how many.
        past: what the objective noted when each example was last seen, name -> (B, ...); NaN for an example that
            has no past. Empty where none of them has.
        auxiliary: networks of the objective's own (a projector), which train along and are dropped afterwards.
        masks: view name -> (B, L) which positions of a language model's answer count; none for an image.
        parts: other examples of the same step by name, such as "validation", which no loss of the student reads.
        edges: (2, E) node numbers (from, to) where the batch is a whole graph, row by row its nodes.
        partners: networks of the other players by name, as they stand at this step.
        notes: what the source noted of each example by name, (B, ...): the teachers chosen, a weight, a time.
    """

    views: Mapping[str, Shaped[Tensor, "b ..."]]
    index: Int[Tensor, " b"]
    labels: Int[Tensor, " b *n"] | None = None
    progress: float = 0.0
    epoch: int = 0
    epochs: int = 1
    past: Mapping[str, Float[Tensor, "b ..."]] = field(default_factory=dict)
    auxiliary: nn.Module | None = None
    masks: Mapping[str, Bool[Tensor, "b l"]] = field(default_factory=dict)
    parts: Mapping[str, Batch] = field(default_factory=dict)
    edges: Int[Tensor, "2 e"] | None = None
    partners: Mapping[str, nn.Module] = field(default_factory=dict)
    notes: Mapping[str, Shaped[Tensor, "b ..."]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def clean(self) -> Tensor:
        """The view called "clean": (B, ...)."""
        return self.views[CLEAN]

    def with_view(self, name: str, inputs: Shaped[Tensor, "b ..."]) -> Batch:
        """The same examples with one view more (or another under that name)."""
        return replace(self, views={**self.views, name: inputs})
