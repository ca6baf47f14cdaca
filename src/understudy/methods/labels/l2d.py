"""L2D: multi-label knowledge distillation (Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang, arXiv 2308.06453, ICCV 2023).

Of several labels each is a question of yes or no, and the student answers each as the teacher does; and the embeddings
of the labels that are there lie to one another as the teacher's do, over the batch and within each example.

    BCE(s(x), y) + lambda_MLD / B sum_k KL(sigmoid(t(x)_k) || sigmoid(s(x)_k)) + lambda_CD CD + lambda_ID ID
    CD = sum_k H({e_ik : y_ik = 1})       ID = sum_i H({e_ik : y_ik = 1})       y: (B, C) of 0 and 1, e_ik: (D,)
    H  = 1/n sum_ab huber(d_ab(student) - d_ab(teacher))       d: distances among the n, over the mean of those above 0

BCE is the sum over the labels; KL of two answers. The whole is the released code's loss over B: it sums BCE, CD and ID
over the batch and averages the KL alone, so lambda_MLD weighs less in a larger batch; its weights presume B = 64.

Needs a head with one embedding a label in both models, of any sizes: the feature "per_label", (B, C, D), the zoo's
`label_cnn` has it; name another layer in `taps`. Cost: C B^2 + B C^2 distances a step; no micro-batches, one device.
Known failures: two members of a group have one distance, which says nothing: ID needs examples of three labels, CD
three examples of a label. Embeddings of labels that are not there are not taught.

Reconstructed: the divergence is computed from logits, without the code's clamp at 1e-8; distances without its Gram
matrix, so that points that coincide have gradient 0; examples are chosen by their labels, not by an embedding's zeros.

Measured (digit_mosaic, 4,000 examples, two seeds, label_cnn[16,32] of test mAP 0.995 and 0.998 teaches
label_cnn[4,8], 6 epochs of Adam at 5e-3 in batches of 64; examples/l2d_multi_label.py): mAP from labels alone 0.921
and 0.760; from the teacher's answers alone, label by label, 0.932 and 0.755, and as one softmax 0.922 and 0.918,
which was not worse. With labels and ID at weight 10 the rank correlation with the teacher's distances within an
example rises from 0.119 and 0.156 to 0.441 and 0.555, and mAP falls to 0.583 and 0.638; by all of L2D with the
embeddings at a hundredth of these weights mAP is 0.716 and 0.702, at these 0.264 and 0.315. So short a training is
ruled by the embeddings: lower their weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.label_cnn import PER_LABEL
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.label_relations import class_relation, instance_relation
from understudy.objectives.multi_label import binary_cross_entropy, binary_kl, several_labels
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class L2D(Method):
    """Multi-label distillation of logits and of label-wise embeddings.

    Attributes:
        lambda_mld: weight of the answers.
        lambda_cd: weight of the embeddings of one label over the batch.
        lambda_id: weight of the embeddings of one example's labels; with both at 0 no embedding is read.
        hard_weight: weight of the true labels' cross-entropy, 1 in the paper.
    """

    lambda_mld: float = 10.0
    lambda_cd: float = 100.0
    lambda_id: float = 1000.0
    hard_weight: float = 1.0

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        for name in ("lambda_mld", "lambda_cd", "lambda_id", "hard_weight"):
            check_number(name, getattr(self, name), 0.0)

    @property
    def needs(self) -> Needs:
        """Several labels an example, and the embeddings of the whole batch."""
        read = self.lambda_cd > 0 or self.lambda_id > 0
        return Needs(
            labels=True,
            multi_label=True,
            features=(PER_LABEL,) if read else (),
            places={PER_LABEL: (PER_LABEL, PER_LABEL)} if read else {},
            whole_batch=True,
        )

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"labels", "hard", "class", "instance"}: (B,) each; all but "labels" only with a weight."""
        y = several_labels(student.logits, batch)
        terms = {"labels": self.lambda_mld / len(y) * binary_kl(teacher.logits, student.logits)}
        if self.hard_weight > 0:
            terms["hard"] = self.hard_weight * binary_cross_entropy(student.logits, y)
        if self.lambda_cd > 0:
            t, s = teacher.features[PER_LABEL], student.features[PER_LABEL]
            terms["class"] = self.lambda_cd * class_relation(t, s, y)
        if self.lambda_id > 0:
            t, s = teacher.features[PER_LABEL], student.features[PER_LABEL]
            terms["instance"] = self.lambda_id * instance_relation(t, s, y)
        return terms
