"""Claim: the loop's step costs at most 1.05 of a hand-written PyTorch loop of the same method on the same model.

python benchmarks/step_overhead.py
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from common import ratio, save
from torch import Tensor, nn

from understudy.data import DataSet
from understudy.methods import make_method
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.training.loop import Task, fit
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings

EPS, STEPS, BATCH = 0.1, 10, 128
EPOCHS = {"sd": 4, "fd": 1}


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher || student) summed over the batch, as most people would write it."""
    return F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="sum", log_target=True)


def by_hand(student: nn.Module, teacher: nn.Module, data: Tensor, attack: bool, epochs: int) -> None:
    """SD or FD in plain PyTorch: shuffled batches, Adam, no bookkeeping at all."""
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    for _ in range(epochs):
        order = torch.randperm(len(data))
        for start in range(0, len(data), BATCH):
            x = data[order[start : start + BATCH]]
            if attack:
                student.eval()
                point = (x + 0.001 * torch.randn_like(x)).clamp(0, 1)
                low, high = (x - EPS).clamp(0, 1), (x + EPS).clamp(0, 1)
                for _ in range(STEPS):
                    point.requires_grad_(True)
                    (gradient,) = torch.autograd.grad(divergence(teacher(point), student(point)), point)
                    with torch.no_grad():
                        point = torch.minimum(torch.maximum(point + EPS / 4 * gradient.sign(), low), high)
                student.train()
                x = point.detach()
            with torch.no_grad():
                target = teacher(x)
            loss = divergence(target, student(x)) / len(x)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def measure(name: str, spec: str, wide: str, data: DataSet) -> dict[str, object]:
    """Our loop, with all its bookkeeping, against the loop by hand: whole trainings."""
    data = data if name == "sd" else data.take(2048)  # an attacked epoch takes twenty times as long
    teacher, student = (zoo.build(ModelConfig(s, data.shape, 10)) for s in (wide, spec))
    inputs = data.inputs(slice(None))
    method = make_method(name).with_radius(EPS)
    settings = TrainingSettings(epochs=EPOCHS[name], batch_size=BATCH, device="cpu", threads=1)

    def ours() -> None:
        task = Task(copy.deepcopy(student), teacher, method, method.source(0, 1), data, settings, {}, None)
        launch(settings, fit, task)

    return ratio(ours, lambda: by_hand(copy.deepcopy(student), teacher, inputs, name == "fd", EPOCHS[name]))


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(8192, 1, 28, 28, generator=generator)
    data = DataSet("random pixels", "train", pixels, torch.randint(0, 10, (8192,), generator=generator), 10)
    models = (("mlp[200,200]", "mlp[50,50]"), ("cnn[16,32,100]", "cnn[8,16,50]"))
    claims = {}
    for wide, spec in models:
        for name in ("sd", "fd"):
            claims[f"{name} {wide} -> {spec}"] = measure(name, spec, wide, data)
    setting = f"8,192 images 28x28 for 4 epochs (sd) or 2,048 for 1 (fd), batch {BATCH}, one thread"
    save(
        "step_overhead",
        {
            "claim": "ours with all its bookkeeping / hand-written",
            "target": 1.05,
            "setting": setting,
            **claims,
        },
    )


if __name__ == "__main__":
    main()
