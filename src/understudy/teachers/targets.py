"""What a store gives back for a batch of units: dense logits, or a few classes and their probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.numbers import check_number


@dataclass(frozen=True, eq=False)
class DenseTargets:
    """The teacher's logits, before any temperature: (B, C) float32, as precise as the store's type."""

    logits: Float[Tensor, "b c"]

    def log_probabilities(self, temperature: float = 1.0) -> Float[Tensor, "b c"]:
        """ln softmax(logits / T): (B, C) nats. Raises InputError unless T is above 0."""
        if not temperature > 0:
            raise InputError(f"temperature must be above 0, found {temperature}")
        return (self.logits / temperature).log_softmax(1)

    def to(self, device: torch.device | str) -> DenseTargets:
        """The same on another device."""
        return DenseTargets(self.logits.to(device, non_blocking=True))


@dataclass(frozen=True, eq=False)
class SparseTargets:
    """Some classes of each unit with their probabilities, all others being 0.

    Attributes:
        indices: (B, K) class indices, distinct in a row but for filling (and a label that was mixed in).
        probabilities: (B, K) float32, as they were estimated: a top-k row sums to less than 1. Filling is 0.
        classes: C.
    """

    indices: Int[Tensor, "b k"]
    probabilities: Float[Tensor, "b k"]
    classes: int

    @property
    def mass(self) -> Float[Tensor, " b"]:
        """Sum of each row's probabilities: (B,). Top-k has lost 1 - mass; sampling has mass 1."""
        return self.probabilities.sum(1)

    def renormalised(self) -> SparseTargets:
        """Each row divided by its mass.

        A top-k target then is a distribution, and as biased as before: cross-entropy has the same optimum. Of
        samples from another proposal this makes a biased target.
        """
        return replace(self, probabilities=self.probabilities / self.mass[:, None])

    def with_labels(self, labels: Int[Tensor, " b"], share: float) -> SparseTargets:
        """share * (all on the label) + (1 - share) * these targets: (B, K + 1).

        Cross-entropy to it is `share` of the labels' and 1 - `share` of the targets', at the price of one of them.

        Raises:
            InputError: `share` is not in [0, 1].
        """
        check_number("share", share, 0.0, 1.0)
        probabilities = (1.0 - share) * self.probabilities
        at_label = probabilities.new_full((len(labels), 1), share)
        return replace(
            self,
            indices=torch.cat((self.indices, labels[:, None]), 1),
            probabilities=torch.cat((probabilities, at_label), 1),
        )

    def dense(self) -> Float[Tensor, "b c"]:
        """Probabilities of all classes: (B, C)."""
        empty = self.probabilities.new_zeros(len(self.indices), self.classes)
        return empty.scatter_add_(1, self.indices, self.probabilities)

    def to(self, device: torch.device | str) -> SparseTargets:
        """The same on another device."""
        return replace(
            self,
            indices=self.indices.to(device, non_blocking=True),
            probabilities=self.probabilities.to(device, non_blocking=True),
        )


Targets = DenseTargets | SparseTargets
