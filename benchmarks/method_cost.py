"""Claim: what each robust method costs as a multiple of plain training, and where the time goes.

python benchmarks/method_cost.py
"""

from __future__ import annotations

import copy
import cProfile
import pstats
import statistics
import time

import torch
from common import RESULTS, save

from understudy.data import load_data
from understudy.methods import CATALOGUE, make_method
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.training.loop import Task, fit
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings


def main() -> None:
    torch.set_num_threads(1)
    data = load_data("digits", "train")
    teacher, student = (zoo.build(ModelConfig(s, data.shape, 10)) for s in ("cnn[16,32,100]", "cnn[8,16,50]"))
    settings = TrainingSettings(epochs=2, device="cpu", threads=1)

    def run(name: str) -> float:
        method = make_method(name).with_radius(0.1)
        task = Task(copy.deepcopy(student), teacher, method, method.source(0, 1), data, settings, {}, None)
        began = time.process_time()
        launch(settings, fit, task)
        return time.process_time() - began

    rounds: dict[str, list[float]] = {name: [] for name in CATALOGUE}
    for number in range(6):
        for name in CATALOGUE:
            seconds = run(name)
            if number:
                rounds[name].append(seconds)
    plain = rounds["ce"]
    cost = {
        name: round(statistics.median(a / b for a, b in zip(seconds, plain, strict=True)), 2)
        for name, seconds in rounds.items()
    }
    profile = cProfile.Profile()
    profile.runcall(run, "faithful_kd")
    with open(RESULTS / "method_cost_profile.txt", "w", encoding="utf-8") as out:
        stats = pstats.Stats(profile, stream=out)
        stats.strip_dirs().sort_stats("tottime").print_stats(25)
    setting = "teacher cnn[16,32,100], student cnn[8,16,50], digits, batch 128, 10 attack steps, one thread"
    save("method_cost", {"claim": "multiple of plain training (ce)", "setting": setting, "multiple": cost})


if __name__ == "__main__":
    main()
