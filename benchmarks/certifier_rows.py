"""The pairs of `certifier.py`: which, where, how they are attacked, and what was measured of them before."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.data import load_data
from understudy.data.randomness import Randomness
from understudy.fidelity.emplb import GapAttack, Pair, emp_lb

EARLY = 0.1  # seconds after which a bound is looked at, too
QUOTED = (
    "*Quoted* figures were not measured here. They come from one earlier run, one thread, on the same pairs and "
    "points: *peers* is the best, class by class, of auto_LiRPA's bounds (each network's alpha-CROWN on pairwise "
    "margins, and joint graphs); *prototype* a branch and bound in plain floating point, not safe against rounding."
)


@dataclass(frozen=True)
class Row:
    """A line of the table. `peers` and `prototype` are quoted mean gaps, `target` the one to reach."""

    pair: str
    eps: float
    seconds: float
    points: int
    peers: float
    prototype: float | None
    target: float
    early: float | None = None  # to reach within EARLY seconds

    @property
    def name(self) -> str:
        return f"{self.pair}@{self.eps:g}"


ROWS = (
    Row("mlp/adv", 0.01, 5, 8, 0.0007, 0.0004, 0.0002, early=0.001),
    Row("tiny/kd", 0.01, 5, 8, 0.0078, 0.0011, 0.0005),
    Row("mlp/kd", 0.01, 5, 8, 0.0052, 0.0013, 0.0006),
    Row("mlp/adv", 0.03, 10, 8, 0.040, 0.012, 0.006),
    Row("tiny/kd", 0.03, 10, 8, 0.184, 0.015, 0.006),
    Row("mlp/kd", 0.03, 10, 8, 0.359, 0.176, 0.09),
    Row("tiny/kd", 0.05, 10, 8, 0.392, 0.085, 0.04),
    Row("mlp/adv", 0.05, 10, 8, 0.324, 0.219, 0.11),
    Row("cnn/adv", 0.03, 30, 5, 0.0013, None, 0.0005),
    Row("cnn/kd", 0.03, 30, 5, 0.222, None, 0.06),
    Row("mlp/adv", 0.1, 60, 8, 0.76, 0.75, 0.4),
)


@dataclass(frozen=True)
class Setting:
    """How a row is measured: the folder of the pairs and the one of the data, mode, threads, device."""

    pairs: Path
    data: Path
    mode: str
    threads: int
    device: str

    @property
    def at_once(self) -> bool:
        return self.device != "cpu"


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((784, *widths), (*widths, 10), strict=True):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(first: int, second: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, first, 4, 2, 1), nn.ReLU(), nn.Conv2d(first, second, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(49 * second, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


def load_pair(folder: Path, pair: str) -> tuple[nn.Module, nn.Module]:
    """Teacher and student of KIND/HOW: T_KIND.safetensors and S_KIND_HOW.safetensors."""
    kind, how = pair.split("/")
    built = {
        "tiny": lambda: (mlp(40, 40), mlp(20, 20)),
        "mlp": lambda: (mlp(200, 200), mlp(50, 50)),
        "cnn": lambda: (cnn(16, 32, 100), cnn(8, 16, 50)),
    }[kind]()
    for model, name in zip(built, (f"T_{kind}", f"S_{kind}_{how}"), strict=True):
        model.load_state_dict(load_file(folder / f"{name}.safetensors"))
        model.eval().requires_grad_(False)
    return built


def attacked(row: Row, setting: Setting) -> tuple[nn.Module, nn.Module, Tensor, Tensor, Tensor]:
    """Both networks and, per point, the input, EmpLB and its witness, all on the setting's device."""
    teacher, student = (m.to(setting.device) for m in load_pair(setting.pairs, row.pair))
    inputs = load_data("mnist", "test", data_root=setting.data).inputs(slice(0, row.points))
    inputs = inputs.to(setting.device)
    random = Randomness(0)
    random.begin(0)
    ball = Ball(row.eps, "linf", 0.0, 1.0)
    witness, lower = emp_lb(Pair(teacher, student), inputs, ball, GapAttack(), random, None)
    return teacher, student, inputs.double(), lower.double(), witness.double()


def rounded(content: dict[str, Any]) -> dict[str, Any]:
    """Numbers cut to six digits after the point."""
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in content.items()}


def environment() -> dict[str, Any]:
    load = [round(x, 2) for x in os.getloadavg()]
    return {
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "machine": {"cores": os.cpu_count(), "load": load},
    }
