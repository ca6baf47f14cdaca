"""WAKD: its worked numbers, and an average that does not disturb the path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import understudy as us
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.weights.wakd import WAKD
from understudy.models.outputs import View
from understudy.training.averaging import Average

T = torch.tensor([[2, 0.5, -1], [0.2, 1.5, 0.3], [-0.5, 0, 1.8]], dtype=torch.float64)
S = torch.tensor([[1, 0.8, -0.5], [0.5, 0.4, 0.1], [0.1, -0.3, 0.9]], dtype=torch.float64)


def test_the_worked_numbers() -> None:
    batch = us.Batch({"clean": torch.zeros(3, 1)}, torch.arange(3))
    found = WAKD().terms(us.Outputs({"clean": View(S)}), us.Outputs({"clean": View(T)}), batch)
    assert float(found["soft"].mean()) == pytest.approx(0.200279, abs=1e-6)
    net = nn.Linear(2, 1, bias=False)
    average = Average(net, 0.0)
    for point in ((1.0, 2.0), (3.0, 2.0), (5.0, 8.0)):
        net.weight.data = torch.tensor([point])
        average.note(0.5)
    average.settle([])
    assert net.weight.tolist() == [[3.0, 4.0]]


def test_the_mean_of_many_steps_is_exact_and_no_alias() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    average, seen = Average(net, 0.5), []
    for step in range(200):
        with torch.no_grad():
            net.weight.add_(torch.randn_like(net.weight))
        average.note(step / 200)
        if step >= 100:
            seen.append(net.weight.detach().double().clone())
    assert average.count == 100
    last = net.weight.detach().clone()
    average.settle([])
    assert torch.allclose(net.weight.double(), torch.stack(seen).mean(0), atol=1e-6)
    assert not torch.equal(net.weight, last)


def test_an_average_is_of_outputs_where_the_model_is_linear() -> None:
    torch.manual_seed(0)
    net, x = nn.Linear(3, 2), torch.randn(5, 3)
    average, said = Average(net, 0.0), []
    for _ in range(7):
        with torch.no_grad():
            net.weight.add_(torch.randn_like(net.weight))
        average.note(0.9)
        said.append(net(x).detach())
    average.settle([])
    assert torch.allclose(net(x), torch.stack(said).mean(0), atol=1e-6)


def test_batch_norm_is_measured_anew_for_the_average() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    x = torch.randn(32, 3)
    average = Average(net, 0.0)
    for _ in range(3):
        with torch.no_grad():
            net[0].weight.add_(torch.randn_like(net[0].weight))
        net(torch.randn(8, 3) * 100)
        average.note(0.5)
    average.settle([x])
    inner = net[0](x)
    assert torch.allclose(net[1].running_mean, inner.mean(0), atol=1e-5)
    assert torch.allclose(net[1].running_var, inner.var(0), rtol=1e-4)


def test_the_last_step_alone_is_plain_distillation() -> None:
    teacher = us.train("digits", "mlp[16]", epochs=1, examples=200).student
    settings = {"epochs": 3, "examples": 200, "batch_size": 50, "seed": 1, "device": "cpu"}
    runs = [
        us.distill(teacher, "mlp[8]", "digits", method=method, **settings)
        for method in (WAKD(start=11 / 12), make_method("kd", {"temperature": "5"}), WAKD(start=0.5))
    ]
    states = [run.student.state_dict() for run in runs]
    assert runs[0].curves[-1]["loss"] == runs[1].curves[-1]["loss"] == runs[2].curves[-1]["loss"]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    assert any(not torch.equal(states[1][name], value) for name, value in states[2].items())


def test_what_cannot_be_is_refused() -> None:
    for field, value in (("temperature", "0"), ("start", "1"), ("start", "-.1")):
        with pytest.raises(InputError, match=field):
            make_method("wakd", {field: value})
