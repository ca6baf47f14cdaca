"""The divergence family against scipy and torch.distributions, its own limits, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from understudy.errors import InputError
from understudy.objectives.divergences import js, kl, reverse_kl, total_variation
from understudy.objectives.divergences_family import divergence, mean_divergence

INF = math.inf
# (kind, weight, the most it can be)
FAMILY = [
    ("forward_kl", None, INF),
    ("reverse_kl", None, INF),
    ("jsd", 0.1, 0.325083),
    ("jsd", 0.5, math.log(2)),
    ("jsd", 0.9, 0.325083),
    ("skew_forward_kl", 0.1, math.log(10)),
    ("skew_reverse_kl", 0.1, math.log(10)),
    ("skew_forward_kl", 0.7, -math.log(0.7)),
    ("total_variation", None, 1.0),
]
SMOOTH = FAMILY[:-1]
each = pytest.mark.parametrize(("kind", "weight", "most"), FAMILY)
each_smooth = pytest.mark.parametrize(("kind", "weight", "most"), SMOOTH)
seeds = st.integers(0, 2**20)


@pytest.fixture
def plain_types() -> Iterator[None]:
    """What a user sees: annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def logits(seed: int, *shape: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    t, s = scale * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return t, s


def reference(kind: str, weight: float | None, t: Tensor, s: Tensor, temperature: float = 1.0) -> Tensor:
    """scipy's relative entropy on float64 probabilities."""
    p, q = ((z.detach().double() / temperature).softmax(-1).numpy() for z in (t, s))
    w = 0.0 if weight is None else weight
    m = w * p + (1 - w) * q
    if kind == "jsd":
        value = w * rel_entr(p, m).sum(-1) + (1 - w) * rel_entr(q, m).sum(-1)
    elif kind == "total_variation":
        value = 0.5 * np.abs(p - q).sum(-1)
    elif kind.endswith("forward_kl"):
        value = rel_entr(p, m).sum(-1)
    else:
        value = rel_entr(q, (1 - w) * p + w * q).sum(-1)
    return torch.from_numpy(value)


@each
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_value_against_scipy(kind: str, weight: float | None, most: float, temperature: float) -> None:
    t, s = logits(0, 4, 16, 12)
    expected = reference(kind, weight, t, s, temperature)
    found = divergence(t, s, kind, weight, temperature=temperature)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-15)
    single = divergence(t.float(), s.float(), kind, weight, temperature=temperature)
    assert single.dtype == torch.float32
    atol = 2e-7 if kind == "total_variation" else 1e-8  # of first order in the rounding of p, not of second
    torch.testing.assert_close(single.double(), expected, rtol=3e-6, atol=atol)


def test_kl_against_torch_distributions() -> None:
    t, s = logits(1, 32, 9)
    p, q = Categorical(logits=t), Categorical(logits=s)
    torch.testing.assert_close(divergence(t, s), kl_divergence(p, q))
    torch.testing.assert_close(divergence(t, s, "reverse_kl"), kl_divergence(q, p))


def test_agrees_with_the_functions_of_rows() -> None:
    t, s = (z.float() for z in logits(2, 32, 9))
    for kind, weight, plain in [
        ("forward_kl", None, kl(t, s, 2.0)),
        ("reverse_kl", None, reverse_kl(t, s, 2.0)),
        ("jsd", 0.3, js(t, s, 2.0, 0.3)),
        ("total_variation", None, total_variation(t, s, 2.0)),
    ]:
        torch.testing.assert_close(divergence(t, s, kind, weight, temperature=2.0), plain)


def test_worked_numbers() -> None:
    """p = (0.665241, 0.244728, 0.090031), q = (0.307196, 0.506480, 0.186324), worked by hand."""
    t, s = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, 1.5, 0.5])
    for kind, weight, value in [
        ("forward_kl", None, 0.270525),
        ("reverse_kl", None, 0.266542),
        ("jsd", 0.1, 0.024101),
        ("jsd", 0.5, 0.065599),
        ("jsd", 0.9, 0.023823),
        ("skew_forward_kl", 0.1, 0.214949),
        ("skew_reverse_kl", 0.1, 0.213139),
        ("total_variation", None, 0.358045),
    ]:
        assert divergence(t, s, kind, weight).item() == pytest.approx(value, abs=1e-6), (kind, weight)


@given(
    seeds,
    st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
@settings(max_examples=12, deadline=None)
def test_zero_at_equality_with_zero_gradient(seed: int, scale: float, dtype: torch.dtype) -> None:
    z = logits(seed, 6, 50, scale=scale)[0].to(dtype)
    for kind, weight, _ in FAMILY:
        t, s = z.clone().requires_grad_(), z.clone().requires_grad_()
        value = divergence(t, s, kind, weight, temperature=1.5)
        assert (value == 0.0).all(), (kind, weight)
        for gradient in torch.autograd.grad(value.sum(), (t, s)):
            assert (gradient == 0.0).all(), (kind, weight)


@each
def test_never_negative_never_above_the_most(kind: str, weight: float | None, most: float) -> None:
    """Enough rows that rounding, were it let through, would put hundreds below 0."""
    t, noise = logits(3, 50_000, 6)
    near = divergence(t.float(), (t + 1e-7 * noise).float(), kind, weight)
    far = divergence((300 * t).float(), (-3000 * t).float(), kind, weight)
    assert (near >= 0).all()
    assert (near < 1e-9).all() or kind == "total_variation"
    assert (far <= most + 1e-6).all()
    assert far.max() > 0.9 * min(most, 1e3)


@each_smooth
@pytest.mark.parametrize("step", [1e-1, 1e-2, 1e-3])
def test_small_divergences_keep_their_digits(
    kind: str, weight: float | None, most: float, step: float
) -> None:
    t, noise = logits(4, 64, 10)
    t, s = t.float(), (t + step * noise).float()
    exact = divergence(t.double(), s.double(), kind, weight)
    assert ((divergence(t, s, kind, weight) - exact) / exact).abs().max() < 1e-5 / step


@given(seeds)
@settings(max_examples=4, deadline=None)
def test_symmetries(seed: int) -> None:
    t, s = logits(seed, 5, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    for kind, weight, _ in FAMILY:
        value = divergence(t, s, kind, weight)
        torch.testing.assert_close(divergence(t[:, order], s[:, order], kind, weight), value)
        torch.testing.assert_close(divergence(t + 7.0, s - 3.0, kind, weight), value)
        torch.testing.assert_close(divergence(t[2], s[2], kind, weight), value[2])
    torch.testing.assert_close(divergence(t, s, "jsd", 0.2), divergence(s, t, "jsd", 0.8))
    torch.testing.assert_close(
        divergence(t, s, "skew_forward_kl", 0.2), divergence(s, t, "skew_reverse_kl", 0.2)
    )
    half = divergence(t, s, "skew_forward_kl", 0.5) + divergence(t, s, "skew_reverse_kl", 0.5)
    torch.testing.assert_close(half, 2 * divergence(t, s, "jsd", 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_limits(dtype: torch.dtype) -> None:
    """jsd / w and jsd / (1 - w) go to the KLs, which are what weights 0 and 1 mean; skew goes to KL and to 0."""
    t, s = (z.to(dtype) for z in logits(5, 64, 10, scale=0.7))
    forward, reverse = divergence(t, s), divergence(t, s, "reverse_kl")
    close = {"rtol": 2e-3, "atol": 1e-6}
    torch.testing.assert_close(divergence(t, s, "jsd", 1e-4) / 1e-4, forward, **close)
    torch.testing.assert_close(divergence(t, s, "jsd", 1 - 1e-4) / 1e-4, reverse, **close)
    torch.testing.assert_close(divergence(t, s, "skew_forward_kl", 1e-5), forward, **close)
    torch.testing.assert_close(divergence(t, s, "skew_reverse_kl", 1e-5), reverse, **close)
    assert torch.equal(divergence(t, s, "jsd", 0.0), forward)
    assert torch.equal(divergence(t, s, "jsd", 1.0), reverse)
    assert torch.equal(divergence(t, s, "skew_forward_kl", 0.0), forward)
    assert (divergence(t, s, "skew_reverse_kl", 1.0) == 0).all()


@each
def test_gradient_against_differences(kind: str, weight: float | None, most: float) -> None:
    t, s = (z.requires_grad_() for z in logits(6, 2, 2, 3, scale=1.5))
    assert torch.autograd.gradcheck(lambda a, b: divergence(a, b, kind, weight, temperature=1.7), (t, s))
    assert torch.autograd.gradcheck(lambda a: divergence(a, s.detach(), kind, weight), (t,))


@each_smooth
def test_second_derivative_against_differences(kind: str, weight: float | None, most: float) -> None:
    t, s = (z.requires_grad_() for z in logits(7, 1, 3, scale=1.5))
    assert torch.autograd.gradgradcheck(lambda a, b: divergence(a, b, kind, weight), (t, s))


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits(kind: str, weight: float | None, most: float, dtype: torch.dtype) -> None:
    """Sure models, in agreement and not: exact values, finite gradients."""
    t = torch.tensor([[1e4, -1e4, 0], [1e4, -1e4, 0], [90, -20, 0]], dtype=dtype, requires_grad=True)
    s = torch.tensor([[-1e4, 1e4, 0], [1e4, -1e4, 0], [-90, 95, 0]], dtype=dtype, requires_grad=True)
    value = divergence(t, s, kind, weight)
    limit = torch.tensor([2e4, 0, 185 if kind == "forward_kl" else 110] if most == INF else [most, 0, most])
    torch.testing.assert_close(value.detach(), limit.to(dtype), rtol=1e-5, atol=0)
    for gradient in torch.autograd.grad(value.sum(), (t, s)):
        assert gradient.isfinite().all()


@each
def test_classes_that_neither_side_can_give_change_nothing(
    kind: str, weight: float | None, most: float
) -> None:
    t, s = logits(8, 6, 10)
    bare = [z[:, :7].clone().requires_grad_() for z in (t, s)]
    expected = divergence(*bare, kind, weight)
    slopes = torch.autograd.grad(expected.sum(), bare)
    hole = torch.tensor([True] * 7 + [False] * 3)
    for name, option in [("inf", {}), ("classes", {"classes": 7}), ("valid", {"valid": hole})]:
        whole = [z.clone() for z in (t, s)]
        for z in whole:
            if name == "inf":
                z[:, 7:] = -INF
            z.requires_grad_()
        value = divergence(*whole, kind, weight, **option)
        torch.testing.assert_close(value, expected)
        for found, right in zip(torch.autograd.grad(value.sum(), whole), slopes, strict=True):
            torch.testing.assert_close(found[:, :7], right)
            assert (found[:, 7:] == 0).all()


@each
def test_vocabularies_padded_to_different_widths(kind: str, weight: float | None, most: float) -> None:
    """What fills the padding, in either model, is never looked at; identical models are at distance 0."""
    z = logits(9, 6, 7)[0].float()
    junk = torch.cat((z, torch.full((6, 5), math.nan)), 1)
    assert (divergence(junk, z, kind, weight, classes=7) == 0).all()
    assert (divergence(z, junk, kind, weight, classes=7) == 0).all()


def test_classes_of_one_side_only() -> None:
    """p = (1/2, 1/2, 0), q = (1/2, 0, 1/2), by hand; bounded kinds have gradients, KL is infinite."""
    t = torch.tensor([0.0, 0.0, -INF], requires_grad=True)
    s = torch.tensor([0.0, -INF, 0.0], requires_grad=True)
    skew = 0.5 * math.log(0.5 / (0.1 * 0.5 + 0.9 * 0.5)) + 0.5 * math.log(0.5 / (0.1 * 0.5))
    for kind, weight, value in [
        ("jsd", 0.5, 0.5 * math.log(2)),
        ("skew_forward_kl", 0.1, skew),
        ("skew_reverse_kl", 0.1, skew),
        ("total_variation", None, 0.5),
    ]:
        found = divergence(t, s, kind, weight)
        assert found.item() == pytest.approx(value, rel=1e-6), kind
        assert all(g.isfinite().all() for g in torch.autograd.grad(found, (t, s))), kind
    infinite = divergence(t, s)
    assert infinite.item() == INF
    torch.testing.assert_close(torch.autograd.grad(infinite, s)[0], s.softmax(0) - t.softmax(0))
    assert divergence(t, s, "reverse_kl").item() == INF
    assert divergence(t, torch.zeros(3)).item() == pytest.approx(math.log(1.5), rel=1e-6)
    assert divergence(torch.tensor([0.0, -300.0]), torch.tensor([0.0, -INF])).item() == 0.0  # exp(-300) is 0


def test_not_a_number_is_not_hidden() -> None:
    t, s = torch.zeros(2, 4), torch.zeros(2, 4)
    s[0, 1] = math.nan
    for kind, weight, _ in FAMILY:
        assert divergence(t, s, kind, weight).isnan().tolist() == [True, False], kind
        assert divergence(s, t, kind, weight).isnan().tolist() == [True, False], kind


@each
def test_half_precision_is_computed_in_float32(kind: str, weight: float | None, most: float) -> None:
    """The value is that of the rounded logits in float32; the gradient is off by its own rounding alone."""
    t, s = (z.bfloat16() for z in logits(10, 32, 200))
    s = (t + 0.1 * s).requires_grad_()
    value = divergence(t, s, kind, weight)
    assert torch.equal(value, divergence(t.float(), s.float(), kind, weight))
    (found,) = torch.autograd.grad(value.sum(), s)
    assert found.dtype == torch.bfloat16
    double = s.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad(divergence(t.double(), double, kind, weight).sum(), double)
    assert (found.double() - exact).norm() / exact.norm() < 0.003


def test_mixed_types_take_the_wider() -> None:
    t, s = logits(11, 4, 5)
    narrow = s.float().requires_grad_()
    value = divergence(t, narrow, "jsd", 0.5)
    assert value.dtype == torch.float64
    assert torch.autograd.grad(value.sum(), narrow)[0].dtype == torch.float32


def test_mean_over_a_global_count() -> None:
    """Two parts of a batch add up to the mean over all of it, and masked rows are not looked at."""
    t, s = logits(12, 6, 4, 9)
    mask = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) < 0.6
    count = int(mask.sum())
    whole = mean_divergence(t, s, "jsd", 0.5, mask=mask, denominator=count)
    torch.testing.assert_close(whole, divergence(t, s, "jsd", 0.5)[mask].mean())
    parts = [
        mean_divergence(t[i : i + 2], s[i : i + 2], "jsd", 0.5, mask=mask[i : i + 2], denominator=count)
        for i in (0, 2, 4)
    ]
    torch.testing.assert_close(sum(parts), whole)
    t[~mask], s[~mask] = math.nan, -INF
    s.requires_grad_()
    value = mean_divergence(t, s, "jsd", 0.5, mask=mask, denominator=count)
    torch.testing.assert_close(value, whole)
    (gradient,) = torch.autograd.grad(value, s)
    assert gradient.isfinite().all()
    assert (gradient[~mask] == 0).all()
    empty = mean_divergence(t, s, mask=torch.zeros_like(mask), denominator=1)
    assert empty.item() == 0.0
    assert (torch.autograd.grad(empty, s)[0] == 0).all()


# torch 2.13's tracer instantiates autograd.Function itself, which torch deprecates.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.usefixtures("plain_types")
def test_compiled_equals_eager() -> None:
    compiled = torch.compile(divergence, backend="aot_eager")
    t, s = (z.float().requires_grad_() for z in logits(13, 4, 6))
    results = []
    for function in (compiled, divergence):
        value = function(t, s, "skew_forward_kl", 0.1)
        results.append([value, *torch.autograd.grad(value.sum(), (t, s))])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("plain_types")
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("forward_lk",), {}, "did you mean forward_kl"),
        (("forward_kl", 0.5), {}, "takes no weight"),
        (("jsd",), {}, "GKD's beta"),
        (("skew_reverse_kl",), {}, "DistiLLM's alpha"),
        (("jsd", 1.5), {}, r"from 0 to 1, found 1\.5"),
        (("jsd", math.nan), {}, "found nan"),
        ((), {"temperature": 0.0}, "temperature"),
        ((), {"classes": 0}, "classes must be from 1 to 5"),
        ((), {"classes": 6}, "classes must be from 1 to 5"),
        ((), {"valid": torch.zeros(5).bool()}, "at least one of 5 classes"),
        ((), {"valid": torch.ones(4).bool()}, r"shape \(4,\)"),
    ],
)
def test_bad_options(arguments: tuple[object, ...], options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        divergence(torch.zeros(2, 5), torch.zeros(2, 5), *arguments, **options)


@pytest.mark.usefixtures("plain_types")
def test_bad_shapes_and_types() -> None:
    z = torch.zeros(2, 5)
    for t, s, message in [
        (z, torch.zeros(2, 6), r"need classes=, at most 5, found teacher \(2, 5\) and student \(2, 6\)"),
        (z, torch.zeros(3, 5), "equal rows"),
        (z, torch.zeros(1, 5), "equal rows"),  # would broadcast
        (torch.tensor(0.0), torch.tensor(0.0), r"shapes \(\.\.\., C\)"),
        (z, z.long(), "student logits must be floats, found torch.int64"),
    ]:
        with pytest.raises(InputError, match=message):
            divergence(t, s)
    with pytest.raises(InputError, match=r"boolean of shape \(2,\)"):
        mean_divergence(z, z, denominator=1, mask=torch.ones(2))
    with pytest.raises(InputError, match=r"boolean of shape \(2,\)"):
        mean_divergence(z, z, denominator=1, mask=torch.ones(2, 5).bool())
    with pytest.raises(InputError, match="denominator"):
        mean_divergence(z, z, denominator=0)
