"""On the demystification of knowledge distillation: a residual network perspective (Jha, Saini, Mittal; arXiv
2006.16589): taught by a teacher, a network without shortcuts is as good as the residual one that learns from labels;
beyond some depth it loses much without shortcuts, and a teacher gives back a part of it.

Networks of growing depth are trained with their shortcuts and without, from labels; those without are also taught by a
residual teacher. The shallowest are taught by a weaker one as well. At the greatest depth, where taking the shortcuts
out hurts most, stand the controls: the residual network taught too, a teacher that is as unsure
but knows nothing (the same loss, with smoothed labels for its answers), and the weaker teacher.

Departures: digits and perceptrons with batch norm, whose blocks are those of the CIFAR network with linear layers for
convolutions (`family="resnet"` has the convolutions); the teacher is wider, not deeper. We know the paper's abstract
only: the controls and the sizes are ours.
Measured (--quick, three seeds): hardly. Up to 14 layers shortcuts are not missed, taught or not. With 26 a residual
network is right in 95.1 %, a plain one in 68.8 %, and a taught one in 68.0 %: no help by the teacher can be told. A
teacher of 87.6 % takes its student of 8 layers down to 85.3 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.experiments.base import Experiment, Metric, Result, Scale, Setting
from understudy.experiments.findings import Finding, judge
from understudy.experiments.parts.asking import ask, fidelity_on
from understudy.experiments.parts.blind_teacher import BlindTeacher
from understudy.experiments.parts.plain_nets import Family, depth_chart, make_net
from understudy.jobs.opening import open_data
from understudy.jobs.training_job import TrainingRequest, run_training
from understudy.methods.robust.ce import CE
from understudy.methods.robust.kd import SD
from understudy.objectives.base import Objective
from understudy.report.markup import Markup

TEACHER, WEAK = 10_007, 20_011  # added to the seed: no teacher starts from its student's weights
MARGIN = 0.01  # of accuracy: what still counts as equal
RESIDUAL, PLAIN, TAUGHT = "residual", "plain", "plain, taught"
BY_WEAKER, RESIDUAL_TAUGHT, SMOOTHED = (
    "plain, weaker teacher",
    "residual, taught",
    "plain, smoothed labels",
)
EVERYWHERE = (RESIDUAL, PLAIN, TAUGHT)
ORDER = (*EVERYWHERE, BY_WEAKER, RESIDUAL_TAUGHT, SMOOTHED)


@dataclass(frozen=True, kw_only=True)
class Sizes(Scale):
    """What is trained on what.

    Attributes:
        data: data set with images.
        examples: the first so many of the training split, for students and teachers.
        family, width, depths: of the students; a depth is 6n + 2, ascending, two at least.
        teacher_depth, teacher_width: of the residual teacher.
        weak_depth, weak_width, weak_epochs: of the weaker one, which ought to be worse than the residual students.
        epochs: of all others.
        lr, taught_lr: from labels, from a teacher (SGD, Nesterov momentum 0.9, cosine to 0). The factor T^2 of the soft
            targets makes the steps longer.
        alpha, temperature: share of the soft targets, and T.
        batch_size: of every training.
    """

    data: str = "digits"
    examples: int = 600
    family: Family = "perceptron"
    width: int = 32
    depths: tuple[int, ...] = (8, 14, 20, 26)
    teacher_depth: int = 8
    teacher_width: int = 64
    weak_depth: int = 8
    weak_width: int = 32
    weak_epochs: int = 3
    epochs: int = 40
    lr: float = 0.05
    taught_lr: float = 0.01
    alpha: float = 0.9
    temperature: float = 4.0
    batch_size: int = 64

    def __post_init__(self) -> None:
        if len(self.depths) < 2 or list(self.depths) != sorted(set(self.depths)):
            raise InputError(f"depths must be two or more, ascending, found {list(self.depths)}")


@dataclass(frozen=True)
class Deep(Setting):
    """How deep the student is, and which of `ORDER` is done with it."""

    depth: int
    way: str


@dataclass(frozen=True, eq=False)
class Ready:
    """What the settings of a seed share. doubt: what the teacher gives to wrong classes of training examples, at T."""

    train: DataSet
    test: DataSet
    teachers: Mapping[str, nn.Module]
    accuracies: Mapping[str, float]
    doubt: float
    where: Mapping[str, Any]


class ResidualDemystification(Experiment[Sizes, Ready]):
    """Depth without residuals, with and without a teacher."""

    name = "residual_demystification"
    claim = "A teacher makes up for missing shortcuts, up to some depth"
    paper = "Jha et al., On the Demystification of Knowledge Distillation, arXiv 2006.16589"
    parts = (
        "“Plain” is the residual network with its shortcuts taken out, from the same first weights. “Taught” learns "
        "nine tenths from a teacher’s soft answers; all others learn from labels. Smoothed labels are as unsure of the "
        "label, in the mean, as what the taught ones are given, but hold all wrong classes alike. One point of "
        "accuracy counts as equal."
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        "student_accuracy": Metric("accuracy on test inputs"),
        "train_accuracy": Metric("accuracy on what it learned from"),
        "teacher_accuracy": Metric("teacher’s accuracy"),
        "agreement": Metric("agreement with the teacher"),
        "kl": Metric("KL from the teacher, nats", share=False),
    }
    drawn = "student_accuracy"
    quick = Sizes(cost="about 3 minutes on one core")
    full = Sizes(
        seeds=(0, 1, 2, 3, 4),
        cost="about 2 hours on one core, reckoned from the time of a step",
        examples=1347, family="resnet", width=8, depths=(8, 14, 20, 32, 44, 56), teacher_depth=20, teacher_width=16,
        weak_width=4, epochs=60,
    )  # fmt: skip

    def settings(self, scale: Sizes) -> list[Deep]:
        """Residual, plain and taught at every depth; the others where they are asked about."""
        first, last = scale.depths[0], scale.depths[-1]
        extra = {first: (BY_WEAKER,), last: (BY_WEAKER, RESIDUAL_TAUGHT, SMOOTHED)}
        return [
            Deep(
                f"{depth} layers: {way}",
                {f"{depth} layers": way},
                {f"{depth} layers": ORDER.index(way)},
                depth,
                way,
            )
            for depth in scale.depths
            for way in (*EVERYWHERE, *extra.get(depth, ()))
        ]

    def prepare(self, scale: Sizes, seed: int, data_root: str | Path | None, device: str) -> Ready:
        """The data, the teacher and the weaker teacher, both residual and trained on labels."""
        train, test = (
            open_data(scale.data, split, data_root=data_root, valid_range=None) for split in ("train", "test")
        )
        if scale.examples > len(train):
            raise InputError(f"{scale.data} has {len(train)} examples, asked for {scale.examples}")
        train = train.take(scale.examples)
        where: dict[str, Any] = {"data_root": data_root, "device": device}
        built = {
            TAUGHT: (scale.teacher_depth, scale.teacher_width, scale.epochs, seed + TEACHER),
            BY_WEAKER: (scale.weak_depth, scale.weak_width, scale.weak_epochs, seed + WEAK),
        }
        teachers, accuracies = {}, {}
        for name, (depth, width, epochs, own) in built.items():
            net = _net(scale, train, depth, width, own, shortcuts=True)
            request = replace(_request(scale, train, net, own), epochs=epochs)
            teachers[name] = run_training(request, **where).student
            accuracies[name] = _accuracy(teachers[name], test)
        said = (ask(teachers[TAUGHT], train.inputs(slice(None))) / scale.temperature).softmax(1)
        doubt = 1 - float(said.gather(1, _labels(train)[:, None]).mean())
        return Ready(train, test, teachers, accuracies, doubt, where)

    def measure(
        self, scale: Sizes, setting: Setting, seed: int, ready: Ready
    ) -> Mapping[str, float | Sequence[float]]:
        """Train the network and hold it against the test inputs, and against its teacher if it has one."""
        assert isinstance(setting, Deep)
        shortcuts = setting.way in (RESIDUAL, RESIDUAL_TAUGHT)
        net = _net(scale, ready.train, setting.depth, scale.width, seed, shortcuts=shortcuts)
        request, teacher = _request(scale, ready.train, net, seed), None
        if setting.way in (TAUGHT, BY_WEAKER, RESIDUAL_TAUGHT):
            whose = BY_WEAKER if setting.way == BY_WEAKER else TAUGHT
            teacher = ready.teachers[whose]
            method: Objective = SD(alpha=scale.alpha, temperature=scale.temperature)
            request = replace(request, command="distill", teacher=teacher, method=method, lr=scale.taught_lr)
        elif setting.way == SMOOTHED:
            blind = BlindTeacher(
                alpha=scale.alpha, temperature=scale.temperature, share=smoothing_share(ready)
            )
            request = replace(request, method=blind, lr=scale.taught_lr)
        student = run_training(request, **ready.where).student
        found = {
            "student_accuracy": _accuracy(student, ready.test),
            "train_accuracy": _accuracy(student, ready.train),
        }
        if teacher is None:
            return found
        said = fidelity_on(ready.test, teacher, student)
        more = {
            "teacher_accuracy": ready.accuracies[whose],
            "agreement": said.agreement.mean,
            "kl": said.kl.mean,
        }
        return {**found, **more}

    def judge(self, scale: Sizes, values: Mapping[tuple[str, str], Sequence[float]]) -> list[Finding]:
        """Equal while shallow; at the greatest depth a loss, some of it made up, and by the teacher's answers."""
        first, last = scale.depths[0], scale.depths[-1]

        def of(depth: int, way: str, metric: str = "student_accuracy") -> Sequence[float]:
            return values[f"{depth} layers: {way}", metric]

        def less(
            name: str, said: str, one: Sequence[float], other: Sequence[float], more: float = 0.0
        ) -> Finding:
            return judge(name, said, [a - b + more for a, b in zip(one, other, strict=True)])

        gain, usual = (
            [a - b for a, b in zip(of(last, taught), of(last, alone), strict=True)]
            for taught, alone in ((TAUGHT, PLAIN), (RESIDUAL_TAUGHT, RESIDUAL))
        )
        return [
            *(
                less(
                    f"taught, {depth} layers need no shortcuts",
                    f"accuracy of the plain one that is taught less the residual one’s, plus {100 * MARGIN:g} point",
                    of(depth, TAUGHT), of(depth, RESIDUAL), MARGIN,
                )
                for depth in scale.depths[: len(scale.depths) // 2]
            ),
            judge(
                "nor with a weaker teacher",
                f"the same with {first} layers and the weaker teacher, or by how much the residual student is better "
                "than that teacher, whichever is less",
                [
                    min(a - b + MARGIN, b - t)
                    for a, b, t in zip(
                        of(first, BY_WEAKER), of(first, RESIDUAL), of(first, BY_WEAKER, "teacher_accuracy"), strict=True
                    )
                ],
            ),
            less(
                f"{last} layers need them",
                "accuracy of the residual one less the plain one’s, from labels",
                of(last, RESIDUAL), of(last, PLAIN),
            ),
            less(
                "a teacher makes up for some of it",
                f"accuracy of the plain one with {last} layers that is taught less that from labels",
                of(last, TAUGHT), of(last, PLAIN),
            ),
            less(
                "but not for all",
                f"accuracy of the residual one with {last} layers, from labels, less the taught plain one’s",
                of(last, RESIDUAL), of(last, TAUGHT),
            ),
            less(
                "it is not the smoothing",
                f"accuracy of the plain one with {last} layers that is taught less that with smoothed labels",
                of(last, TAUGHT), of(last, SMOOTHED),
            ),
            less(
                "it is not what any student gains",
                f"what a teacher adds to the plain one with {last} layers less what it adds to the residual one",
                gain, usual,
            ),
        ]  # fmt: skip

    def sections(self, scale: Sizes, settings: Sequence[Setting], result: Result) -> Sequence[Markup]:
        """Accuracy over depth, with shortcuts and without, alone and taught."""
        found = {one.setting: one for one in result.summary if one.metric == "student_accuracy"}
        curves = {
            way: [
                (d, one.mean, one.low, one.high)
                for d in scale.depths
                for one in [found[f"{d} layers: {way}"]]
            ]
            for way in EVERYWHERE
        }
        return (depth_chart(curves),)


def _net(scale: Sizes, data: DataSet, depth: int, width: int, seed: int, *, shortcuts: bool) -> nn.Module:
    assert data.classes is not None
    return make_net(scale.family, data.shape, data.classes, depth, width, seed, shortcuts=shortcuts)


def _request(scale: Sizes, data: DataSet, net: nn.Module, seed: int) -> TrainingRequest:
    return TrainingRequest(
        command="train", data=data, model=net, method=CE(), optimizer="sgd", epochs=scale.epochs, lr=scale.lr,
        batch_size=scale.batch_size, seed=seed,
    )  # fmt: skip


def smoothing_share(ready: Ready) -> float:
    """What smoothing spreads, e, for a label to keep, 1 - e (C - 1) / C, what the teacher leaves it on average."""
    assert ready.train.classes is not None
    return min(1.0, ready.doubt * ready.train.classes / (ready.train.classes - 1))


def _labels(data: DataSet) -> Tensor:
    if data.labels is None:
        raise InputError(f"{data.name} has no labels to learn from and to test against")
    return data.labels


def _accuracy(net: nn.Module, data: DataSet) -> float:
    return float((ask(net, data.inputs(slice(None))).argmax(1) == _labels(data)).double().mean())
