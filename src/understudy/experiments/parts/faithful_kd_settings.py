"""The sizes and settings of the experiment `faithful_kd`: what is trained, where it is measured, what is varied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from understudy.errors import InputError
from understudy.experiments.base import Scale, Setting
from understudy.experiments.parts.tempered_fd import TemperedFD
from understudy.methods.robust.ard import ARD
from understudy.methods.robust.kd import SD
from understudy.methods.robust.rslad import RSLAD
from understudy.training.method import Method

METHODS = ("SD", "ARD", "RSLAD", "FD")


@dataclass(frozen=True, kw_only=True)
class Sizes(Scale):
    """What is trained, where it is measured, and what is varied.

    Attributes:
        data: data set with images.
        examples: how many of its training examples are used; None for all.
        points: the first rows of the test split, of which those that the teacher gets right are bounded.
        teacher, student, other: architectures; `other` is of another family, for teacher and student in turn.
        eps: training radius of the teachers and of every method, and the largest radius of `radii`.
        near: the smaller one of `radii` at which what is proved is read.
        radii: where bounds are measured, besides 0; ascending.
        teacher_epochs, epochs: of the teachers, of the students.
        teacher_lr, lr: Adam's learning rate (cosine to 0) of the teachers, and of the students but where it is varied.
        batch_size: of every training.
        temperature: of SD, ARD and FD (RSLAD has none).
        steps: of the attack in training.
        search: EmpLB's steps, restarts and classes: see `GapAttack`.
        tolerance: bounds that lie so close have met.
        training_radii, temperatures, lrs: what else is tried for FD.
    """

    data: str = "digits"
    examples: int | None = None
    points: int = 100
    teacher: str = "mlp[64,64,64]"
    student: str = "mlp[64,20]"
    other: str = "cnn[4,8,32]"
    eps: float = 0.1
    near: float = 0.05
    radii: tuple[float, ...] = (0.02, 0.05, 0.1)
    teacher_epochs: int = 16
    epochs: int = 10
    teacher_lr: float = 1e-2
    lr: float = 2e-2
    batch_size: int = 128
    temperature: float = 1.0
    steps: int = 5
    search: tuple[int, int, int] = (20, 1, 10)
    tolerance: float = 0.05
    training_radii: tuple[float, ...] = (0.2,)
    temperatures: tuple[float, ...] = (4.0,)
    lrs: tuple[float, ...] = (5e-3, 4e-2)

    def __post_init__(self) -> None:
        if sorted({0.0, *self.radii}) != [0.0, *self.radii] or not self.radii:
            raise InputError(f"radii must be above 0 and ascend, found {list(self.radii)}")
        if self.radii[-1] != self.eps or self.near not in self.radii[:-1]:
            raise InputError(
                f"radii must end with the training radius {self.eps:g} and hold near, {self.near:g}, before it, "
                f"found {list(self.radii)}"
            )


@dataclass(frozen=True)
class Distilled(Setting):
    """A setting and how its student is trained: `teacher` is "robust", "not robust" or "other"."""

    method: str
    teacher: str
    student: str
    eps: float
    temperature: float
    lr: float


def settings_of(scale: Sizes) -> list[Distilled]:
    """FD, the other methods, FD with one thing changed, and SD and FD for other pairs."""
    sort, other = (spec.split("[")[0] for spec in (scale.teacher, scale.other))
    names = {
        "method": "FD",
        "training radius": f"{scale.eps:.3g}",
        "temperature": f"T = {scale.temperature:g}",
        "learning rate": f"{scale.lr:g}",
        "teacher": "robust, FD",
        "architecture": "smaller, FD",
    }
    places = {"method": 3.0, "training radius": scale.eps, "temperature": scale.temperature,
              "learning rate": scale.lr, "teacher": 1.0, "architecture": 1.0}  # fmt: skip
    base = Distilled(
        "FD", names, places, "FD", "robust", scale.student, scale.eps, scale.temperature, scale.lr
    )

    def tried(axis: str, name: str, label: str, place: float, **changed: Any) -> Distilled:
        return replace(base, name=name, axes={axis: label}, places={axis: place}, **changed)

    clean = {"method": "SD", "training radius": "0, which is SD"}
    clean |= {"teacher": "robust, SD", "architecture": "smaller, SD"}
    found = [base, replace(base, name="SD", axes=clean, places=dict.fromkeys(clean, 0.0), method="SD")]
    found += [tried("method", name, name, place, method=name) for place, name in ((1, "ARD"), (2, "RSLAD"))]
    found += [
        tried("training radius", f"FD trained at {e:.3g}", f"{e:.3g}", e, eps=e) for e in scale.training_radii
    ]
    found += [
        tried("temperature", f"FD at T = {t:g}", f"T = {t:g}", t, temperature=t) for t in scale.temperatures
    ]
    found += [tried("learning rate", f"FD at rate {r:g}", f"{r:g}", r, lr=r) for r in scale.lrs]
    pairs: list[tuple[str, str, dict[str, str]]] = [
        ("teacher", "not robust", {"teacher": "not robust"}),
        ("architecture", "same shape", {"student": scale.teacher}),
        ("architecture", f"{sort} to {other}", {"student": scale.other}),
        ("architecture", f"{other} to {sort}", {"teacher": "other"}),
    ]
    for place, (axis, label, changed) in enumerate(pairs, start=1):
        for half, method in enumerate(("SD", "FD")):
            name = f"{label}, {method}"
            found.append(tried(axis, name, name, 2.0 * place + half, method=method, **changed))
    return found


def method_of(setting: Distilled, scale: Sizes) -> Method:
    """The method of a setting, but for its radius, which the request states."""
    methods: dict[str, Method] = {
        "SD": SD(temperature=setting.temperature),
        "ARD": ARD(temperature=setting.temperature, steps=scale.steps),
        "RSLAD": RSLAD(steps=scale.steps),
        "FD": TemperedFD(temperature=setting.temperature, steps=scale.steps),
    }
    return methods[setting.method]
