"""Generalisation against fidelity (Ramesh, Sengupta, Chakraborty; arXiv 2505.15442, Findings of ACL 2025): distillation
helps small language models most, and what it adds in accuracy has little to do with how well they copy the teacher.

Language models of four sizes are first trained on short ballots (`ballots`): the base models. The task is long ones: to
count the votes and name the winner. The largest is tuned on them and is the teacher; each of the others is tuned on the
same ballots, by their answers alone (SFT), or by the teacher's next words instead: forward KL, reverse KL, or GKD,
which lets the student write half of the answers itself. The student of the middle size is also taught at other
temperatures, and by the largest base model as it is.

Departures: models of 10^4 and not 10^9 parameters, one task with a rule, all weights are tuned; prompts are never
trained on; both models write greedily, so that a model agrees with itself; BLEU is pooled over all ballots, by letters.
Measured (--quick, three seeds): no. Agreement goes with accuracy over the students (rank correlation 0.98). Whether
distillation helps any size, whether agreement rises by it, and whether temperature, objective or an un-tuned teacher
matter to the accuracy cannot be told.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from understudy.data.text import TokenSet, from_pairs
from understudy.data.tokenizers import train_tokenizer
from understudy.errors import InputError
from understudy.experiments.base import Experiment, Metric, Result, Scale, Setting
from understudy.experiments.findings import Finding
from understudy.experiments.parts.ballots import answer_in, ballots, said, written
from understudy.experiments.parts.fidelity_paradox import judge_paradox, middle_of, paradox_sections
from understudy.experiments.parts.token_kl import TokenKL
from understudy.fidelity.streaming import Fidelity
from understudy.fidelity.writing import answer_agreement, bleu
from understudy.jobs.training_job import TrainingRequest, new_student, run_training
from understudy.methods.language.gkd import GKD
from understudy.objectives.tokens import next_token_loss
from understudy.report.markup import Markup
from understudy.training.method import Method

TUNED, BASE = "tuned", "un-tuned"
TASK, EASY, GIANT = 10_007, 20_011, 30_011  # added to the seed: data, and the largest model, of their own
WIDER = (
    5.0  # first weights of standard deviation 0.1: at transformers' 0.02 narrow models hardly begin to learn
)
KD: Mapping[str, Method] = {
    "forward KL": TokenKL(kind="forward_kl"),
    "reverse KL": TokenKL(kind="reverse_kl"),
    "GKD": GKD(lam=0.5, beta=0.5),
}


@dataclass(frozen=True, kw_only=True)
class Sizes(Scale):
    """What is varied, and what it departs from.

    Attributes:
        students: the students' architectures, the smallest first.
        teacher: the teacher's.
        temperatures: of forward KL for the student in the middle, beside 1.
        votes, easy_votes: of a ballot of the task, and of those that base models are trained on.
        easy, tuning, test: how many ballots there are of each.
        easy_epochs, epochs: of the base models, and of all that is tuned.
        lr, batch_size: of every training (Adam, cosine to 0).
    """

    students: tuple[str, ...] = ("lm[1,12,2]", "lm[1,16,4]", "lm[1,24,4]")
    teacher: str = "lm[1,48,4]"
    temperatures: tuple[float, ...] = (2.0, 5.0)
    votes: int = 7
    easy_votes: tuple[int, ...] = (4, 5, 6)
    easy: int = 400
    tuning: int = 300
    test: int = 400
    easy_epochs: int = 12
    epochs: int = 8
    lr: float = 5e-3
    batch_size: int = 32

    def __post_init__(self) -> None:
        if len(self.students) < 2:
            raise InputError(
                f"students must be two at least, the smallest first, found {list(self.students)}"
            )
        if self.votes in self.easy_votes:
            raise InputError(f"ballots of {self.votes} votes are the task: easy_votes must be others")
        if not {2.0, 5.0} <= {*self.temperatures}:
            raise InputError(f"temperatures must hold 2 and 5, found {list(self.temperatures)}")


@dataclass(frozen=True)
class Taught(Setting):
    """A setting: the student, the method (None: SFT), and which teacher it has or is held against."""

    student: str
    method: Method | None
    teacher: str = TUNED


@dataclass(frozen=True, eq=False)
class Known:
    """A model, what it writes to the test prompts, and its logits at the counted places of their answers (P, V)."""

    net: nn.Module
    writes: Sequence[str]
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Ready:
    """What the settings of a seed share."""

    tuning: TokenSet
    test: TokenSet
    bases: Mapping[str, nn.Module]
    teachers: Mapping[str, Known]
    where: Mapping[str, Any]


class GeneralizationVsFidelity(Experiment[Sizes, Ready]):
    """Accuracy, agreement and wording of small language models against their teacher's."""

    name = "generalization_vs_fidelity"
    claim = "Distillation helps small language models most, but not by copying the teacher"
    paper = (
        "Ramesh et al., On the Generalization vs Fidelity Paradox in Knowledge Distillation, arXiv 2505.15442"
    )
    parts = (
        "Language models count the votes of a ballot and name the winner. All are first trained on short ballots; then "
        "the largest, the teacher, is tuned on long ones. Each smaller one is tuned on the same long ballots, either "
        "by their answers (SFT, no teacher) or by the teacher’s next words. Its gain is its accuracy less that of the "
        "SFT student of its size. Accuracy is the share of new ballots whose winner it names; agreement, the share of "
        "those where it names whom its teacher names; BLEU says how alike their whole answers are worded. "
        "lm[1,12,2] has one layer of width 12 and two heads."
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("accuracy"),
        "agreement": Metric("agreement with the teacher’s answers"),
        "bleu": Metric("BLEU against the teacher’s text"),
        "token_agreement": Metric("agreement on the next word"),
        "kl": Metric("KL from the teacher, nats a word", share=False),
        "loss": Metric("loss on new ballots, nats a word", share=False),
        "base_accuracy": Metric("accuracy before tuning"),
        "teacher_accuracy": Metric("teacher’s accuracy"),
        "teacher_loss": Metric("teacher’s loss, nats a word", share=False),
    }
    drawn = "accuracy"
    beside: ClassVar[Mapping[str, str]] = {"teacher_accuracy": "the teacher"}
    quick = Sizes(cost="about 3 minutes on one core")
    full = Sizes(
        seeds=(0, 1, 2, 3, 4, 5, 6, 7),
        cost="about two hours on one core, reckoned from the quick run",
        students=("lm[1,12,2]", "lm[1,20,2]", "lm[1,32,2]", "lm[2,32,4]", "lm[2,48,4]"),
        teacher="lm[2,96,4]",
        temperatures=(2.0, 3.0, 5.0),
        votes=9,
        easy_votes=(5, 6, 7, 8),
        easy=2000,
        tuning=1000,
        test=2000,
    )

    def settings(self, scale: Sizes) -> list[Taught]:
        """Every student by every objective; the middle one at other temperatures and from the base model."""
        middle, found = middle_of(scale.students), []
        for student in sorted(scale.students, key=lambda one: one != middle):
            axis = f"objective, {student}"
            ways: dict[str, Method | None] = {**KD, "SFT": None}
            for way, method in ways.items():
                label = way if method else "SFT, no teacher"
                found.append(Taught(f"{student}, {way}", {axis: label}, {}, student, method))
        first, none = found[0], found[len(KD)]
        heat, who = f"temperature, {middle}", f"teacher, {middle}"
        found[0] = replace(
            first, axes={**first.axes, heat: "τ = 1", who: TUNED}, places={heat: 1.0, who: 1.0}
        )
        found[len(KD)] = replace(none, axes={**none.axes, who: "none (SFT)"})
        for tau in scale.temperatures:
            method = TokenKL(kind="forward_kl", temperature=tau)
            name = f"{middle}, forward KL, τ = {tau:g}"
            found.append(Taught(name, {heat: f"τ = {tau:g}"}, {heat: tau}, middle, method))
        name = f"{middle}, forward KL, {BASE} teacher"
        found.append(Taught(name, {who: BASE}, {who: 2.0}, middle, KD["forward KL"], BASE))
        return found

    def prepare(self, scale: Sizes, seed: int, data_root: str | Path | None, device: str) -> Ready:
        """Ballots, the base models, and the teacher, tuned."""
        where: dict[str, Any] = {"device": device}
        tokenizer = train_tokenizer([])
        task = ballots((scale.votes,), scale.tuning + scale.test, seed + TASK)
        test = from_pairs(task[scale.tuning :], tokenizer, name="ballots", split="test")
        length = test.shape[0]  # every ballot of the task is as long
        tuning = from_pairs(task[: scale.tuning], tokenizer, name="ballots", length=length)
        short = ballots(scale.easy_votes, scale.easy, seed + EASY)
        easy = from_pairs(short, tokenizer, name="short ballots", length=length)

        def base(spec: str, seed: int) -> nn.Module:
            request = _request(scale, "train", easy, spec, scale.easy_epochs, seed)
            module, _ = new_student(request, easy, seed)
            _widen(module)
            return run_training(replace(request, model=module), **where).student

        bases = {spec: base(spec, seed) for spec in scale.students}
        giant = base(scale.teacher, seed + GIANT)
        request = _request(scale, "train", tuning, copy.deepcopy(giant), scale.epochs, seed + GIANT)
        tuned = run_training(request, **where).student
        teachers = {TUNED: known(tuned, test), BASE: known(giant, test)}
        return Ready(tuning, test, bases, teachers, where)

    def measure(self, scale: Sizes, setting: Setting, seed: int, ready: Ready) -> Mapping[str, float]:
        """Tune the student, and hold what it writes, and what it expects, against its teacher's."""
        assert isinstance(setting, Taught)
        base, teacher = ready.bases[setting.student], ready.teachers[setting.teacher]
        command = "train" if setting.method is None else "distill"
        request = _request(scale, command, ready.tuning, copy.deepcopy(base), scale.epochs, seed)
        if setting.method is not None:
            request = replace(request, teacher=teacher.net, method=setting.method)
        student = known(run_training(request, **ready.where).student, ready.test)
        before = accuracy_of(written(base, ready.test), ready.test)
        return {
            **held_against(teacher, student, ready.test),
            "base_accuracy": before,
            "teacher_accuracy": accuracy_of(teacher.writes, ready.test),
            "teacher_loss": loss_of(teacher.net, ready.test),
        }

    def judge(self, scale: Sizes, values: Mapping[tuple[str, str], Sequence[float]]) -> list[Finding]:
        """See `fidelity_paradox`."""
        return judge_paradox(scale.students, list(KD), values)

    def sections(self, scale: Sizes, settings: Sequence[Setting], result: Result) -> list[Markup]:
        """The gains by size, and agreement against accuracy."""
        return paradox_sections(scale.students, list(KD), settings, result)


def known(net: nn.Module, test: TokenSet) -> Known:
    """The model with what it says of the test ballots."""
    return Known(net, written(net, test), said(net, test)[test.tokens["clean"].mask(slice(None))])


def held_against(teacher: Known, student: Known, test: TokenSet) -> dict[str, float]:
    """The student's accuracy and loss, and how alike the two are."""
    alike = Fidelity()
    alike.update(teacher.logits, student.logits)
    found = alike.result()
    return {
        "accuracy": accuracy_of(student.writes, test),
        "agreement": answer_agreement(*([answer_in(one) for one in m.writes] for m in (teacher, student))),
        "bleu": bleu(teacher.writes, student.writes),
        "token_agreement": found.agreement.mean,
        "kl": found.kl.mean,
        "loss": loss_of(student.net, test),
    }


def accuracy_of(writes: Sequence[str], test: TokenSet) -> float:
    """The share of ballots whose winner is named, in [0, 1]."""
    return answer_agreement(
        [answer_in(one) for one in writes], [answer_in(pair.answer) for pair in test.pairs]
    )


def loss_of(net: nn.Module, test: TokenSet) -> float:
    """The mean surprise at the right answers, nats a token; 2 ln 2 of a ballot's are for separators, all chance."""
    rows = slice(None)
    return float(next_token_loss(said(net, test), test.inputs(rows), test.tokens["clean"].mask(rows)).mean())


def _request(
    scale: Sizes, command: str, data: TokenSet, model: Any, epochs: int, seed: int
) -> TrainingRequest:
    return TrainingRequest(
        command=command,
        data=data,
        model=model,
        epochs=epochs,
        seed=seed,
        lr=scale.lr,
        batch_size=scale.batch_size,
    )


@torch.no_grad()
def _widen(module: nn.Module) -> None:
    for weight in module.parameters():
        if weight.dim() == 2:
            weight.mul_(WIDER)
