"""Sizes and settings of `attention_and_fidelity`, and its teachers: two a setting, trained when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F
from torch import nn

from understudy.data.dataset import DataSet
from understudy.data.tailed import long_tailed
from understudy.errors import InputError
from understudy.experiments.base import Scale, Setting
from understudy.experiments.parts.attention_training import Labelled, Steered, Strength
from understudy.jobs.opening import open_data
from understudy.jobs.training_job import TrainingRequest, run_training
from understudy.numbers import check_number
from understudy.objectives.base import MAP

World = Literal["balanced", "long-tailed"]
Pair = tuple[Strength, Strength]
PAIRS: tuple[Pair, Pair, Pair] = (("weak", "weak"), ("weak", "strong"), ("strong", "strong"))
TEACHERS = (10_007, 20_011)  # added to the seed: no two networks start from the same weights


@dataclass(frozen=True, kw_only=True)
class Sizes(Scale):
    """How large it is.

    Attributes:
        data, side: images, brought to `side` x `side` pixels.
        per_class: training examples of a class where classes are balanced.
        head_class, imbalance: of the first class, and first over last, where they are long-tailed.
        tested: how many test examples.
        teacher, student, transformer: architectures; a transformer learns from transformers like itself.
        teacher_epochs, epochs: of the teachers and the students; transformers take `transformer_epochs`.
        batch_size, lr, transformer_lr: of every training (Adam, cosine to 0).
        temperature, alpha: of the distillation; `z_temperature` where logits are z-scored.
        steering: the weight at which a second teacher's maps are drawn to the first one's, or driven away.
        every_pair: whether weak/strong is asked beyond the balanced classes too.
        pictures: how many test images are shown with their maps.
    """

    data: str = "digits"
    side: int = 12
    per_class: int = 25
    head_class: int = 100
    imbalance: float = 100.0
    tested: int = 450
    teacher: str = "resnet8[8]"
    student: str = "resnet8[4]"
    transformer: str = "vit[3,48,1,4]"
    teacher_epochs: int = 7
    epochs: int = 8
    transformer_epochs: int = 14
    batch_size: int = 16
    lr: float = 1e-2
    transformer_lr: float = 5e-3
    temperature: float = 3.0
    z_temperature: float = 2.0
    alpha: float = 0.6
    steering: float = 1.0
    every_pair: bool = False
    pictures: int = 4

    def __post_init__(self) -> None:
        check_number("the steering", self.steering, 0.0, above=True)


@dataclass(frozen=True)
class Taught(Setting):
    """A setting: which teachers, and how the student learns from them."""

    pair: Pair
    world: World = "balanced"
    view: Strength = "weak"
    z_scored: bool = False
    steered: float = 0.0
    transformer: bool = False


@dataclass(eq=False)
class Ready:
    """What the settings of a seed share. Teachers are trained when they are first asked for."""

    scale: Sizes
    seed: int
    worlds: Mapping[str, DataSet]
    test: DataSet
    where: Mapping[str, Any]
    known: dict[Any, nn.Module] = field(default_factory=dict)

    @classmethod
    def open(cls, scale: Sizes, seed: int, data_root: str | Path | None, device: str) -> Ready:
        """The data, balanced and long-tailed, both drawn from the seed; no teacher yet."""
        train, test = (
            sized(open_data(scale.data, split, data_root=data_root, valid_range=None), scale.side)
            for split in ("train", "test")
        )
        worlds = {
            "balanced": long_tailed(train, 1.0, scale.per_class, seed),
            "long-tailed": long_tailed(train, scale.imbalance, scale.head_class, seed),
        }
        where = {"data_root": data_root, "device": device}
        return cls(scale, seed, worlds, test.take(scale.tested), where)

    def teachers(self, setting: Taught) -> list[nn.Module]:
        """Both teachers of a setting."""
        return [self._teacher(setting, 0, 0.0), self._teacher(setting, 1, setting.steered)]

    def _teacher(self, setting: Taught, which: int, steered: float) -> nn.Module:
        name = setting.world, setting.transformer, which, setting.pair[which], steered
        if name not in self.known:
            request = replace(
                self.request(setting, "train", self.scale.teacher, self.scale.teacher_epochs),
                method=Labelled(shown=setting.pair[which]),
                seed=self.seed + TEACHERS[which],
            )
            if steered:
                method = Steered(shown=setting.pair[which], weight=steered)
                request = replace(
                    request, command="distill", method=method, teacher=self._teacher(setting, 0, 0.0)
                )
            taps = {MAP: ("layer3", "layer3")} if steered else None
            self.known[name] = run_training(request, taps=taps, **self.where).student
        return self.known[name]

    def request(self, setting: Taught, command: str, model: str, epochs: int) -> TrainingRequest:
        """A training in a setting, of a transformer if it is of those."""
        scale, vit = self.scale, setting.transformer
        return TrainingRequest(
            command=command,
            data=self.worlds[setting.world],
            model=scale.transformer if vit else model,
            epochs=scale.transformer_epochs if vit else epochs,
            lr=scale.transformer_lr if vit else scale.lr,
            batch_size=scale.batch_size,
            seed=self.seed,
        )


def sized(data: DataSet, side: int) -> DataSet:
    """Images (N, C, H, W) brought to side x side by means over the places that a new one covers."""
    if len(data.shape) != 3:
        raise InputError(f"attention is looked for in images, {data.name!r} has inputs of shape {data.shape}")
    return replace(data, stored=F.adaptive_avg_pool2d(data.stored.float(), side))
