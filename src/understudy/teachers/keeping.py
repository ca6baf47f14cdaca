"""What is kept of a teacher's answers, without a store: the same targets that a store would give back."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from understudy.teachers.encoding import Encoding
from understudy.teachers.targets import SparseTargets, Targets

CLASSES, PROBABILITIES = "kept_classes", "kept_probabilities"  # names of the notes that hold sparse targets


def keep(
    encoding: Encoding, logits: Float[Tensor, "b c"], index: Int[Tensor, " b"], temperature: float = 1.0
) -> Targets:
    """`logits` (B, C) of the units `index` as a store of that encoding keeps them, draws included, on their device."""
    rows = index.cpu().numpy().astype(np.int64, copy=False)
    encoded = encoding.encode(logits, temperature, rows)
    return encoding.decode(encoded.entries, encoded.lengths, logits.shape[1]).to(logits.device)


def notes_of(targets: SparseTargets) -> dict[str, Tensor]:
    """Sparse targets as a batch's notes: (B, K) each."""
    return {CLASSES: targets.indices, PROBABILITIES: targets.probabilities}
