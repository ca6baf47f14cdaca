"""LEAF: text embedding models whose students speak their teacher's language (arXiv 2509.12539, 2025).

The student's vector is the teacher's vector: plain regression, from the text (or image) alone. A student that succeeds
can ask questions of an index that the teacher made, and inherits what the teacher's space is good for: shortened
vectors, coarse numbers. Nothing in the loss asks for that.

    |n(y) - n(yhat)|^2, summed over d        y = student(x), yhat = teacher(x): (d,), n divides by the length

n is left out with normalize=False, for a teacher that ends without it. No temperature, no second term, no negatives,
no label: an example's value does not depend on its batch. |<y, v> - <yhat, v>| <= |y - yhat| |v| for every document v.

Needs: models that end in d numbers each; the student's last linear layer, to the teacher's d, is part of it and stays.
Where teacher and student read a text in vocabularies of their own, put both encodings into one row
(`models.embedder.Columns`). Write the teacher's query prefix in front of the queries, on both sides. Cost: one
forward pass each. Known failure: a student that outputs the mean of a teacher's space already has a high cosine; look
at `fidelity.retrieval.place_among`, too, and at the asymmetric mode, which a loss on relations alone (RKD) fails.

Reconstructed from reviews and the model cards: data mixture and optimiser are unknown. A mean over the coordinates in
place of the sum is ours / d.

Measured (`examples/leaf.py`; digits, three seeds, a teacher of 32 numbers, a student of 24 hidden units, 140 epochs
without labels): cosine to the teacher 0.974 (5th percentile 0.940); right label at the nearest document 0.975 on both
sides' own, 0.976 with the student's queries in the teacher's index (teacher 0.981), 0.926 with 8 numbers of 32 (0.951)
and 0.938 with signs (0.963). The control, which matches the batch's cosines: 0.979 in its own index, 0.099 in the
teacher's. STS-B's sentences (`--texts`, one seed, TF-IDF and 64 components to character trigrams, 12 epochs): cosine
0.904 (0.758), the pair's other sentence first in 0.320 in the teacher's index (teacher 0.420, control 0.000), with 16
numbers of 64 in 0.169 (0.320); in its own index the student finds it in 0.441, the control in 0.607.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.objectives.base import Needs
from understudy.objectives.embeddings import embedding_distance
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class LEAF(Method):
    """Regression on the teacher's embedding.

    Attributes:
        normalize: whether directions are compared, for search by cosine; False compares the vectors as they are.
    """

    normalize: bool = True

    needs = Needs(vectors=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"embedding": (B,)}."""
        return {"embedding": embedding_distance(teacher.logits, student.logits, self.normalize)}
