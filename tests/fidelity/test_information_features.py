"""Information of features: Gaussians in closed form, scikit-learn's neighbours, exact codes, and the stated biases."""

from __future__ import annotations

import math
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import multivariate_normal, norm
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics import mutual_info_score
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.information_bound import info_nce
from understudy.fidelity.information_features import binned, gaussian_information, ksg


@pytest.fixture
def plain_types() -> Iterator[None]:
    """What a user sees: annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def gaussians(n: int, rho: float, dimensions: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x, e = torch.randn(2, n, dimensions, generator=draw, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho * rho) * e


def test_the_closed_form() -> None:
    """Against -1/2 ln det of the correlation matrix."""
    assert gaussian_information(0.6) == pytest.approx(-0.5 * math.log(1 - 0.36))
    both = np.kron([[1, 0.9], [0.9, 1]], np.eye(3))
    assert gaussian_information(0.9, 3) == pytest.approx(-0.5 * np.linalg.slogdet(both)[1])
    assert gaussian_information(-0.3) == gaussian_information(0.3)
    assert math.copysign(1, gaussian_information(0.0)) == 1.0
    for rho, dimensions in ((1.0, 1), (0.5, 0)):
        with pytest.raises(InputError, match="correlation"):
            gaussian_information(rho, dimensions)


@pytest.mark.parametrize("rho", [0.0, 0.6, -0.9])
def test_neighbours_on_gaussians(rho: float) -> None:
    """The mean of ten estimates lies at the truth, within their own spread."""
    found = np.array([ksg(*gaussians(600, rho, seed=seed)) for seed in range(10)])
    assert found.mean() == pytest.approx(
        gaussian_information(rho), abs=4 * found.std(ddof=1) / math.sqrt(10) + 0.01
    )
    assert found.std() < 0.07


@pytest.mark.parametrize("k", [1, 3, 10])
def test_neighbours_against_sklearn(k: int) -> None:
    x, y = gaussians(300, 0.8, seed=3)
    expected = mutual_info_regression(x.numpy(), y[:, 0].numpy(), n_neighbors=k, random_state=0)[0]
    assert ksg(x, y, k) == pytest.approx(expected, abs=1e-6)


def test_neighbours_by_brute_force_in_several_dimensions() -> None:
    x, y = gaussians(40, 0.5, 3, seed=4)
    y = y[:, :2]
    a, b = ((z - z.mean(0)) / z.std(0, correction=0) for z in (x, y))
    dx, dy = ((z[:, None] - z[None]).abs().amax(2).fill_diagonal_(math.inf) for z in (a, b))
    radius = torch.maximum(dx, dy).sort(1).values[:, 3]  # of the fourth neighbour
    counts = [(d < radius[:, None]).sum(1).numpy() for d in (dx, dy)]
    expected = digamma(4) + digamma(40) - np.mean(digamma(counts[0] + 1) + digamma(counts[1] + 1))
    assert ksg(x, y, 4) == pytest.approx(expected, abs=1e-12)


def test_neighbours_fall_short_where_information_is_large() -> None:
    x, y = gaussians(500, 0.99, 8)
    assert ksg(x, y) < 0.5 * gaussian_information(0.99, 8)
    assert ksg(x, x) == pytest.approx(digamma(500) - digamma(3))  # the most that it can say
    assert ksg(x, x) > ksg(x, y) > ksg(x, gaussians(500, 0.0, 8, seed=9)[0]) - 1


def test_scale_shift_order_and_constants_do_not_matter() -> None:
    x, y = gaussians(200, 0.7, 2)
    again = ksg(100 * x - 5, -0.01 * y)
    assert again == pytest.approx(ksg(x, y), abs=1e-9)
    assert ksg(y, x) == pytest.approx(ksg(x, y), abs=1e-12)
    constant = torch.cat([x, torch.full((200, 1), 0.1, dtype=torch.float64)], 1)
    assert ksg(constant, y) == pytest.approx(ksg(x, y), abs=1e-12)
    assert ksg(x, torch.ones(200, 1)) == pytest.approx(0.0, abs=1e-12)
    assert binned(x, torch.ones(200, 1)).plug_in == 0.0


def test_coinciding_examples_are_refused_without_a_jitter() -> None:
    x, y = gaussians(400, 0.9)
    with pytest.raises(InputError, match="coincide with 3 others or more"):
        ksg(x.relu(), y.relu())
    # what a ReLU leaves: less than all, more than nothing
    assert 0.2 < ksg(x.relu(), y.relu(), jitter=1e-6) < gaussian_information(0.9)


def exact_code_information(rho: float, bins: int) -> float:
    """Of two Gaussians cut at their own quantiles, by the bivariate normal distribution function."""
    edges = np.concatenate([[-9], norm.ppf(np.arange(1, bins) / bins), [9]])
    grid = np.stack(np.meshgrid(edges, edges, indexing="ij"), -1).reshape(-1, 2)
    below = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf(grid).reshape(bins + 1, bins + 1)
    p = np.clip(np.diff(np.diff(below, axis=0), axis=1), 1e-15, None)
    return float(np.sum(p * np.log(p * bins * bins)))


def test_bins_find_what_the_codes_hold_and_no_more() -> None:
    found = [binned(*gaussians(1000, 0.8, seed=seed), bins=5) for seed in range(12)]
    truth = exact_code_information(0.8, 5)
    assert truth < gaussian_information(0.8) - 0.1
    corrected, plug_in = (np.array([getattr(one, n) for one in found]) for n in ("corrected", "plug_in"))
    error = corrected.std(ddof=1) / math.sqrt(12)
    assert corrected.mean() == pytest.approx(truth, abs=4 * error)
    assert plug_in.mean() > corrected.mean()
    fine = binned(*gaussians(1000, 0.0), bins=30)
    assert fine.plug_in == pytest.approx(fine.chance, abs=0.05)
    assert fine.plug_in == pytest.approx(29 * 29 / 2000, rel=0.25)  # independent, and yet


def test_bins_of_one_dimension_are_of_equal_number_and_keep_ties() -> None:
    x = torch.arange(12.0).unsqueeze(1)
    found = binned(x, x.flip(0), bins=4)
    assert found.plug_in == pytest.approx(math.log(4))
    assert found.first_entropy == pytest.approx(math.log(4))
    tied = torch.tensor([[0.0]] * 9 + [[1.0], [2.0], [3.0]])
    assert binned(tied, x, bins=2).first_entropy == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


def test_bins_of_clusters() -> None:
    """Five clusters in three dimensions, named otherwise in the other's four: the code is the cluster."""
    draw = torch.Generator().manual_seed(0)
    code = torch.arange(5).repeat(40)
    places = [10 * torch.randn(5, d, generator=draw) for d in (3, 4)]
    x, y = (p[code] + 0.01 * torch.randn(200, p.shape[1], generator=draw) for p in places)
    other = code[torch.randperm(200, generator=draw)]
    assert binned(x, y, bins=5).plug_in == pytest.approx(math.log(5))
    found = binned(x, places[1][other], bins=5)
    assert found.plug_in == pytest.approx(mutual_info_score(code, other), abs=1e-9)
    assert binned(x, y, bins=5, seed=1) == binned(x, y, bins=5, seed=1)


@pytest.mark.usefixtures("one_thread")
def test_the_bound_lies_below_the_truth_and_near_it() -> None:
    for rho, short in ((0.0, 0.1), (0.8, 0.12)):
        truth = gaussian_information(rho)
        found = info_nce(*gaussians(2400, rho, seed=1), pairs=64, steps=150, width=32)
        assert found.error is not None
        assert truth - short - 3 * found.error < found.mean < truth + 3 * found.error
        assert found.count == 18


@pytest.mark.usefixtures("one_thread")
def test_the_bound_stops_at_its_ceiling_and_is_seeded() -> None:
    x, y = gaussians(800, 0.9999, 4)
    state = torch.get_rng_state()
    with torch.no_grad():
        found = info_nce(x, y, pairs=16, steps=250)
    assert torch.equal(torch.get_rng_state(), state)
    assert found == info_nce(x, y, pairs=16, steps=250)
    assert found != info_nce(x, y, pairs=16, steps=250, seed=1)
    assert 0.9 * math.log(16) < found.mean <= math.log(16) < gaussian_information(0.9999, 4) / 5
    untrained = info_nce(x, gaussians(800, 0.0, 4, seed=7)[1], pairs=16, steps=0)
    assert untrained.mean <= 3 * (untrained.error or 0.0)


@pytest.mark.usefixtures("plain_types")
def test_bad_input() -> None:
    x, y = gaussians(50, 0.5, 2)
    for call, match in (
        (lambda: ksg(x, y[:40]), r"found \(50, 2\) and \(40, 2\)"),
        (lambda: ksg(x, y, 50), "1 to 49, the other examples, found 50"),
        (lambda: ksg(x, y, 0), "found 0"),
        (lambda: ksg(x, y, jitter=-1.0), "jitter"),
        (lambda: ksg(x / 0, y), "first features must be finite; row 0"),
        (lambda: binned(x, y, bins=51), "2 to 50, the examples, found 51"),
        (lambda: binned(x, y, bins=1), "found 1"),
        (lambda: binned(x, y[:, :0]), "nothing empty"),
        (lambda: info_nce(x, y), "found 25 and 25"),
        (lambda: info_nce(x, y, pairs=8, held_out=1.0), "found 50 and 0"),
        (lambda: info_nce(x, y, held_out=0.0), "share held out"),
        (lambda: info_nce(x, y, pairs=1), "pairs must be"),
        (lambda: info_nce(x, y, steps=-1), "steps"),
    ):
        with pytest.raises(InputError, match=match):
            call()
