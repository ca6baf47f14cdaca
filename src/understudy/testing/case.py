"""`Case`: an objective under test, with what its checks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import torch
from torch import nn

from understudy.models.ensemble import Team
from understudy.models.memo import Memo
from understudy.models.stages import find_stages, stages_in
from understudy.models.taps import resolve, shapes_of
from understudy.objectives.base import Needs, Objective, ZeroWhen
from understudy.objectives.partner import Partner
from understudy.sources.base import Cast
from understudy.testing.models import TINY_SHAPE, tiny_conv, tiny_labels, tiny_lm, tiny_timed
from understudy.testing.scene import Scene, hold, make_scene
from understudy.testing.tokens import LENGTH, token_size

PROGRESS = (0.0, 0.9)  # early and late: a method may change its terms on the way


@dataclass(frozen=True)
class Case:
    """An objective, the number of classes, and the tiny model's layer behind each feature.

    Attributes:
        taps: name of a feature -> layer of `tiny_conv`.
        backend: of `torch.compile`.
    """

    objective: Objective
    classes: int
    taps: Mapping[str, str]
    backend: str = "aot_eager"
    seed: int = 0
    needs: Needs = field(init=False)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        needs = self.objective.needs
        hold(isinstance(needs, Needs), f"`needs` must be an understudy.Needs, found {needs!r}")
        missing = [name for name in needs.features if name not in self.taps]
        hold(
            not missing, f"features without a layer: {missing}; name one of the tiny model's layers in `taps`"
        )
        tiny, probe = tiny_conv(self.classes), torch.zeros(2, *TINY_SHAPE)
        if needs.multi_label:
            tiny = tiny_labels(self.classes)
        if needs.tokens:
            tiny, probe = tiny_lm(self.classes), torch.zeros(2, LENGTH, dtype=torch.int64)
        every = shapes_of(tiny, probe)
        layers = {name: resolve(tiny, self.taps[name], probe) for name in needs.features}
        if needs.stages:
            stages = {n: resolve(tiny, self.taps[n], probe) for n in stages_in(self.taps)}
            layers |= stages or find_stages(tiny, probe, needs.stages)
        object.__setattr__(self, "needs", needs)
        object.__setattr__(self, "shapes", {name: every[layer][1:] for name, layer in layers.items()})

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self.objective).__name__

    def scene(self, progress: float = 0.9, *, rows: int = 6, scale: float = 2.0, shift: int = 0) -> Scene:
        """Random answers; the same ones for the same arguments. In the second half examples have a past."""

        def made(shift: int) -> Scene:
            return make_scene(
                self.needs, self.classes, self.shapes,
                rows=rows, seed=1000 * self.seed + shift, scale=scale, progress=progress,
            )  # fmt: skip

        def tiny_partners(partners: Mapping[str, Partner], seed: int) -> dict[str, nn.Module]:
            _, _, batch = scene.to(torch.float32).arguments()
            cast = Cast(self.tiny_student(), Memo(self.tiny_teacher()))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                built = {name: one.build(batch, cast) for name, one in partners.items()}
            return {name: net.double().eval().requires_grad_(False) for name, net in built.items()}

        scene = made(shift)
        if self.needs.auxiliary:
            student, teacher, _ = scene.to(torch.float32).arguments()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                built = self.objective.build(student, teacher).double().eval().requires_grad_(False)
            scene = replace(scene, auxiliary=built)
        if self.objective.partners:
            scene = replace(scene, partners=tiny_partners(self.objective.partners, self.seed))
        _, teacher, batch = scene.arguments()
        scene = replace(scene, notes=dict(self.objective.rehearse(teacher, batch)))
        if not self.needs.memory or progress < 0.5:
            return scene
        before, _, batch = made(shift + 500).arguments()
        return replace(scene, past=dict(self.objective.remember(before, batch)))

    def tiny_student(self) -> nn.Module:
        """A student with batch norm, as the objective dresses it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.objective.dress(self._tiny_student(), "tiny")[0]

    def _tiny_student(self) -> nn.Module:
        """A student with batch norm; of text a language model; for several labels one with an embedding a label."""
        if self.needs.timed:
            return tiny_timed(self.classes, seed=2)
        if self.needs.multi_label:
            return tiny_labels(self.classes, seed=2)
        return tiny_lm(self.classes, seed=2) if self.needs.tokens else tiny_conv(self.classes, seed=2)

    def tiny_teacher(self) -> nn.Module:
        """A teacher with batch norm; a team of three where the objective reads several heads."""
        if self.needs.tokens:
            sizes = [token_size(self.needs, view, self.classes)[1] for view in self.needs.teacher]
            return tiny_lm(max(sizes, default=self.classes), seed=1)
        if self.needs.heads == ("*",):
            return Team([tiny_conv(self.classes, seed=seed) for seed in (1, 3, 4)])
        if self.needs.timed:
            return tiny_timed(self.classes, seed=1)
        if self.needs.multi_label:
            return tiny_labels(self.classes, seed=1)
        return tiny_conv(self.classes, seed=1)

    def scenes(self, scale: float = 2.0) -> list[Scene]:
        """One scene early and one late in the training."""
        return [self.scene(p, scale=scale, shift=i) for i, p in enumerate(PROGRESS)]

    def zero_when(self, term: str) -> str:
        """The trait of a term."""
        trait = self.objective.zero_when.get(term, "equal")
        known = get_args(ZeroWhen)
        hold(trait in known, f"zero_when[{term!r}] must be one of {known}, found {trait!r}")
        return trait
