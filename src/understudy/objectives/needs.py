"""`Needs`: what an objective looks at, so that what it does not look at need not be computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from understudy.data.batch import CLEAN

EMBEDDING = "embedding"  # the feature that every classifier has: what enters its last linear layer
MAP = "map"  # the feature that every convolutional network has: the output of its last convolution
_WELCOMES = ("unlabelled", "graph_labels")  # fields that let labels be missing


@dataclass(frozen=True)
class Needs:
    """What an objective looks at.

    Attributes:
        student, teacher: names of the views each model must answer; an empty `teacher` needs no teacher.
        labels: whether true labels are needed.
        features: names of the taps it reads; "embedding" is what enters the last linear layer, unless the taps
            name another place.
        whole_batch: whether its values relate examples to one another (micro-batches would change it).
        memory: whether it reads `batch.past`, what its `remember` noted when an example was last seen.
        auxiliary: whether it reads `batch.auxiliary`, the networks that its `build` gave.
        places: feature -> (teacher's layer, student's layer), where the taps given do not name it.
        multi_label: whether the labels are several an example, (B, C) of 0 and 1; others are refused then.
        unlabelled: whether examples without a label (-1) are welcome; they are refused otherwise.
        validation: share of the training data, in [0, 1), that is kept apart and shown as `batch.parts["validation"]`.
        teacher_grad: whether the teacher's answers keep their graph, down to its inputs and features.
        heads: names of the heads it reads of the teacher, such as a team's members; ("*",) reads however many.
        edges: whether it reads `batch.edges`: its data must be a graph.
        graph_labels: whether labels may be missing in a graph, as where `label_loss` alone reads them.
        own_heads: names of the heads it reads of the student.
        trains_teacher: whether a copy of the teacher learns along: its answers keep their graph, in train mode.
        vectors: whether the models answer with vectors (an embedding, an image): no class is meant, no label read.
        tokens: whether it reads language models, logits (B, L, V) and `batch.masks`: its data must be text.
        settled: whether it reads in `batch.notes` what its `settle` made of both models' answers, as constants.
        ahead: those of its student's views that the student answers one step ahead, at its weights less the gradient
            of what the objective's `ahead` gives; gradients reach the student through that step.
        first_order: whether that step is a constant there, and no gradient flows through its gradient.
        timed: whether their inputs are points with a time, as `data.noise.pack` packs them.
        stages: how many of the student's stages it reads at most, as its features "stage1", "stage2", ...: found in
            the student, or named by taps. The teacher is not tapped for them.
    """

    student: tuple[str, ...] = (CLEAN,)
    teacher: tuple[str, ...] = (CLEAN,)
    labels: bool = False
    features: tuple[str, ...] = ()
    whole_batch: bool = False
    memory: bool = False
    auxiliary: bool = False
    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    multi_label: bool = False
    unlabelled: bool = False
    validation: float = 0.0
    teacher_grad: bool = False
    heads: tuple[str, ...] = ()
    edges: bool = False
    graph_labels: bool = False
    own_heads: tuple[str, ...] = ()
    trains_teacher: bool = False
    vectors: bool = False
    timed: bool = False
    tokens: bool = False
    settled: bool = False
    ahead: tuple[str, ...] = ()
    first_order: bool = False
    stages: int = 0

    def __or__(self, other: Needs) -> Needs:
        """What either looks at."""
        return Needs(**{each.name: _both(each.name, self, other) for each in fields(self)})


def _both(name: str, one: Needs, other: Needs) -> Any:
    mine, theirs = getattr(one, name), getattr(other, name)
    if name in _WELCOMES:
        return _welcome((mine, one.labels), (theirs, other.labels))
    if isinstance(mine, tuple):
        return tuple(dict.fromkeys((*mine, *theirs)))
    return {**theirs, **mine} if isinstance(mine, Mapping) else max(mine, theirs)


def _welcome(*said: tuple[bool, bool]) -> bool:
    """A field that lets labels be missing, from (what is stated, whether labels are read) of each of two.

    It is stated by each that reads labels, and by one at least.
    """
    return any(may for may, _ in said) and all(may or not reads for may, reads in said)
