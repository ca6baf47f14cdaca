"""BOOT: data-free distillation of diffusion models with bootstrapping (Gu et al., arXiv 2306.05544, 2023).

A student that needs one call: from noise and a time it says the signal that the teacher's sampler would hold there. It
teaches itself from each time to the one before, the teacher judging its own answer; no data are read.

    y_t = g(e, t)                                       g the student, e: (D,) noise, t = min(s + delta, t_max)
    f   = f(a_t y_t + s_t e, t)                         the teacher's clean point at the student's place
    1 / delta^2 mean_d (g(e, s) - sg[w y_t + (1 - w) f])^2 + beta mean_d (g(e, t_max) - f(e, t_max))^2

w = (a_t s_s) / (s_t a_s), a_t = cos(pi t / 2), s_t = sin(pi t / 2); with step="euler" the target is
y_t + (t - s) pi / sin(pi t) (f - y_t). A sample is g(e, 0). Fixed point: DDIM in steps of delta from t_max.

Needs: a teacher that predicts the clean point, in that schedule, and points packed with their time (`data.noise`), such
as `--data noise[2]`; D numbers come out. A teacher that predicts the noise or clips must be wrapped, guidance is
`models.diffusion.Guided`. Cost: three student passes, one of them without a gradient, and two of the teacher.
Known failure: errors add up from t_max to 0, and points between two modes come last.

Reconstructed from the abstract and a summary: the weight of the first term is 1 / delta^2 at every time, beta = 0.5,
t_max = 0.99 and delta = 0.04 are recalled, not read. Ours: s is drawn from all of [0, t_max] and t cut to t_max, since
with t drawn and s = t - delta no term reaches the last delta below t_max. The student answers for y_t in eval mode.
Perceptual and adversarial losses are left out.

Measured (`examples/boot.py`; three Gaussians in the plane, exact teacher, two seeds, 1,920 steps of 256 noises): one
call lies 0.214 from 100 steps of DDIM (median 0.088), 5 steps of DDIM 0.198 (0.140), one step 1.846; standard
deviations 1.46 and 1.14 (sampler 1.51 and 1.21), shares of the Gaussians 0.534, 0.270, 0.197 (0.507, 0.296, 0.197).
Neither ingredient was needed here. Without the boundary term 0.231 (0.110): an error at t_max reaches time 0 times
sqrt(v) a / s, less than 0.01 for t_max = 0.99. Without the stop-gradient no collapse, 0.204 (0.041), though the rarest
Gaussian's share falls to 0.165. Digits with a trained teacher were not tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.errors import InputError, unknown
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.bootstrap import Step, bootstrap_target, squared_error
from understudy.sources.base import Source
from understudy.sources.bootstrapped import EARLIER, NOISED, Bootstrapped
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class BOOT(Method):
    """Bootstrapped one-step student of a diffusion model.

    Attributes:
        delta: step of time, above 0 and at most t_max.
        t_max: where the path begins, above 0 and below 1.
        beta: weight of the boundary term.
        step: "ddim" or "euler".
        curriculum: share of the training during which the range of s grows from t_max down to 0; at 0 it is whole.
        stop_gradient: whether the target is a constant; False is the control that the paper warns of.
    """

    delta: float = 0.04
    t_max: float = 0.99
    beta: float = 0.5
    step: Step = "ddim"
    curriculum: float = 0.0
    stop_gradient: bool = True

    needs = Needs(student=(CLEAN, EARLIER), teacher=(CLEAN, NOISED), vectors=True, timed=True)
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"bootstrap": "elsewhere"}

    def __post_init__(self) -> None:
        check_number("t_max", self.t_max, 0.0, 1.0, above=True)
        if self.t_max == 1:
            raise InputError("t_max must be below 1, where a point is noise alone; found 1")
        check_number("delta", self.delta, 0.0, self.t_max, above=True)
        check_number("beta", self.beta, 0.0)
        check_number("curriculum", self.curriculum, 0.0, 1.0)
        if self.step not in ("ddim", "euler"):
            raise unknown("step", self.step, ("ddim", "euler"))

    def source(self, low: float, high: float) -> Source:
        """Noise, and the student's own answer noised again."""
        return Bootstrapped(self.delta, self.t_max, self.curriculum, self.stop_gradient)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"bootstrap", "boundary"}: (B,) each; "boundary" only if beta > 0."""
        said = student[EARLIER].logits
        target = self._target(teacher, batch, torch.promote_types(said.dtype, torch.float32))
        target = target.detach() if self.stop_gradient else target
        terms = {"bootstrap": squared_error(target, said) / self.delta**2}
        if self.beta > 0:
            terms["boundary"] = self.beta * squared_error(teacher.logits.detach(), student.logits)
        return terms

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """The target of the bootstrap."""
        return self._target(teacher, batch, teacher[NOISED].logits.dtype)

    def rehearse(self, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """A signal beside the teacher's answer, and times from 0.3 up."""
        said = teacher[NOISED].logits
        time = 0.3 + 0.05 * (batch.index % 10).to(said)
        return {"signal": said.roll(1, 1) - 0.5, "time": time, "earlier": time - self.delta}

    def _target(self, teacher: Outputs, batch: Batch, kind: torch.dtype) -> Tensor:
        signal, time, earlier = (batch.notes[name].to(kind) for name in ("signal", "time", "earlier"))
        return bootstrap_target(signal, teacher[NOISED].logits.to(kind), time, earlier, self.step)
