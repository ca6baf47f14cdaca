"""Understanding and improving knowledge distillation (Tang, Shivanna, Zhao, Lin, Singh, Chi, Jain; arXiv 2002.03532):
what a teacher gives is caution (label smoothing), which classes are alike (KD-rel), and how sure it is of each example
(KD-pt), which makes hard and wrongly labelled examples weigh less.

A teacher learns from many images; students learn from a few of them, with labels alone, smoothed labels, or a target of
which half is the label and half what is kept of the teacher: all, its two largest confidences, its confidence in the
label, its classes' relations, or the last two together. Then again with a fifth of the students' labels wrong.

Departures: Fashion-MNIST and perceptrons in place of CIFAR-100, ImageNet and residual networks; one share for all, so
that the students differ in what is kept only; temperature 1; the teacher has seen more examples than its students, and
its labels are right. The paper's blocks are those of made-up data; here clothes, shoes.
Measured (--quick, five seeds): in part. All that the teacher says adds 0.8 points to 79.9 %, but smoothed labels add
1.0, and neither sureness (0.4 less than those) nor relations more than that. The teacher knows what is hard (rank
correlation -0.60), and a wrong label pulls at 0.49 where a right one does at 0.85. With wrong labels, all it says adds
1.9 points, smoothed labels 0.9. Relations leave blocks in the last layer; so do labels alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.experiments.base import Experiment, Metric, Result, Scale, Setting
from understudy.experiments.findings import Finding, judge, less
from understudy.experiments.parts.asking import ask, fidelity_on
from understudy.experiments.parts.teacher_levels import (
    ALL,
    BOTH,
    LABELS_ALONE,
    LEARNED,
    RELATIONS,
    SMOOTHED,
    SURENESS,
    TOP,
    WEIGHED,
    WITH_WRONG,
    block_structure,
    cosines,
    hard_examples,
    last_layers,
    method_of,
    mislabelled,
    tenths,
)
from understudy.fidelity.rescaling import EpochsWrong, rank_correlation, rescaling
from understudy.jobs.opening import open_data
from understudy.jobs.training_job import TrainingRequest, run_training
from understudy.methods.logits.understanding_kd import TeacherLevels, head_weights
from understudy.report.markup import Markup

TEACHER, LABELS = 10_007, 30_011  # added to the seed: first weights and wrong labels are of different draws


@dataclass(frozen=True, kw_only=True)
class Sizes(Scale):
    """What is trained on what.

    Attributes:
        data: data set with images.
        groups: classes that are alike to people, by what they are called; one not named is a group of its own.
        teacher, student: architectures whose last layer is linear.
        teacher_examples, examples: the first so many of the training split; the students see a part of the teacher's.
        teacher_epochs, epochs: of the teacher and of the students.
        share: of the target that is not the label, the same for all.
        wrong: share of the students' labels that are wrong, in the second half of the settings.
        relation_temperature, k: of the relations; how many confidences are the largest.
        teacher_lr, lr, batch_size: Adam, cosine to 0.
    """

    data: str = "fashion_mnist"
    groups: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"clothes": (0, 2, 3, 4, 6), "shoes": (5, 7, 9)}
    )
    teacher: str = "mlp[256]"
    student: str = "mlp[32]"
    teacher_examples: int = 10_000
    examples: int = 2000
    teacher_epochs: int = 6
    epochs: int = 15
    share: float = 0.5
    wrong: float = 0.2
    relation_temperature: float = 0.3
    k: int = 2
    teacher_lr: float = 1e-3
    lr: float = 2e-3
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or not 0 < self.wrong < 1:
            raise InputError(f"share and wrong must lie between 0 and 1, found {self.share} and {self.wrong}")
        if not 10 <= self.examples <= self.teacher_examples:
            raise InputError(
                f"the students see 10 of the teacher's {self.teacher_examples} examples or more, found {self.examples}"
            )


@dataclass(frozen=True)
class Taught(Setting):
    """What the student learns from, and whether some labels are wrong."""

    learned: str
    wrong: bool


@dataclass(frozen=True, eq=False)
class Ready:
    """What the settings of a seed share."""

    data: Mapping[bool, DataSet]
    changed: Tensor
    test: DataSet
    teacher: nn.Module
    where: Mapping[str, Any]


class UnderstandingKd(Experiment[Sizes, Ready]):
    """Students that keep a part of what their teacher says."""

    name = "understanding_kd"
    claim = "A teacher gives caution, which classes are alike, and how sure it is of each example"
    paper = "Tang et al., Understanding and Improving Knowledge Distillation, arXiv 2002.03532"
    parts = (
        "Half of every target is the label. The other half is the label too (labels alone), the same for every class "
        "(smoothed labels: caution), or what is kept of the teacher: its confidence in the label, the rest spread "
        "evenly (sureness, KD-pt); how alike its last layer holds the classes, the same for all examples of a class "
        "(relations, KD-rel); both; its largest confidences (KD-topk); or all it says. A label’s pull is the gradient "
        "at its logit, as a share of what labels alone would exert."
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        "student_accuracy": Metric("student’s accuracy"),
        "teacher_accuracy": Metric("teacher’s accuracy"),
        "agreement": Metric("agreement with the teacher"),
        "kl": Metric("KL from the teacher, nats", share=False),
        "blocks": Metric("cosine within groups less across, last layer", share=False),
        "difficulty": Metric("teacher’s confidence against passes wrong, rank correlation", share=False),
        "pull": Metric("median pull of a right label", share=False),
        "pull_wrong": Metric("median pull of a wrong label", share=False),
    }
    drawn = "student_accuracy"
    beside: ClassVar[Mapping[str, str]] = {"teacher_accuracy": "teacher"}
    quick = Sizes(seeds=(0, 1, 2, 3, 4), cost="about 3 minutes on one core")
    full = Sizes(
        seeds=tuple(range(10)),
        cost="about 1.5 hours on one core, reckoned from the quick run",
        teacher_examples=60_000,
        teacher_epochs=10,
        examples=20_000,
        epochs=30,
        student="mlp[64]",
    )

    def settings(self, scale: Sizes) -> list[Taught]:
        """Every way to learn with right labels, labels alone first, and most of them with wrong ones."""
        axes = {False: "right labels", True: f"{scale.wrong:.0%} of the labels wrong"}
        return [
            Taught(
                learned + (f", {scale.wrong:.0%} wrong" if wrong else ""),
                {axes[wrong]: learned},
                {axes[wrong]: LEARNED.index(learned)},
                learned,
                wrong,
            )
            for wrong, ways in ((False, LEARNED), (True, WITH_WRONG))
            for learned in ways
        ]

    def prepare(self, scale: Sizes, seed: int, data_root: str | Path | None, device: str) -> Ready:
        """The data, with right and with wrong labels, and the teacher."""
        train, test = (
            open_data(scale.data, split, data_root=data_root, valid_range=None) for split in ("train", "test")
        )
        if scale.teacher_examples > len(train):
            raise InputError(f"{scale.data} has {len(train)} examples, asked for {scale.teacher_examples}")
        where: dict[str, Any] = {"data_root": data_root, "device": device}
        request = replace(
            _request(scale, "train", train.take(scale.teacher_examples), scale.teacher),
            epochs=scale.teacher_epochs, lr=scale.teacher_lr, seed=seed + TEACHER,
        )  # fmt: skip
        teacher = run_training(request, **where).student
        clean = train.take(scale.examples)
        noisy, changed = mislabelled(clean, scale.wrong, seed + LABELS)
        return Ready({False: clean, True: noisy}, changed, test, teacher, where)

    def measure(
        self, scale: Sizes, setting: Setting, seed: int, ready: Ready
    ) -> Mapping[str, float | Sequence[float]]:
        """Train the student and hold it against its teacher; look at its last layer and at its labels' pull."""
        assert isinstance(setting, Taught)
        data, passes = ready.data[setting.wrong], EpochsWrong(scale.examples)
        base = TeacherLevels(alpha=scale.share, relation_temperature=scale.relation_temperature, k=scale.k)
        method = method_of(setting.learned, base, passes)
        asks = bool(method.needs.teacher)
        request = replace(
            _request(scale, "distill" if asks else "train", data, scale.student),
            teacher=ready.teacher if asks else None, method=method, seed=seed,
        )  # fmt: skip
        student = run_training(request, **ready.where).student
        said, labels = fidelity_on(ready.test, ready.teacher, student), data.labels
        if said.teacher_accuracy is None or said.student_accuracy is None or labels is None:
            raise InputError(f"{scale.data} has no labels to learn from and to test against")
        own, classes = head_weights(student, said.classes).cpu(), _grouped(scale, said.classes)
        found: dict[str, float | Sequence[float]] = {
            "student_accuracy": said.student_accuracy.mean,
            "teacher_accuracy": said.teacher_accuracy.mean,
            "agreement": said.agreement.mean,
            "kl": said.kl.mean,
            "blocks": block_structure(own, list(scale.groups.values())),
            "cosines": cosines(own)[classes][:, classes].flatten().tolist(),
        }
        inputs = data.inputs(slice(None))
        weighed = rescaling(ask(ready.teacher, inputs), ask(student, inputs), labels, mixing=scale.share)
        if setting.learned in WEIGHED:
            found["pull"] = float(weighed.omega[~ready.changed].median())
            if setting.wrong:
                found["pull_wrong"] = float(weighed.omega[ready.changed].median())
        if setting.learned == LABELS_ALONE:
            correlation = rank_correlation(weighed.teacher_confidence, passes.share())
            if correlation is not None:
                found["difficulty"] = correlation
            found["tenths"] = tenths(weighed.teacher_confidence, passes.share())
            theirs = head_weights(ready.teacher, said.classes).cpu()
            found["teacher_cosines"] = cosines(theirs)[classes][:, classes].flatten().tolist()
        return found

    def judge(self, scale: Sizes, values: Mapping[tuple[str, str], Sequence[float]]) -> list[Finding]:
        """What each level adds to accuracy, leaves in the last layer, and does to an example's weight."""
        noisy = next(one.name for one in self.settings(scale) if one.wrong and one.learned == ALL)

        def more_right(name: str, one: str, other: str) -> Finding:
            said = f"accuracy with {one} less that with {other}"
            return judge(name, said, less(values, "student_accuracy", one, other))

        better = max((RELATIONS, SURENESS), key=lambda one: sum(values[one, "student_accuracy"]))
        pulls = zip(values[noisy, "pull"], values[noisy, "pull_wrong"], strict=True)
        return [
            more_right("distillation helps", ALL, LABELS_ALONE),
            more_right("caution helps", SMOOTHED, LABELS_ALONE),
            more_right("relations add to it", RELATIONS, SMOOTHED),
            more_right("sureness adds to it", SURENESS, SMOOTHED),
            more_right("the two add up", BOTH, better),
            more_right("the small confidences are noise", TOP, ALL),
            judge(
                "relations show in the last layer",
                f"cosine within groups less across, with {RELATIONS} less with {SMOOTHED}",
                less(values, "blocks", RELATIONS, SMOOTHED),
                share=False,
            ),
            judge(
                "labels alone do not show them",
                f"cosine within groups less across, with {ALL} less with {LABELS_ALONE}",
                less(values, "blocks", ALL, LABELS_ALONE),
                share=False,
            ),
            judge(
                "the teacher knows what is hard",
                "minus the rank correlation of its confidence and the passes in which labels alone are not enough",
                [-found for found in values[LABELS_ALONE, "difficulty"]],
                share=False,
            ),
            judge(
                "wrong labels weigh less",
                f"median pull of a right label less that of a wrong one, with {ALL}",
                [right - wrong for right, wrong in pulls],
                share=False,
            ),
        ]

    def sections(self, scale: Sizes, settings: Sequence[Setting], result: Result) -> Sequence[Markup]:
        """Last layers side by side, and the teacher's confidence against what was hard."""
        of = {name: [row for row in result.rows if row["setting"] == name] for name in LEARNED}
        size = round(len(of[ALL][0]["cosines"]) ** 0.5)

        def mean(name: str, key: str) -> Float[np.ndarray, "c c"]:
            return np.mean([row[key] for row in of[name]], axis=0).reshape(size, size)

        maps = {"the teacher": mean(LABELS_ALONE, "teacher_cosines")}
        maps |= {name: mean(name, "cosines") for name in (LABELS_ALONE, SMOOTHED, RELATIONS, SURENESS, ALL)}
        curves = np.array([row["tenths"] for row in of[LABELS_ALONE]])
        points = [(float(one.mean()), float(one.min()), float(one.max())) for one in curves.T]
        return hard_examples(points), last_layers(maps, scale.groups)


def _request(scale: Sizes, command: str, data: DataSet, model: str) -> TrainingRequest:
    return TrainingRequest(
        command=command, data=data, model=model, optimizer="adam", epochs=scale.epochs, lr=scale.lr,
        batch_size=scale.batch_size,
    )  # fmt: skip


def _grouped(scale: Sizes, classes: int) -> list[int]:
    """Classes, those of a group together."""
    named = [one for group in scale.groups.values() for one in group]
    return [*named, *(one for one in range(classes) if one not in named)]
