"""Claim: what two processes on one machine gain or cost against one, on the same global batches.

python benchmarks/two_processes.py
"""

from __future__ import annotations

import copy
import time

import torch
from common import ratio, save

from understudy.data import load_data
from understudy.methods import make_method
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.training.loop import Task, fit
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings


def main() -> None:
    torch.manual_seed(0)
    data = load_data("digits", "train")
    teacher, student = (zoo.build(ModelConfig(s, data.shape, 10)) for s in ("cnn_large", "cnn[32,64,200]"))
    method = make_method("fd").with_radius(0.1)
    weights: dict[int, dict[str, torch.Tensor]] = {}

    def run(devices: int) -> None:
        settings = TrainingSettings(epochs=4, batch_size=256, device="cpu", devices=devices, threads=1)
        task = Task(copy.deepcopy(student), teacher, method, method.source(0, 1), data, settings, {}, None)
        weights[devices], _ = launch(settings, fit, task)

    found = ratio(lambda: run(2), lambda: run(1), rounds=3, clock=time.perf_counter)
    apart = max(float((weights[1][k] - weights[2][k]).abs().max()) for k in weights[1])
    setting = "fd, teacher cnn_large, student cnn[32,64,200], digits, 4 epochs, batch 256, a thread a process"
    save("two_processes", {"claim": "two processes / one, spawning included", "setting": setting,
                           "largest_weight_difference": apart, **found})  # fmt: skip


if __name__ == "__main__":
    main()
