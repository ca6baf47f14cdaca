"""The levels of a teacher's knowledge, one by one: KD-pt, KD-rel, KD-topk (Tang et al., arXiv 2002.03532).

What a teacher says is caution (that of label smoothing), which classes are alike, and how sure it is of each example.
Each of these methods keeps some of it and forgets the rest, so that their students show what it was good for.

    (1 - a) CE(s(x), y) + a T^2 H(r, softmax(s(x) / T))           s, t: (B, C) logits; p = softmax(t(x) / T)

    keep       r, a row of numbers that sum to 1
    "pt"       p_y for the label, (1 - p_y) / (C - 1) for each other class                      how sure: KD-pt
    "rel"      softmax(W^_y W^^T / a'), the same for every example of a class                   which are alike: KD-rel
    "pt+rel"   p_y for the label, 1 - p_y shared among the others as "rel" shares its           both
    "topk"     p for the k largest, the rest shared by the others alike                         KD-topk

W^ (C, D) are the rows of the teacher's last linear layer at length 1. The caution alone is `label_smoothing` with share
a; all of it, k = C, is `kd`, of which this is the cross-entropy: the same gradient, higher by the entropy of p.

Needs: labels; the teacher's answers; for "rel" and "pt+rel" its last linear layer, so a teacher that gives answers
alone (a file, a store) is refused there. Cost: that of `kd`; C^2 D for the relations of a batch.
Known failure: a teacher that is sure of every example it has learned leaves cross-entropy alone; one that was trained
by label smoothing holds all wrong classes alike.
Reconstructed: a' = 0.3 and the shares are as we know them from memory; the factor T^2 is ours, as in `kd`. KD-rel is
called KD-sim in the paper's first version.
Measured (experiment `understanding_kd --quick`, Fashion-MNIST, mlp[256] to mlp[32], share a half, five seeds): right in
80.4 % ("pt"), 80.6 % ("rel", "pt+rel", "topk"), against 79.9 % of labels alone, 80.7 % of `kd` and 80.9 % of smoothed
labels; agreement with the teacher 90.7 %, 90.9 %, 91.1 %, 92.1 %, against 90.2 %, 92.3 % and 90.7 %. With a fifth of
the labels wrong: 79.5 % ("pt"), 78.8 % ("rel"), against 78.5 %, 80.4 % and 79.4 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.models.memo import Memo
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.refined_targets import soft_cross_entropy
from understudy.objectives.teacher_levels import class_relations, partial_targets, top_targets
from understudy.sources.base import AsIs, Cast, Source
from understudy.training.embedding import head_of
from understudy.training.method import Method

Keep = Literal["pt", "rel", "pt+rel", "topk"]
RELATIONS = "relations"


def head_weights(model: nn.Module, classes: int) -> Tensor:
    """The rows of a model's last linear layer, one a class: (C, D).

    Raises:
        InputError: there is none inside, or it does not give the classes.
    """
    try:
        head = model.get_submodule(head_of(model))
    except InputError as error:
        raise InputError(
            f"the relations between classes are read off the last linear layer of one model: {error}"
        ) from error
    assert isinstance(head, nn.Linear)
    if head.out_features != classes:
        raise InputError(
            f"the relations between {classes} classes are read off the last linear layer, "
            f"which gives {head.out_features} numbers"
        )
    return head.weight.detach()


@dataclass(frozen=True)
class WithRelations(Source):
    """Notes how the teacher's last layer relates each example's class to all: "relations" (B, C).

    `shared`: whether something is to be shared among the other classes, which must have some weight then.
    """

    temperature: float
    shared: bool = False

    def show(self, batch: Batch, cast: Cast, random: Randomness) -> Batch:
        """The batch with its note."""
        if not isinstance(cast.teacher, Memo) or batch.labels is None:
            raise InputError(
                "the relations between classes need labels, and a teacher that can be looked into"
            )
        classes = cast.teacher(batch.clean).shape[1]
        table = class_relations(head_weights(cast.teacher.module, classes), self.temperature)
        if self.shared and not bool((table - table.diag().diag()).sum(1).all()):
            raise InputError(
                f"at relation_temperature={self.temperature:g} a class is related to itself alone, so that nothing "
                "says how to share among the others: take a higher one"
            )
        return replace(batch, notes={**batch.notes, RELATIONS: table[batch.labels]})


@dataclass(frozen=True, kw_only=True)
class TeacherLevels(Method):
    """Distillation of a part of what the teacher says.

    Attributes:
        keep: which part: "pt", "rel", "pt+rel" or "topk".
        alpha: a, share of the soft term, from 0 to 1.
        temperature: T, above 0.
        relation_temperature: a' of "rel" and "pt+rel", above 0.
        k: how many classes "topk" keeps, 1 or more.
    """

    keep: Keep = "pt"
    alpha: float = 0.5
    temperature: float = 1.0
    relation_temperature: float = 0.3
    k: int = 2

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label", "soft": "elsewhere"}

    def __post_init__(self) -> None:
        if self.keep not in get_args(Keep):
            raise unknown("part to keep", self.keep, get_args(Keep))
        check_number("alpha", self.alpha, 0.0, 1.0)
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("relation_temperature", self.relation_temperature, 0.0, above=True)
        check_number("k", self.k, 1.0)

    @property
    def needs(self) -> Needs:
        """Both models on the clean view, and labels."""
        return Needs(labels=True)

    def source(self, low: float, high: float) -> Source:
        """The data as they are, with the classes' relations where they are kept."""
        return (
            WithRelations(self.relation_temperature, self.keep == "pt+rel") if "rel" in self.keep else AsIs()
        )

    def rehearse(self, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """Relations as of a teacher whose last layer has the batch's first answers for weights."""
        if "rel" not in self.keep:
            return {}
        assert batch.labels is not None
        return {RELATIONS: class_relations(teacher.logits.t(), self.relation_temperature)[batch.labels]}

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "hard"}: (B,) each; "hard" only if a < 1."""
        soft = soft_cross_entropy(self._targets(teacher, batch), self._softened(student))
        terms = {"soft": self.alpha * self.temperature**2 * soft}
        if self.alpha < 1:
            terms["hard"] = (1 - self.alpha) * label_loss(student.logits, batch)
        return terms

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """The logarithm of the targets, times T."""
        return self.temperature * self._targets(teacher, batch).log()

    def _targets(self, teacher: Outputs, batch: Batch) -> Tensor:
        if batch.labels is None:
            raise InputError("the teacher's levels need labels, and the batch has none")
        related = batch.notes.get(RELATIONS)
        if self.keep == "rel":
            assert related is not None
            return related
        logits = self._softened(teacher)
        if self.keep == "topk":
            return top_targets(logits, self.k)
        return partial_targets(logits, batch.labels, related)

    def _softened(self, said: Outputs) -> Tensor:
        """Logits over T, in at least float32."""
        return said.logits.to(torch.promote_types(said.logits.dtype, torch.float32)) / self.temperature
