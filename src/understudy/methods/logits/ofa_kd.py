"""OFA-KD: one for all, between architectures of different kinds (Hao et al., arXiv 2310.19444, NeurIPS 2023).

A convolution and a transformer hold unlike things in their middles, but every class means the same to both. So each
stage of the student gets a branch that says classes, and it is these that learn from the teacher's last answer.

    w_gt CE(s(x), y) + w_kd L(s(x), t(x)) + w_ofa sum_i L(b_i(f_i(x)), t(x))
    L(z, t) = -sum_c w_c ln softmax(z / T)_c            s, t, b_i(f_i): (B, C) logits; p = softmax(t / T), a constant
    w_y = (1 + p_y)^eps - 1,   w_c = p_c^eps for c != y      p itself at eps = 1; more on the label above it

f_i are the outputs of the student's stages, first to last, b_i the branches, which train along and are dropped: the
student keeps its layers and its size. form="paper" has w_y = (1 + p_y)^eps and w_c = p_c, where the label's term is
part of L, so that w_gt is 0 there unless it is set. eps is tuned for each pair, between 1 and 2.

Needs: the teacher's logits (no feature of its, so that they may be stored), labels, the student's stages. Those are
found: the blocks of a transformer, the last layer at each size of a convolutional network's maps, the hidden layers of
a perceptron; 4 at most, spread evenly. Or name them: `layers`, or `taps` called stage1, stage2, ...
Cost: a branch a stage while training, nothing afterwards.
Known failure: a named layer whose maps have their channels last is misread; there is no factor T^2, so a
higher T weakens the term; two class tokens need `class_tokens`, and only the first of them is read.

Reconstructed: the released code is followed where the paper differs: in the text as we know it the other classes keep
p_c and the label's weight has no -1. The branch of vectors is ours (the code knows maps and tokens): hidden layers with
layer norm. The code widens the last map to the larger of both models' last features; here `width`, by default the
student's own last one, as the teacher is not looked into. A network with fewer than 4 stages has shorter branches.
Labels are not smoothed, examples not mixed.

Measured (examples/ofa_kd.py: 3000 images of Fashion-MNIST, a cnn[8,16,64] teaches mlp[64,64,64,64], 15 epochs, means of
three seeds on 3000 test images; teacher right .832; right, agreement with the teacher): labels alone .819, .889; the
last answer alone .820, .900 (eps 1), .824, .904 (eps 1.5); with branches .831, .923 (eps 1), .834, .920 (eps 1.5), in
every seed above that without. Branches that learn from the labels instead: .831, .900. So what is gained in accuracy
here comes from the branches, and what is gained in agreement from the teacher. FitNets, at the same budget: .778, .851.
The branches themselves are right in .829, .830, .831, .830, first to last: as early ones are deeper, they do not grow
better with depth. Nor were the two models' middles unlike: linear CKA from .65 to .96, not below .4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.errors import InputError, unknown
from understudy.models.outputs import Outputs
from understudy.models.stages import stages_in
from understudy.numbers import check_number, read_number
from understudy.objectives.adaptive_targets import FORMS, Form, adaptive_target_loss, adaptive_targets
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.branches import make_branch
from understudy.objectives.cross_entropy import label_loss
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class OFAKD(Method):
    """Labels, the teacher's answer, and the same answer asked of the student's stages.

    Attributes:
        stages: how many stages at most have a branch; 0 leaves the branches out.
        layers: the student's layers behind which they stand, first to last, separated by commas; empty finds them.
        eps: exponent of the last answer's targets (the paper's gamma), above 0; 1 leaves the teacher's confidences.
        eps_branches: one for all branches, or one each, first to last, separated by commas; empty is `eps`.
        temperature: T, above 0.
        form: "code" or "paper", see above.
        w_gt: weight of the labels, 0 or more; None is 1 in the code's form and 0 in the paper's.
        w_kd, w_ofa: weights of the last answer's term and of each branch's.
        width: channels, or hidden units, at the end of a branch; None is the student's last stage's.
        class_tokens: how many of a transformer's tokens stand before those of the image; None guesses 0 or 1.
    """

    stages: int = 4
    layers: str = ""
    eps: float = 1.0
    eps_branches: str = ""
    temperature: float = 1.0
    form: Form = "code"
    w_gt: float | None = None
    w_kd: float = 1.0
    w_ofa: float = 1.0
    width: int | None = None
    class_tokens: int | None = None

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {
        "hard": "right label", "soft": "least", "enhanced": "elsewhere", "branches": "game",
    }  # fmt: skip

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown("form", self.form, FORMS)
        for name in ("eps", "temperature"):
            check_number(name, getattr(self, name), 0.0, above=True)
        for name in ("stages", "w_kd", "w_ofa"):
            check_number(name, getattr(self, name), 0.0)
        for name, least in (("w_gt", 0.0), ("width", 1.0), ("class_tokens", 0.0)):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), least)
        for value in self._exponents:
            check_number("eps_branches", value, 0.0, above=True)
        if not (self._label_weight or self.w_kd or self.needs.stages):
            raise InputError("nothing is left to learn from: w_gt, w_kd and w_ofa, or the stages, are 0")
        if not all(self._layers):
            raise InputError(f"layers must be names separated by commas, found {self.layers!r}")

    @property
    def needs(self) -> Needs:
        """Both models' logits, labels, and the student's stages with their branches."""
        named = {f"stage{i}": ("", layer) for i, layer in enumerate(self._layers, 1)}
        count = 0 if self.stages == 0 or self.w_ofa == 0 else len(named) or self.stages
        return Needs(labels=True, stages=count, auxiliary=count > 0, places=named if count else {})

    def build(self, student: Outputs, teacher: Outputs) -> nn.Module:
        """The branches by the names of their stages.

        Raises:
            InputError: as many exponents as there are stages, or one, must be given; or `make_branch` refuses.
        """
        names = stages_in(student.features)
        self._eps_of(names)
        width = self.width or student.features[names[-1]].shape[1]
        found = {}
        for later, name in enumerate(reversed(names)):
            feature = student.features[name]
            found[name] = make_branch(feature, student.logits.shape[1], later, width, self.class_tokens)
        return nn.ModuleDict(dict(reversed(found.items())))

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard", "soft", "branches"}: (B,) each, those of weight 0 left out.

        "soft" is called "enhanced" where its targets are not the teacher's confidences.
        """
        assert batch.labels is not None
        t, labels, terms = teacher.logits, batch.labels, {}
        if self._label_weight:
            terms["hard"] = self._label_weight * label_loss(student.logits, batch)
        if self.w_kd:
            said = adaptive_target_loss(t, student.logits, labels, self.eps, self.temperature, self.form)
            terms["soft" if self.eps == 1 and self.form == "code" else "enhanced"] = self.w_kd * said
        if isinstance(batch.auxiliary, nn.ModuleDict):
            exits = exit_logits(student.features, batch.auxiliary)
            losses = [
                adaptive_target_loss(t, z, labels, eps, self.temperature, self.form)
                for z, eps in zip(exits.values(), self._eps_of(list(exits)), strict=True)
            ]
            terms["branches"] = self.w_ofa * torch.stack(losses).sum(0)
        return terms

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """Where the student says w / sum w: (B, C)."""
        assert batch.labels is not None
        weights = adaptive_targets(teacher.logits, batch.labels, self.eps, self.temperature, self.form)
        return self.temperature * weights.clamp(min=torch.finfo(weights.dtype).tiny).log()

    @property
    def _label_weight(self) -> float:
        return float(self.form == "code") if self.w_gt is None else self.w_gt

    @property
    def _layers(self) -> list[str]:
        return [name.strip() for name in self.layers.split(",")] if self.layers.strip() else []

    @property
    def _exponents(self) -> list[float]:
        if not self.eps_branches.strip():
            return [self.eps]
        return [read_number("eps_branches", one.strip()) for one in self.eps_branches.split(",")]

    def _eps_of(self, names: list[str]) -> list[float]:
        given = self._exponents
        if len(given) not in (1, len(names)):
            raise InputError(f"eps_branches must be one number or {len(names)}, one a stage; found {given}")
        return given * len(names) if len(given) == 1 else given


def exit_logits(features: Mapping[str, Tensor], branches: nn.ModuleDict) -> dict[str, Tensor]:
    """What each branch says of the stage of its name, first to last: (B, C) each, in the branches' precision."""
    found = {}
    for name in stages_in(branches):
        weight = next(branches[name].parameters())
        found[name] = branches[name](features[name].to(weight.dtype))
    return found
