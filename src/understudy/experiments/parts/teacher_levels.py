"""What the levels of a teacher's knowledge are read off: wrong labels, last layers, and the hardest examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.data.batch import Batch
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.fidelity.rescaling import EpochsWrong
from understudy.methods.logits.label_smoothing import LabelSmoothing
from understudy.methods.logits.understanding_kd import Keep, TeacherLevels
from understudy.methods.robust.ce import CE
from understudy.methods.robust.kd import SD
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.report.images import difference
from understudy.report.layout import panels, section
from understudy.report.marks import dot, line, whisker
from understudy.report.markup import Markup
from understudy.report.plot import SHARE, Frame, axes, chart, panel
from understudy.report.words import percent
from understudy.training.method import Method

Point = tuple[float, float, float]  # of several seeds: mean, least, most
PARTS = 10
LABELS_ALONE, SMOOTHED, RELATIONS, SURENESS, BOTH, TOP, ALL = (
    "labels alone", "smoothed labels", "relations", "sureness", "sureness and relations", "the largest", "all it says",
)  # fmt: skip
LEARNED = (LABELS_ALONE, SMOOTHED, RELATIONS, SURENESS, BOTH, TOP, ALL)
WITH_WRONG = (LABELS_ALONE, SMOOTHED, RELATIONS, SURENESS, ALL)  # tried with wrong labels as well
WEIGHED = (SURENESS, ALL)  # where the gradient at the label is that of cross-entropy times omega


@dataclass(frozen=True, kw_only=True)
class WatchedCE(CE):
    """Cross-entropy that notes which examples are answered wrongly, every time they are shown."""

    watch: EpochsWrong | None = field(default=None, compare=False)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Those of cross-entropy."""
        if self.watch is not None and batch.labels is not None:
            self.watch.update(batch.index, student.logits.detach(), batch.labels)
        return dict(super().terms(student, teacher, batch))


def method_of(learned: str, base: TeacherLevels, passes: EpochsWrong) -> Method:
    """The method of one of `LEARNED`, at the share and the options of `base`; labels alone count their `passes`."""
    kept: dict[str, Keep] = {RELATIONS: "rel", SURENESS: "pt", BOTH: "pt+rel", TOP: "topk"}
    if learned in kept:
        return replace(base, keep=kept[learned])
    others = {
        LABELS_ALONE: WatchedCE(watch=passes), SMOOTHED: LabelSmoothing(share=base.alpha), ALL: SD(alpha=base.alpha),
    }  # fmt: skip
    return others[learned]


def mislabelled(data: DataSet, share: float, seed: int) -> tuple[DataSet, Bool[Tensor, " n"]]:
    """The data with another label, drawn evenly from the other classes, on round(share N) examples; and on which.

    Raises:
        InputError: share outside [0, 1], or no single label an example.
    """
    check_number("the share of wrong labels", share, 0.0, 1.0)
    if data.labels is None or data.labels.dim() > 1 or data.classes is None or data.classes < 2:
        raise InputError(f"{data.name} has no single label of several classes an example that could be wrong")
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.zeros(len(data), dtype=torch.bool)
    wrong[torch.randperm(len(data), generator=generator)[: round(share * len(data))]] = True
    moved = torch.randint(1, data.classes, (len(data),), generator=generator)
    labels = torch.where(wrong, (data.labels + moved) % data.classes, data.labels)
    return replace(data, labels=labels), wrong


def cosines(weights: Float[Tensor, "c d"]) -> Float[Tensor, "c c"]:
    """Between the classes' weight vectors, in [-1, 1]."""
    directions = F.normalize(weights.detach().double(), dim=1)
    return directions @ directions.t()


def block_structure(weights: Float[Tensor, "c d"], groups: Sequence[Sequence[int]]) -> float:
    """Mean cosine of two classes of one group less that of two of different groups, in [-2, 2].

    A class that no group names is a group of its own.

    Raises:
        InputError: a class twice or out of range, or no two classes of one group, or none of different ones.
    """
    classes = len(weights)
    named = [one for group in groups for one in group]
    if len(set(named)) < len(named) or not all(0 <= one < classes for one in named):
        raise InputError(f"groups must name classes 0..{classes - 1} once at most, found {groups}")
    group_of = torch.arange(classes) + len(groups)
    for place, group in enumerate(groups):
        group_of[list(group)] = place
    first, second = torch.triu_indices(classes, classes, 1)
    alike = group_of[first] == group_of[second]
    if alike.all() or not alike.any():
        raise InputError(f"groups must leave pairs of classes within one and across two, found {groups}")
    between = cosines(weights)[first, second]
    return float(between[alike].mean() - between[~alike].mean())


def tenths(confidence: Float[Tensor, " n"], wrong: Float[Tensor, " n"]) -> list[float]:
    """Mean of `wrong` in each tenth of the examples by `confidence`, least first; 10 examples at least."""
    return [float(wrong[part].mean()) for part in confidence.argsort().tensor_split(PARTS)]


def last_layers(maps: Mapping[str, Float[np.ndarray, "c c"]], groups: Mapping[str, Sequence[int]]) -> Markup:
    """The cosines between classes in each model's last layer, side by side; classes in the order of `groups`."""
    drawn = [
        panel(
            title,
            difference(_off_diagonal(values), 1.0, f"cosines between classes, {title}"),
            "Orange: alike. Blue: opposed.",
        )
        for title, values in maps.items()
    ]
    named = "; ".join(f"{name} ({', '.join(map(str, classes))})" for name, classes in groups.items())
    lead = (
        f"Cosines between two classes’ weights, means over seeds. Rows and columns: {named}; then the classes that are "
        "in no group. A group that is held alike is a block of orange."
    )
    return section("Which classes are held alike", panels(*drawn), lead=lead)


def _off_diagonal(values: Float[np.ndarray, "c c"]) -> Float[np.ndarray, "c c"]:
    return values * (1 - np.eye(len(values)))


def hard_examples(curve: Sequence[Point]) -> Markup:
    """How often examples were answered wrongly by a student without a teacher, by the teacher's confidence."""
    frame = Frame((1, len(curve)), (0, 1))
    ticks = [(1, "least sure"), (len(curve), "most sure")]
    marks: list[str | None] = [
        axes(frame, ticks, SHARE, "tenths of the examples, by the teacher’s confidence", "")
    ]
    marks.append(line(frame, [(place, mean) for place, (mean, _, _) in enumerate(curve, 1)], "si"))
    for place, (mean, low, high) in enumerate(curve, 1):
        marks.append(whisker(frame, place, low, high, "si"))
        marks.append(
            dot(frame.x(place), frame.y(mean), "si", f"tenth {place}: wrong in {percent(mean)} of its passes")
        )
    ends = [
        f"{percent(curve[place][0])} where the teacher is {how} sure"
        for place, how in ((0, "least"), (-1, "most"))
    ]
    title = "Passes in which a student without a teacher is wrong"
    drawn = panel(
        title, chart(frame, title, " to ".join(ends), *marks), f"{' to '.join(ends)}. Bars span the seeds."
    )
    return section(
        "Does the teacher know what is hard?",
        panels(drawn),
        lead="Training examples with right labels, in ten equal parts by the teacher’s confidence in the label.",
    )
