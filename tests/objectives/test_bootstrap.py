"""One step of a diffusion's path: worked numbers by hand, and how the two steps agree."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import understudy as us
from understudy.data.noise import pack
from understudy.models.diffusion import MixtureDenoiser, gaussian_signal, kept_share, noised
from understudy.objectives.bootstrap import bootstrap_target, squared_error

QUICK = settings(max_examples=25, deadline=None, derandomize=True)

DOUBLE = torch.float64


def by_hand(start: float, stop: float, steps: int) -> float:
    """DDIM for N(2, 1/4) from the noise 1, in Python floats: nothing of the library in it."""

    def f(x: float, t: float) -> float:
        a, s = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
        return 2 + 0.25 * a / (0.25 * a * a + s * s) * (x - 2 * a)

    y = f(1.0, start)
    for i in range(steps):
        t, r = (start + (stop - start) * j / steps for j in (i, i + 1))
        w = math.tan(math.pi * r / 2) / math.tan(math.pi * t / 2)
        y = w * y + (1 - w) * f(math.cos(math.pi * t / 2) * y + math.sin(math.pi * t / 2), t)
    return y


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def test_the_worked_numbers() -> None:
    """Data N(2, 1/4), noise 1, from t = 0.5 to s = 0.46."""
    teacher = MixtureDenoiser([[2.0]], [0.25]).double()
    noise, t, s = column(1.0)[:, None], column(0.5), column(0.46)
    y = gaussian_signal(noise, t, column(2.0), 0.25)
    x = noised(y, noise, t)
    f = teacher(pack(x, t))
    found = [
        y, x, f, kept_share(t, s), bootstrap_target(y, f, t, s), bootstrap_target(y, f, t, s, "euler"),
        gaussian_signal(noise, s, column(2.0), 0.25),
    ]  # fmt: skip
    wanted = [2.118034, 2.204783, 2.223607, 0.881619, 2.130532, 2.131301, 2.131915]
    assert [value.item() for value in found] == pytest.approx(wanted, abs=5e-7)
    assert math.log(math.tan(math.pi / 4) / math.tan(0.23 * math.pi)) == pytest.approx(0.125996, abs=5e-7)


def test_two_thousand_steps_end_where_they_should() -> None:
    """Its 2.499458 belongs to a path that ends at t = 1e-4; at t = 0 it is 2.499615. The exact end is 2.5."""
    assert by_hand(1.0, 1e-4, 2000) == pytest.approx(2.499458, abs=5e-7)
    assert by_hand(1.0, 0.0, 2000) == pytest.approx(2.499615, abs=5e-7)
    assert by_hand(0.99, 0.0, 50) == pytest.approx(2.5, abs=0.02)


@QUICK
@given(st.floats(0.05, 0.95), st.floats(-2, 2), st.floats(-2, 2))
def test_the_two_steps_agree_to_the_second_order(t: float, y: float, f: float) -> None:
    signal, said, time = column(y)[:, None], column(f)[:, None], column(t)

    def apart(delta: float) -> float:
        one, other = (bootstrap_target(signal, said, time, time - delta, step) for step in ("ddim", "euler"))
        return abs((one - other).item())

    bound = abs(f - y) * (math.pi / math.sin(math.pi * t)) ** 2
    assert apart(1e-3) <= 2 * bound * 1e-6 + 1e-12
    assert apart(1e-4) <= 2 * bound * 1e-8 + 1e-12


@QUICK
@given(st.floats(0.05, 0.99), st.floats(-2, 2), st.floats(-2, 2))
def test_the_last_step_ends_at_the_teachers_answer_and_no_step_moves_nothing(
    t: float, y: float, f: float
) -> None:
    signal, said, time = column(y)[:, None], column(f)[:, None], column(t)
    torch.testing.assert_close(bootstrap_target(signal, said, time, column(0.0)), said)
    torch.testing.assert_close(bootstrap_target(signal, said, time, time), signal)
    torch.testing.assert_close(bootstrap_target(said, said, time, time / 2), said)
    between = bootstrap_target(signal, said, time, time / 2).item()
    assert min(y, f) - 1e-9 <= between <= max(y, f) + 1e-9


def test_the_error_is_a_mean_over_the_coordinates() -> None:
    found = squared_error(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    assert found.tolist() == [2.5, 0.0]
    with pytest.raises(us.InputError, match=r"found \(2, 3\) and \(2, 2\)"):
        squared_error(torch.zeros(2, 2), torch.zeros(2, 3))
