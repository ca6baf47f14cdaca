"""Divergences against float64, closed forms, hand-worked numbers and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.errors import InputError
from understudy.objectives.divergences import (
    cross_entropy,
    entropy,
    js,
    kl,
    max_gap,
    reverse_kl,
    total_variation,
)

Divergence = Callable[..., Tensor]
ALL = [kl, reverse_kl, js, total_variation, max_gap]
SMOOTH = [kl, reverse_kl, js]
LIMIT = {kl: math.inf, reverse_kl: math.inf, js: math.log(2), total_variation: 1.0, max_gap: 1.0}
seeds = st.integers(0, 2**20)
scales = st.sampled_from([1e-3, 0.1, 1.0, 10.0, 1e3, 1e4])


@pytest.fixture
def plain_types() -> Iterator[None]:
    """What a user sees: annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def logits(seed: int, rows: int = 8, classes: int = 6, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    t, s = scale * torch.randn(2, rows, classes, generator=generator, dtype=torch.float64)
    return t, s


def reference(name: str, t: Tensor, s: Tensor, temperature: float = 1.0, weight: float = 0.5) -> Tensor:
    """Textbook formulas, in float64 and probability space (torch's own kl_div for the logarithmic ones)."""
    p, q = (t.double() / temperature).softmax(1), (s.double() / temperature).softmax(1)
    if name == "js":
        m = weight * p + (1 - weight) * q
        left = F.kl_div(m.log(), p, reduction="none").sum(1)
        return weight * left + (1 - weight) * F.kl_div(m.log(), q, reduction="none").sum(1)
    if name in ("kl", "reverse_kl"):
        p, q = (p, q) if name == "kl" else (q, p)
        return F.kl_div(q.log(), p, reduction="none").sum(1)
    return 0.5 * (p - q).abs().sum(1) if name == "total_variation" else (p - q).abs().max(1).values


@pytest.mark.parametrize("divergence", ALL)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_value_against_textbook(divergence: Divergence, temperature: float) -> None:
    t, s = logits(0, rows=64)
    expected = reference(divergence.__name__, t, s, temperature)
    torch.testing.assert_close(divergence(t, s, temperature), expected, rtol=1e-12, atol=1e-14)
    single = divergence(t.float(), s.float(), temperature)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
def test_js_weight(weight: float) -> None:
    t, s = logits(1, rows=32)
    torch.testing.assert_close(js(t, s, weight=weight), reference("js", t, s, weight=weight))
    torch.testing.assert_close(js(t, s, weight=weight), js(s, t, weight=1 - weight))


def test_worked_numbers() -> None:
    """The catalogue's example: t(x), s(x), t(x'), s(x') of one sample."""
    t = torch.tensor([[2.0, 0.0, -1.0], [1.0, 0.5, -0.5]])
    s = torch.tensor([[1.5, 0.5, -1.0], [0.2, 0.8, -0.3]])
    np.testing.assert_allclose(kl(t, s), [0.066493, 0.141435], atol=1e-6)
    np.testing.assert_allclose(max_gap(t, s), [0.154123, 0.254889], atol=1e-6)
    np.testing.assert_allclose(30**2 * kl(t[:1], s[1:], 30.0), [0.736599], rtol=1e-5)


def test_two_classes_by_hand() -> None:
    t, s = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])  # (3/4, 1/4) and (1/2, 1/2)
    m = 0.5 * (0.75 * math.log(0.75 / 0.625) + 0.25 * math.log(0.25 / 0.375))
    m += 0.5 * (0.5 * math.log(0.5 / 0.625) + 0.5 * math.log(0.5 / 0.375))
    for divergence, value in [
        (kl, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        (reverse_kl, 0.5 * math.log(2 / 3) + 0.5 * math.log(2)),
        (js, m),
        (total_variation, 0.25),
        (max_gap, 0.25),
    ]:
        assert divergence(t, s).item() == pytest.approx(value, rel=1e-6)


@given(seeds, scales, st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]))
@settings(max_examples=10, deadline=None)
def test_zero_at_equality_with_zero_gradient(seed: int, scale: float, dtype: torch.dtype) -> None:
    z = logits(seed, scale=scale)[0].to(dtype)
    for divergence in ALL:
        t, s = z.clone().requires_grad_(), z.clone().requires_grad_()
        value = divergence(t, s)
        assert (value == 0.0).all(), divergence.__name__
        value.sum().backward()
        for gradient in (t.grad, s.grad):
            assert gradient is not None
            if divergence is js:  # weight times rounding of one unit
                assert gradient.abs().max() < 1e-7
            else:
                assert (gradient == 0.0).all(), divergence.__name__


@given(seeds, scales, st.sampled_from([0.0, 1e-6, 1e-4, 1e-2, 1.0]))
@settings(max_examples=15, deadline=None)
def test_never_negative_never_above_its_limit(seed: int, scale: float, step: float) -> None:
    t, noise = logits(seed, scale=scale)
    t, s = t.float(), (t + step * noise).float()
    for divergence in ALL:
        value = divergence(t, s)
        assert ((value >= 0) & (value <= LIMIT[divergence] * (1 + 1e-7))).all(), divergence.__name__
    assert (max_gap(t, s) <= total_variation(t, s) + 1e-6).all()
    assert (total_variation(t, s) <= (0.5 * kl(t, s)).sqrt() + 1e-6).all()  # Pinsker


@pytest.mark.parametrize("divergence", ALL)
def test_rounding_never_crosses_the_limits(divergence: Divergence) -> None:
    """Enough rows that, without care, hundreds come out below 0 and some above the largest value."""
    generator = torch.Generator().manual_seed(0)
    t, noise = torch.randn(2, 100_000, 6, generator=generator, dtype=torch.float64)
    near = divergence((3 * t).float(), (3 * t + 1e-7 * noise).float())
    far = divergence((300 * t).float(), (-3000 * t).float())
    assert (near >= 0).all()
    assert (far <= torch.tensor(LIMIT[divergence])).all()


@given(seeds)
@settings(max_examples=3, deadline=None)
def test_symmetries(seed: int) -> None:
    t, s = logits(seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    for divergence in ALL:
        value = divergence(t, s)
        torch.testing.assert_close(divergence(t + 7.0, s - 3.0), value)  # a constant added to the logits
        torch.testing.assert_close(divergence(t[:, order], s[:, order]), value)
        torch.testing.assert_close(divergence(t[3:5], s[3:5]), value[3:5])
    for divergence in (js, total_variation, max_gap):
        torch.testing.assert_close(divergence(t, s), divergence(s, t))
    torch.testing.assert_close(reverse_kl(t, s), kl(s, t))


@pytest.mark.parametrize("step", [1e-1, 1e-2, 1e-3])
def test_small_divergences_keep_their_digits(step: float) -> None:
    """Float32 near equality, where summing p ln(p / q) is wrong by 40 times at step 1e-3."""
    t, noise = logits(2, rows=64, classes=10)
    t, s = t.float(), (t + step * noise).float()
    exact = reference("kl", t, s)
    assert ((kl(t, s) - exact) / exact).abs().max() < 1e-5 / step


@pytest.mark.parametrize("divergence", [kl, reverse_kl])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradient_is_the_closed_form(divergence: Divergence, temperature: float) -> None:
    t, s = (z.requires_grad_() for z in logits(3))
    weight = torch.linspace(-1, 2, 8, dtype=torch.float64)
    to_t, to_s = torch.autograd.grad((weight * divergence(t, s, temperature)).sum(), (t, s))
    first, second, to_first, to_second = (t, s, to_t, to_s) if divergence is kl else (s, t, to_s, to_t)
    p, q = (first / temperature).softmax(1), (second / temperature).softmax(1)
    scale = weight.unsqueeze(1) / temperature
    torch.testing.assert_close(to_second, scale * (q - p))
    log_ratio = (p / q).log()
    torch.testing.assert_close(to_first, scale * p * (log_ratio - (p * log_ratio).sum(1, keepdim=True)))


@pytest.mark.parametrize("divergence", ALL)
def test_gradient_against_differences(divergence: Divergence) -> None:
    t, s = (z.requires_grad_() for z in logits(4, rows=2, classes=3, scale=1.5))
    assert torch.autograd.gradcheck(lambda a, b: divergence(a, b, 1.7), (t, s))
    assert torch.autograd.gradcheck(lambda b: divergence(t.detach(), b), (s,))
    assert torch.autograd.gradcheck(lambda a: divergence(a, s.detach()), (t,))


@pytest.mark.parametrize("divergence", SMOOTH)
def test_second_derivative_against_differences(divergence: Divergence) -> None:
    t, s = (z.requires_grad_() for z in logits(5, rows=1, classes=3, scale=1.5))
    assert torch.autograd.gradgradcheck(lambda a, b: divergence(a, b, 1.7), (t, s))


def test_second_derivative_of_kl_is_the_fisher_matrix() -> None:
    t, s = logits(6, rows=1)
    hessian = torch.autograd.functional.hessian(lambda z: kl(t, z).sum(), s)[0, :, 0]
    q = s.softmax(1)[0]
    torch.testing.assert_close(hessian, torch.diag(q) - torch.outer(q, q))


@pytest.mark.parametrize("divergence", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confident_models_stay_finite(divergence: Divergence, dtype: torch.dtype) -> None:
    t = torch.tensor(
        [[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, 1e4, 50], [1e4, 1e4, -1e4], [90, -20, 0]], dtype=dtype
    )
    s = torch.tensor(
        [[-1e4, 1e4, 0], [1e4, -1e4, 0], [0.3, 0.1, 0], [-1e4, 1e4, 1e4], [-90, 95, 0]], dtype=dtype
    )
    t.requires_grad_(), s.requires_grad_()
    value = divergence(t, s)
    expected = {
        kl: [2e4, 0, math.log(sum(math.exp(z) for z in (0.3, 0.1, 0))) - 0.1, math.inf, 185],
        js: [math.log(2), 0, None, None, math.log(2)],
        total_variation: [1, 0, None, 0.5, 1],
        max_gap: [1, 0, None, 0.5, 1],
    }
    assert value.isfinite().all()
    for found, right in zip(value.tolist(), expected.get(divergence, [None] * 5), strict=True):
        assert right is None or math.isinf(right) or found == pytest.approx(right, rel=1e-5, abs=1e-7)
    first = torch.autograd.grad(value.sum(), (t, s), create_graph=divergence in SMOOTH)
    assert all(g.isfinite().all() for g in first)
    if divergence is kl:
        torch.testing.assert_close(first[1], s.softmax(1) - t.softmax(1))
    if divergence in SMOOTH:
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (t, s))
        assert all(g.isfinite().all() for g in second)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("divergence", ALL)
def test_half_precision_is_computed_in_float32(divergence: Divergence, dtype: torch.dtype) -> None:
    t, s = (z.to(dtype) for z in logits(7, rows=32, classes=50))
    half = s.clone().requires_grad_()
    value = divergence(t, half, 2.0)
    assert value.dtype == torch.float32
    assert torch.equal(value, divergence(t.float(), s.float(), 2.0))
    value.sum().backward()
    full = s.float().requires_grad_()
    divergence(t.float(), full, 2.0).sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad, full.grad.to(dtype))


def test_mixed_types_take_the_wider() -> None:
    t, s = logits(8)
    narrow = s.float().requires_grad_()
    value = kl(t, narrow)
    assert value.dtype == torch.float64
    value.sum().backward()
    assert narrow.grad is not None
    assert narrow.grad.dtype == torch.float32


# torch 2.13's tracer instantiates autograd.Function itself, which torch deprecates.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.usefixtures("plain_types")
@pytest.mark.parametrize("divergence", [kl, js])
def test_compiled_equals_eager(divergence: Divergence) -> None:
    def gradients(function: Divergence) -> list[Tensor]:
        t, s = (z.float().requires_grad_() for z in logits(9))
        value = function(t, s, 2.0)
        return [value, *torch.autograd.grad(value.sum(), (t, s))]

    compiled = torch.compile(divergence, backend="aot_eager")
    for found, expected in zip(gradients(compiled), gradients(divergence), strict=True):
        torch.testing.assert_close(found, expected)


def test_entropy() -> None:
    t, _ = logits(10)
    p = (t / 2).softmax(1)
    torch.testing.assert_close(entropy(t, 2.0), -(p * p.log()).sum(1))
    torch.testing.assert_close(entropy(torch.zeros(2, 5)), torch.full((2,), math.log(5)))
    sure = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = entropy(sure)
    assert value.item() == 0.0
    assert torch.autograd.grad(value.sum(), sure)[0].isfinite().all()
    assert torch.autograd.gradcheck(entropy, (t.requires_grad_(),))


def test_cross_entropy() -> None:
    t, _ = logits(11)
    labels = torch.tensor([0, 5, 2, 2, 1, 3, 4, 0])
    torch.testing.assert_close(cross_entropy(t, labels), -t.softmax(1)[range(8), labels].log())
    torch.testing.assert_close(cross_entropy(t, labels.int()), cross_entropy(t, labels))
    z = t.clone().requires_grad_()
    cross_entropy(z, labels).sum().backward()
    torch.testing.assert_close(z.grad, t.softmax(1) - F.one_hot(labels, 6))
    wrong = torch.tensor([[1e4, -1e4]], dtype=torch.bfloat16)
    assert cross_entropy(wrong, torch.tensor([1])).item() == pytest.approx(2e4, rel=0.01)


def test_empty_batch_gives_no_values() -> None:
    assert kl(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize("label", [6, -1, -100])
def test_label_out_of_range(label: int) -> None:
    with pytest.raises(InputError, match=r"0\.\.5"):
        cross_entropy(torch.zeros(2, 6), torch.tensor([0, label]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_bad_temperature(temperature: float) -> None:
    for divergence in ALL:
        with pytest.raises(InputError, match="temperature"):
            divergence(torch.zeros(2, 3), torch.zeros(2, 3), temperature)
    with pytest.raises(InputError, match="temperature"):
        entropy(torch.zeros(2, 3), temperature)


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.5, math.nan])
def test_bad_weight(weight: float) -> None:
    with pytest.raises(InputError, match="weight"):
        js(torch.zeros(2, 3), torch.zeros(2, 3), weight=weight)


@pytest.mark.usefixtures("plain_types")
@pytest.mark.parametrize("divergence", ALL)
def test_bad_shapes_and_types(divergence: Divergence) -> None:
    with pytest.raises(InputError, match=r"\(2, 3\) and \(2, 4\)"):
        divergence(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(InputError, match=r"\(2, 3\) and \(1, 3\)"):  # would broadcast
        divergence(torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"\(B, C\)"):
        divergence(torch.zeros(3), torch.zeros(3))
    with pytest.raises(InputError, match="int64"):
        divergence(torch.zeros(2, 3).long(), torch.zeros(2, 3).long())
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1, 2]))
