"""Denoisers in closed form against integrals, DDIM against the exact path, the network that is told the time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import understudy as us
from understudy.data.noise import noise_data, pack, unpack
from understudy.models.diffusion import (
    Guided,
    MixtureDenoiser,
    TimedMLP,
    ddim,
    gaussian_signal,
    kept_share,
    noised,
    rates,
)

QUICK = settings(max_examples=25, deadline=None, derandomize=True)

DOUBLE = torch.float64


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def gaussian(mean: float, variance: float) -> MixtureDenoiser:
    made = MixtureDenoiser([[mean]], [variance])
    made.means, made.variances, made.shares = column(mean)[:, None], column(variance), column(1.0)
    return made


@QUICK
@given(st.floats(-2, 2), st.floats(0.05, 3), st.floats(-3, 3), st.floats(0.01, 0.99))
def test_the_gaussians_denoiser_is_the_closed_form(m: float, v: float, x: float, t: float) -> None:
    a, s = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
    expected = m + v * a / (a * a * v + s * s) * (x - a * m)
    found = gaussian(m, v)(pack(column(x)[:, None], column(t)))
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_mixtures_denoiser_is_the_posterior_mean_by_integration() -> None:
    means, variances, shares = [-1.0, 0.5, 2.0], [0.2, 0.05, 0.4], [0.5, 0.2, 0.3]
    teacher = MixtureDenoiser([[m] for m in means], variances, [5.0, 2.0, 3.0])
    grid = torch.linspace(-8, 8, 200_001, dtype=DOUBLE)
    prior = sum(
        p / math.sqrt(v) * (-0.5 * (grid - m) ** 2 / v).exp()
        for m, v, p in zip(means, variances, shares, strict=True)
    )
    for x, t in ((0.3, 0.2), (-1.4, 0.5), (1.0, 0.9)):
        a, s = (float(rate) for rate in rates(column(t)))
        weight = prior * (-0.5 * ((x - a * grid) / s) ** 2).exp()
        expected = float((weight * grid).sum() / weight.sum())
        found = teacher(pack(torch.tensor([[x]]), torch.tensor([t]))).item()
        assert found == pytest.approx(expected, abs=2e-5)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.floats(-2, 2), st.floats(0.05, 3), st.integers(0, 99))
def test_many_steps_of_ddim_follow_the_exact_path(m: float, v: float, seed: int) -> None:
    """From t = 1 the endpoint is m + sqrt(v) noise, and the error falls with the step."""
    noise = torch.randn(5, 1, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    exact = m + math.sqrt(v) * noise
    errors = [(ddim(gaussian(m, v), noise, steps) - exact).abs().max().item() for steps in (20, 80)]
    assert errors[1] < 0.3 * errors[0] + 1e-12
    assert errors[1] < 0.1 * (1 + abs(v))
    zero = gaussian_signal(noise, torch.zeros(5, dtype=DOUBLE), column(m), v)
    torch.testing.assert_close(zero, exact)


def test_the_exact_path_solves_the_signals_equation() -> None:
    """dy / dt = (f(a y + s e, t) - y) d lambda / dt, by finite differences."""
    teacher, noise, mean = gaussian(2.0, 0.25), column(1.3, -0.4)[:, None], column(2.0)
    for t in (0.1, 0.5, 0.9):
        time = column(t, t)

        def path(at: Tensor, noise: Tensor = noise, mean: Tensor = mean) -> Tensor:
            return gaussian_signal(noise, at, mean, 0.25)

        slope = (path(time + 1e-6) - path(time - 1e-6)) / 2e-6
        said = teacher(pack(noised(path(time), noise, time), time))
        expected = (said - path(time)) * (-math.pi / math.sin(math.pi * t))
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-8)


@QUICK
@given(st.floats(0.01, 0.99), st.floats(0, 1))
def test_a_step_keeps_a_share_between_none_and_all(t: float, part: float) -> None:
    kept = kept_share(column(t), column(part * t)).item()
    assert 0 <= kept <= 1 + 1e-12
    assert kept_share(column(t), column(0.0)).item() == 0
    assert kept_share(column(t), column(t)).item() == pytest.approx(1)
    ratio = kept_share(column(t), column(t / 2)).log()
    a, s = rates(column(t, t / 2))
    half_snr = (a / s).log()
    assert ratio.item() == pytest.approx((half_snr[0] - half_snr[1]).item(), abs=1e-9)


def test_one_step_of_ddim_is_the_teachers_answer_to_noise_and_images_keep_their_shape() -> None:
    noise = torch.randn(3, 1, 2, 2)
    net = TimedMLP(4, (8,))
    with torch.no_grad():
        torch.testing.assert_close(ddim(net, noise, 1), net(pack(noise, torch.ones(3))))
        assert ddim(net, noise, 3, 0.9).shape == (3, 4)


def test_guidance_runs_through_its_two_teachers() -> None:
    packed = noise_data((2,), examples=5).stored
    one, other = MixtureDenoiser([[1.0, 0.0]], [0.5]), MixtureDenoiser([[0.0, 0.0]], [1.0])
    assert torch.equal(Guided(one, other, 0.0)(packed), other(packed))
    torch.testing.assert_close(Guided(one, other, 1.0)(packed), one(packed))
    twice = Guided(one, other, 2.0)(packed) - one(packed)
    torch.testing.assert_close(twice, one(packed) - other(packed))


def test_the_network_is_told_the_time() -> None:
    torch.manual_seed(0)
    net = TimedMLP(2, (8, 8))
    point = torch.randn(4, 2)
    early, late = (net(pack(point, torch.full((4,), t))) for t in (0.1, 0.7))
    assert early.shape == (4, 2)
    assert not torch.allclose(early, late)
    assert unpack(pack(point, torch.zeros(4)))[0].shape == (4, 2)
    assert "waves" not in net.state_dict()


def test_bad_input_is_refused() -> None:
    with pytest.raises(us.InputError, match="means"):
        MixtureDenoiser([[0.0]], [1.0, 2.0])
    with pytest.raises(us.InputError, match="above 0"):
        MixtureDenoiser([[0.0]], [0.0])
    with pytest.raises(us.InputError, match="steps must be 1"):
        ddim(gaussian(0, 1), torch.zeros(1, 1), 0)
    with pytest.raises(us.InputError, match="start"):
        ddim(gaussian(0, 1), torch.zeros(1, 1), 3, 0.0)
    with pytest.raises(us.InputError, match="size and widths"):
        TimedMLP(0)
    with pytest.raises(us.InputError, match="omega"):
        Guided(gaussian(0, 1), gaussian(0, 1), -1.0)
