"""CKA against its definitions, its invariances, and what chance gives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from understudy.errors import InputError
from understudy.fidelity.representation import cka, cka_by_chance, hsic_1, permuted_cka, unbiased_cka


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of unlike widths that share two directions."""
    shared = drawn(n, 2, seed=seed)
    x = shared @ drawn(2, 6, seed=seed + 1) + 0.5 * drawn(n, 6, seed=seed + 2) + 3
    y = shared @ drawn(2, 9, seed=seed + 3) + 0.5 * drawn(n, 9, seed=seed + 4)
    return x, y


def defined(x: np.ndarray, y: np.ndarray) -> float:
    """CKA with the centring matrix written out."""
    n = len(x)
    h = np.eye(n) - 1 / n
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    return np.trace(k @ m) / math.sqrt(np.trace(k @ k) * np.trace(m @ m))


def hsic_over_tuples(k: np.ndarray, m: np.ndarray) -> float:
    """The U-statistic itself: three means over all tuples of unlike indices."""
    n = range(len(k))
    pairs = np.mean([k[i, j] * m[i, j] for i, j in itertools.permutations(n, 2)])
    fours = np.mean([k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(n, 4)])
    threes = np.mean([k[i, j] * m[i, q] for i, j, q in itertools.permutations(n, 3)])
    return float(pairs + fours - 2 * threes)


@pytest.mark.parametrize("widths", [(3, 4), (50, 70), (3, 200)])  # by the axes, by the examples, mixed
def test_the_exact_form_is_its_definition(widths: tuple[int, int]) -> None:
    x, y = drawn(12, widths[0]) + 2, drawn(12, widths[1], seed=1)
    y[:, :3] += x[:, :3]
    assert cka(x, y) == pytest.approx(defined(x.numpy(), y.numpy()), rel=1e-10)


def test_the_unbiased_form_is_the_mean_over_tuples() -> None:
    x, y = related(7)
    k, m = (x @ x.T).numpy(), (y @ y.T).numpy()
    assert hsic_1(x, y) == pytest.approx(hsic_over_tuples(k, m), rel=1e-9)
    scale = math.sqrt(hsic_over_tuples(k, k) * hsic_over_tuples(m, m))
    assert unbiased_cka(x, y) == pytest.approx(hsic_over_tuples(k, m) / scale, rel=1e-9)


def test_the_unbiased_form_is_song_s_formula() -> None:
    x, y = related(15)
    k, m = ((p @ p.T).numpy().copy() for p in (x, y))
    n, one = len(k), np.ones(len(k))
    np.fill_diagonal(k, 0), np.fill_diagonal(m, 0)
    song = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2))
    song = (song - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))
    assert hsic_1(x, y) == pytest.approx(song, rel=1e-9)


def test_it_is_unbiased_at_four_examples() -> None:
    """Scalars x, y = x + noise: the HSIC of linear kernels is cov(x, y)^2 = 1."""
    found = []
    for seed in range(800):
        x = drawn(4, 1, seed=seed)
        found.append(hsic_1(x, x + drawn(4, 1, seed=10_000 + seed)))
    assert np.mean(found) == pytest.approx(1, abs=4 * np.std(found) / math.sqrt(len(found)))


@pytest.mark.parametrize("form", [cka, unbiased_cka])
def test_what_does_not_change_it(form) -> None:
    x, y = related()
    value = form(x, y)
    assert 0.1 < value < 0.95
    turn = torch.linalg.qr(drawn(6, 6, seed=9)).Q
    assert form(x @ turn, y) == pytest.approx(value, rel=1e-9)
    assert form(-3e4 * x + 5, y) == pytest.approx(value, rel=1e-9)
    assert form(y, x) == pytest.approx(value, rel=1e-12)
    order = torch.randperm(len(x))
    assert form(x[order], y[order]) == pytest.approx(value, rel=1e-9)
    assert form(x.unflatten(1, (2, 1, 3)), y) == value
    assert form(x * torch.tensor([1, 2, 3, 4, 5, 6]), y) != pytest.approx(value, rel=1e-3)
    assert form(x, x) == pytest.approx(1, abs=1e-12)
    assert form(x.float(), y.float()) == pytest.approx(value, rel=1e-5)


def test_independent_features_are_alike_in_the_biased_form_only() -> None:
    values, biased = [], []
    for seed in range(20):
        x, y = drawn(60, 200, seed=seed), drawn(60, 300, seed=1000 + seed)
        values.append(unbiased_cka(x, y))
        biased.append(cka(x, y))
        assert biased[-1] == pytest.approx(cka_by_chance(x, y), abs=0.02)
    assert min(biased) > 0.75
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(20)
    assert max(map(abs, values)) < 0.1


def test_chance_is_the_mean_over_all_orders() -> None:
    x, y = related(5)
    orders = [torch.tensor(order) for order in itertools.permutations(range(5))]
    assert np.mean([cka(x, y[order]) for order in orders]) == pytest.approx(cka_by_chance(x, y), rel=1e-10)
    assert np.mean([unbiased_cka(x, y[order]) for order in orders]) == pytest.approx(0, abs=1e-12)


def test_the_permutation_baseline() -> None:
    x, y = related()
    draws = permuted_cka(x, y, 100, seed=3)
    assert draws.shape == (100,)
    assert abs(draws.mean()) < 4 * draws.std() / 100**0.5
    assert (draws < unbiased_cka(x, y)).all()
    assert torch.equal(draws, permuted_cka(x, y, 100, seed=3))
    assert not torch.equal(draws, permuted_cka(x, y, 100, seed=4))
    biased = permuted_cka(x, y, 100, unbiased=False)
    assert biased.mean() == pytest.approx(cka_by_chance(x, y), abs=4 * float(biased.std()) / 100**0.5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("form", [cka, unbiased_cka, cka_by_chance])
def test_what_cannot_be_compared(form) -> None:
    x = drawn(6, 3)
    with pytest.raises(InputError, match="same examples, found 6 and 5"):
        form(x, drawn(5, 3))
    with pytest.raises(InputError, match="examples at least, found 1"):
        form(x[:1], x[:1])
    with pytest.raises(InputError, match="features y are the same for all 6"):
        form(x, torch.full((6, 4), 0.1))
    with pytest.raises(InputError, match="features of x must be finite"):
        form(torch.full((6, 4), torch.nan), x)
    with pytest.raises(
        InputError, match=r"features of y must be floats \(n, ...\), found torch.float64 \(6,\)"
    ):
        form(x, x[:, 0])


@pytest.mark.usefixtures("unchecked")
def test_what_the_unbiased_form_cannot_compare() -> None:
    with pytest.raises(InputError, match="4 examples at least, found 3"):
        unbiased_cka(drawn(3, 3), drawn(3, 3))
    apart = torch.eye(6, dtype=torch.float64)
    with pytest.raises(InputError, match="equally far apart"):
        unbiased_cka(apart, drawn(6, 3))
    assert hsic_1(apart, drawn(6, 3)) == 0
    with pytest.raises(InputError, match="one draw at least, found 0"):
        permuted_cka(drawn(6, 3), drawn(6, 3), 0)
    with pytest.raises(InputError, match="found 6 and 5"):
        hsic_1(drawn(6, 3), drawn(5, 3))
