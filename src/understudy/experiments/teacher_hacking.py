"""On teacher hacking in language model distillation (Tiapkin, Calandriello, Ferret, Perrin, Vieillard, Rame, Blondel;
arXiv 2502.02671): a student may come ever nearer to its teacher and move away from the truth, of which the teacher is
only an approximation.

That can be seen where the truth is a model itself. An oracle mu answers prompts; teacher and student learn from its
answers (supervised); then the student learns from the teacher alone, token by token, KL(p_T || p_S), on responses to
other prompts. Over training two distances are measured, on held-out prompts:

    proxy   E_{y ~ p_T} KL(p_T || p_S), nats a symbol          golden   E_{y ~ mu} KL(mu || p_S), nats a symbol

Offline, the teacher's responses are written once and read again in every epoch; online, teacher or student write them
anew each time. The paper's claim: offline the golden distance turns and rises while the proxy goes on falling, online
it does not, and more diverse data (prompts, or responses to each prompt) mitigate.

Departures: small neural n-gram models of a language of 16 symbols in place of T5, so that mu is known at every place
and each divergence is exact; a share of the paper's data, read more often (300 epochs, in the paper 62); no warm-up.
Measured (--quick, three seeds; in brackets six): in part. Offline the golden distance ends 2.7 % above its lowest
(2.4 %, 0.9 to 3.8), online 0.0 and 0.1 % (0.3 and 0.2 %); online data and more responses end nearer to the truth, fewer
prompts farther from it. But offline the proxy distance turns too: this is overfitting more than it is hacking.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from understudy.data.text import TokenSet
from understudy.errors import InputError
from understudy.experiments.base import Experiment, Metric, Result, Scale, Setting
from understudy.experiments.findings import Finding, judge, less, untold
from understudy.experiments.parts.prompted_language import (
    DistanceFrom,
    PromptedModel,
    as_data,
    different_prompts,
    oracle_of,
    texts_by,
)
from understudy.experiments.parts.watched import WatchedGKD, spaced
from understudy.jobs.training_job import TrainingRequest, run_training
from understudy.methods.language.sft import SFT
from understudy.report.markup import Markup

Writer = Literal["once", "teacher", "student"]
TURN = 0.01  # a curve has turned if it ends this much, or more, above its lowest point
ORACLE, TEACHER, WRITING = 10_007, 20_011, 30_011  # added to the seed: nothing is drawn twice


@dataclass(frozen=True, kw_only=True)
class Sizes(Scale):
    """The language, its models, and what is varied.

    Attributes:
        vocabulary, prompt, response: symbols, and how many of them a prompt and a response have.
        oracle, teacher, student: widths of their hidden layers.
        sharpness: standard deviation of the oracle's logits: 4 makes it about as sure of the next symbol as language
            models are of the next token (0.8 of 2.8 nats).
        oracle_texts: responses of the oracle that teacher and student learn from.
        teacher_epochs, start_epochs: for how long each does.
        distilled: prompts that the student is distilled on, and responses to them.
        epochs: how often the offline responses are read; every setting takes as many steps.
        fewer: prompts divided by this, with as many times the responses to each.
        more: responses to each prompt, all prompts kept.
        held: held-out prompts.
        looks: at how many steps, at about equal ratios, the student is measured on its way.
        lr, batch_size: of every training (Adam, constant).
    """

    vocabulary: int = 16
    prompt: int = 4
    response: int = 12
    oracle: tuple[int, ...] = (64, 64)
    teacher: tuple[int, ...] = (128, 128)
    student: tuple[int, ...] = (64, 64)
    sharpness: float = 4.0
    oracle_texts: int = 320
    teacher_epochs: int = 16
    start_epochs: int = 4
    distilled: int = 120
    epochs: int = 300
    fewer: tuple[int, ...] = (5,)
    more: tuple[int, ...] = (5,)
    held: int = 500
    looks: int = 20
    lr: float = 3e-3
    batch_size: int = 60

    def __post_init__(self) -> None:
        if not self.fewer or not self.more or min(*self.fewer, *self.more) < 2:
            raise InputError(
                f"fewer and more must each hold a factor of 2 or more, found {self.fewer}, {self.more}"
            )
        if self.distilled % self.batch_size or any(self.distilled % factor for factor in self.fewer):
            raise InputError(
                f"the batch and every factor of fewer must divide distilled={self.distilled}, "
                f"found {self.batch_size} and {list(self.fewer)}"
            )
        if any(self.epochs % factor for factor in self.more):
            raise InputError(
                f"every factor of more must divide epochs={self.epochs}, found {list(self.more)}"
            )

    @property
    def steps(self) -> int:
        """Of every distillation."""
        return self.epochs * self.distilled // self.batch_size


@dataclass(frozen=True)
class Taught(Setting):
    """A setting: who writes the responses, by what the prompts are divided, how many responses each of them has."""

    writer: Writer = "once"
    fewer: int = 1
    responses: int = 1


@dataclass(frozen=True, eq=False)
class Ready:
    """What the settings of a seed share: the models, the prompts, and the two distances on held-out prompts."""

    teacher: nn.Module
    start: nn.Module
    prompts: Int[Tensor, "n p"]
    golden: DistanceFrom
    proxy: DistanceFrom
    device: str


@dataclass
class Curve:
    """The student's distances on its way, one a look."""

    ready: Ready
    step: list[int] = field(default_factory=list)
    golden: list[float] = field(default_factory=list)
    proxy: list[float] = field(default_factory=list)

    def look(self, step: int, student: nn.Module) -> None:
        """Measure the student before `step`."""
        self.step.append(step)
        self.golden.append(self.ready.golden(student))
        self.proxy.append(self.ready.proxy(student))


class TeacherHacking(Experiment[Sizes, Ready]):
    """Distance to the teacher against distance to the truth, over training."""

    name = "teacher_hacking"
    claim = (
        "Distilled on fixed data, a student goes on nearing its teacher while it moves away from the truth"
    )
    paper = "Tiapkin et al., On Teacher Hacking in Language Model Distillation, arXiv 2502.02671"
    parts = (
        "The truth is a model here, the oracle; the teacher has learned from some of its texts, and the student is "
        "distilled from the teacher alone. Its golden distance is that from the oracle, its proxy distance that from "
        "the teacher, both as KL in nats a symbol on held-out prompts. A curve has turned if it ends 1% or more above "
        "its lowest point. Every setting takes the same number of steps."
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        "golden": Metric("golden distance at the end, nats a symbol", share=False),
        "rise": Metric("its rise from its lowest"),
        "proxy": Metric("proxy distance at the end, nats a symbol", share=False),
        "proxy_then": Metric("proxy where golden was lowest", share=False),
        "shown": Metric("distance from the teacher on what was shown, last epoch", share=False),
        "teacher_golden": Metric("the teacher’s golden distance", share=False),
        "start_golden": Metric("the student’s before it was distilled", share=False),
    }
    drawn = "golden"
    beside: ClassVar[Mapping[str, str]] = {"teacher_golden": "the teacher itself"}
    quick = Sizes(cost="about 2 minutes on one core")
    full = Sizes(
        seeds=(0, 1, 2, 3, 4),
        cost="about an hour on one core, reckoned from the quick run",
        oracle_texts=1600,
        teacher_epochs=8,
        start_epochs=2,
        distilled=600,
        epochs=600,
        fewer=(2, 5),
        more=(2, 5),
        held=2000,
        looks=30,
    )

    def settings(self, scale: Sizes) -> list[Taught]:
        """Offline first; who else writes; fewer prompts, and more responses to each."""
        source, spread = "who writes the responses", "prompts × responses to each"
        many = scale.distilled
        names = {source: "teacher, once", spread: f"{many} × 1"}

        def spreading(factor: int, prompts: int, fewer: int) -> Taught:
            there = {spread: f"{prompts} × {factor}"}
            place = {spread: factor if fewer == 1 else 1.0 / factor}
            return Taught(f"{prompts} prompts × {factor}", there, place, fewer=fewer, responses=factor)

        return [
            Taught("offline", names, {source: 0.0, spread: 1.0}),
            Taught("online, teacher", {source: "teacher, anew"}, {source: 1.0}, "teacher"),
            Taught("online, student", {source: "student, anew"}, {source: 2.0}, "student"),
            *(spreading(factor, many // factor, factor) for factor in scale.fewer),
            *(spreading(factor, many, 1) for factor in scale.more),
        ]

    def prepare(self, scale: Sizes, seed: int, data_root: str | Path | None, device: str) -> Ready:
        """The oracle; the teacher and the student as they have learned from it; prompts that neither has met."""
        oracle = oracle_of(scale.vocabulary, scale.prompt, scale.oracle, scale.sharpness, seed + ORACLE)
        random = torch.Generator().manual_seed(seed)
        sizes = [scale.held, scale.oracle_texts, scale.distilled]
        prompts = different_prompts(sum(sizes), scale.vocabulary, scale.prompt, random)
        held, answered, others = prompts.split(sizes)
        texts = as_data(texts_by(oracle, answered, scale.response, random), scale.prompt, scale.vocabulary)

        def learned(widths: Sequence[int], epochs: int, drawn: int) -> nn.Module:
            with torch.random.fork_rng():
                torch.manual_seed(drawn)
                new = PromptedModel(scale.vocabulary, scale.prompt, widths)
            request = replace(_request(scale, "train", texts, new), method=SFT(), epochs=epochs, seed=drawn)
            return run_training(request, device=device).student

        teacher = learned(scale.teacher, scale.teacher_epochs, seed + TEACHER)
        start = learned(scale.student, scale.start_epochs, seed)
        golden, proxy = (DistanceFrom(model, held, scale.response, random) for model in (oracle, teacher))
        return Ready(teacher, start, others, golden, proxy, device)

    def measure(
        self, scale: Sizes, setting: Setting, seed: int, ready: Ready
    ) -> Mapping[str, float | Sequence[float]]:
        """Distil the student, and hold it against oracle and teacher on its way and at the end."""
        assert isinstance(setting, Taught)
        prompts = ready.prompts[: len(ready.prompts) // setting.fewer]
        random = torch.Generator().manual_seed(seed + WRITING)
        once = texts_by(
            ready.teacher, prompts.repeat_interleave(setting.responses, 0), scale.response, random
        )
        curve = Curve(ready)
        method = WatchedGKD(
            lam=1.0 if setting.writer == "student" else 0.0,
            otherwise="teacher" if setting.writer == "teacher" else "data",
            beta=0.0,
            look=curve.look,
            at=frozenset(spaced(scale.steps, scale.looks)[:-1]),
            steps=scale.steps,
        )
        request = replace(
            _request(
                scale,
                "distill",
                as_data(once, scale.prompt, scale.vocabulary),
                copy.deepcopy(ready.start),
            ),
            teacher=ready.teacher,
            method=method,
            epochs=scale.steps * scale.batch_size // len(once),
            seed=seed,
        )
        run = run_training(request, device=ready.device)
        curve.look(scale.steps, run.student)
        lowest = curve.golden.index(min(curve.golden))
        return {
            "golden": curve.golden[-1],
            "rise": curve.golden[-1] / curve.golden[lowest] - 1.0,
            "proxy": curve.proxy[-1],
            "proxy_then": curve.proxy[lowest],
            "shown": run.curves[-1]["loss"],
            "teacher_golden": ready.golden(ready.teacher),
            "start_golden": curve.golden[0],
            "steps": curve.step,
            "golden_curve": curve.golden,
            "proxy_curve": curve.proxy,
        }

    def judge(self, scale: Sizes, values: Mapping[tuple[str, str], Sequence[float]]) -> list[Finding]:
        """Whether golden turns offline, proxy goes on, neither online, and what diversity does."""
        settings = self.settings(scale)
        offline, teacher, student = (one.name for one in settings[:3])
        fewest = max(settings, key=lambda one: one.fewer).name
        most = max((one for one in settings if one.fewer == 1), key=lambda one: one.responses).name

        fallen = zip(values[offline, "proxy_then"], values[offline, "proxy"], strict=True)
        return [
            judge(
                "offline the golden distance turns",
                "how far it ends above its lowest point, in percent, less 1",
                [rise - TURN for rise in values[offline, "rise"]],
            ),
            # where golden never turns, the two are one number: the proxy may have fallen all the way
            (judge if all(rise > 0 for rise in values[offline, "rise"]) else untold)(
                "the proxy distance goes on falling",
                "offline: proxy where golden was lowest less proxy at the end",
                [then - now for then, now in fallen],
                share=False,
            ),
            *(
                judge(
                    f"online it does not turn, the {who} writing",
                    "1 less how far the golden distance ends above its lowest, in percent",
                    [TURN - rise for rise in values[name, "rise"]],
                )
                for who, name in (("teacher", teacher), ("student", student))
            ),
            judge(
                "online data end nearer to the truth",
                "golden distance at the end, offline less online (teacher writing)",
                less(values, "golden", offline, teacher),
                share=False,
            ),
            judge(
                "fewer prompts end farther from it",
                f"golden distance at the end, {fewest} less offline",
                less(values, "golden", fewest, offline),
                share=False,
            ),
            judge(
                "more responses to each prompt end nearer",
                f"golden distance at the end, offline less {most}",
                less(values, "golden", offline, most),
                share=False,
            ),
        ]

    def sections(self, scale: Sizes, settings: Sequence[Setting], result: Result) -> Sequence[Markup]:
        """The two distances over training."""
        from understudy.experiments.parts.teacher_hacking_charts import curves

        return (curves(settings, result, TURN),)


def _request(scale: Sizes, command: str, data: TokenSet, model: nn.Module) -> TrainingRequest:
    return TrainingRequest(
        command=command,
        data=data,
        model=model,
        lr=scale.lr,
        batch_size=scale.batch_size,
        schedule="constant",
    )
