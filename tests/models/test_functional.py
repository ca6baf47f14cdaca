"""A module at other weights: the same answers, the gradient through a step, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from understudy.models.functional import learning, one_step, said_at
from understudy.testing import tiny_conv


def scalar(second_order: bool, rate: float) -> tuple[float, float, float]:
    """(theta', L_ret there, its gradient) of (theta - 1)^2 / 2 and (theta - 3)^2 / 2 from 0."""
    theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    acquire = 0.5 * (theta - 1) ** 2
    ahead = one_step(acquire, {"theta": theta}, rate, second_order=second_order)["theta"]
    retain = 0.5 * (ahead - 3) ** 2
    gradient = torch.autograd.grad(acquire + retain, theta)[0]
    return ahead.item(), retain.item(), gradient.item()


def test_the_worked_numbers_of_a_step_ahead() -> None:
    assert scalar(True, 0.1) == pytest.approx((0.1, 4.205, -3.61), abs=6e-7)
    assert scalar(False, 0.1) == pytest.approx((0.1, 4.205, -3.9), abs=6e-7)
    assert scalar(True, 0.0) == pytest.approx((0.0, 4.5, -4.0), abs=6e-7)


def test_a_linear_loss_has_no_second_order() -> None:
    theta = torch.tensor([0.3, -1.0], requires_grad=True)
    found = []
    for second_order in (True, False):
        ahead = one_step(
            (theta * torch.tensor([2.0, 5.0])).sum(), {"theta": theta}, 0.3, second_order=second_order
        )
        found.append(torch.autograd.grad((ahead["theta"] ** 3).sum(), theta)[0])
    torch.testing.assert_close(found[0], found[1])


def test_the_slope_at_a_step_of_no_length_is_minus_the_product_of_the_gradients() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    new, old = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    at = learning(net)
    acquire, retain = net(new).square().mean(), net(old).pow(3).mean()
    products = [
        (a * b).sum()
        for a, b in zip(
            torch.autograd.grad(acquire, list(at.values()), retain_graph=True),
            torch.autograd.grad(retain, list(at.values())),
            strict=True,
        )
    ]

    def value(rate: float) -> Tensor:
        return said_at(net, one_step(acquire, at, rate), old).pow(3).mean()

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    torch.testing.assert_close(slope, -torch.stack(products).sum(), rtol=1e-6, atol=1e-9)


def test_at_its_own_weights_it_says_what_it_says_and_stays_as_it_is() -> None:
    net = tiny_conv(seed=1).train()
    inputs = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    said = said_at(net, learning(net), inputs)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    torch.testing.assert_close(said, net(inputs))
    assert not torch.equal(net.state_dict()["norm.running_mean"], before["norm.running_mean"])


def test_frozen_parameters_keep_their_values_and_shared_ones_move_together() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight
            self.second.bias.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    net, x = Tied(), torch.eye(3)
    at = learning(net)
    assert set(at) == {"first.weight", "first.bias"}
    moved = one_step(net(x).sum(), at, 0.1)
    found = said_at(net, moved, x)
    expected = (x @ moved["first.weight"].T + moved["first.bias"]) @ moved["first.weight"].T + net.second.bias
    torch.testing.assert_close(found, expected)
