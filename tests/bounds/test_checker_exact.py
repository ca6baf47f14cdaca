"""Rational enclosures, and the exact check beside the one in float64."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import reference_certificates as reference
from understudy.bounds.checker import exact
from understudy.bounds.checker.network import Refused
from understudy.bounds.checker.rational import exp, log, log_sum_exp, sigmoid, sigmoid_above
from understudy.bounds.checker.verify import Search, Unreadable, prove, verify
from understudy.bounds.description import Network, NetworkNode

PAIRS = [
    (reference.mlp, reference.mlp),
    (reference.residual, reference.mlp),
    (reference.convolutional, reference.convolutional),
]


def test_exp_and_log_are_enclosed() -> None:
    rng = np.random.default_rng(0)
    for x in [0.0, 1.0, -1.0, 1e-30, *rng.uniform(-40, 40, 20)]:
        low, high = exp(Fraction(x))
        assert low <= high <= low + max(high, Fraction(1)) / 2**150
        assert float(low) == pytest.approx(math.exp(x), rel=1e-14, abs=1e-50)
        back = log(high)[1]
        assert Fraction(x) <= back <= Fraction(x) + Fraction(1, 2**100)
        assert log(low)[0] <= Fraction(x) if low else True
    for x in [0.5, 1.0, 2.0, 3.0, 1e-300, 1e300, *rng.lognormal(0, 20, 40)]:
        low, high = log(Fraction(x))
        assert low <= high <= low + Fraction(1, 2**150)
        assert float(low) == pytest.approx(math.log(x), rel=1e-14, abs=1e-14)


def test_what_is_made_of_them_is_above_and_near() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        x = [Fraction(float(v)) for v in rng.normal(size=4) * 5]
        top = log_sum_exp(x)
        assert 0 <= float(top) - math.log(sum(math.exp(v) for v in x)) + 1e-14 < 3e-14
        low, high = sorted(x[:2])
        q = Fraction(float(rng.choice([0.0, 0.01, 0.2, 0.3]) * rng.random()))
        grid = np.linspace(float(low), float(high), 4001)
        values = 1 / (1 + np.exp(-grid)) - float(q) * grid
        assert -1e-15 <= float(sigmoid_above(q, low, high)) - values.max() < 1e-5
        assert -5e-16 <= float(sigmoid(low)) - (values[0] + float(q) * grid[0]) < 1e-15


@pytest.mark.parametrize("seed", range(4))
def test_it_proves_what_float64_proves_but_for_the_widening(seed: int, tmp_path: Path) -> None:
    certificate = reference.random_certificate(seed, *PAIRS[seed % 3], splits=3, eps=[0.3, 0.02][seed % 2])
    certificate.save(tmp_path / "a.npz")
    rational, rounded = exact.verify(str(tmp_path / "a.npz")).bound, verify(str(tmp_path / "a.npz")).bound
    assert 0 <= rounded - rational < 1e-11
    points = reference.samples(certificate, 100, np.random.default_rng(seed))
    assert np.abs(reference.gaps(certificate, points)).max() <= rational + 1e-15


def cancelling(rng: np.random.Generator, hidden: int = 4) -> Network:
    """Numbers around 1e9 that nearly cancel in the logits: what is left is rounding, unless it is accounted for."""
    first, small = rng.normal(size=(hidden, 3)) * 1e9, rng.normal(size=(3, 2 * hidden)) * 1e-9
    wide = np.concatenate([first, first * (1 + rng.normal(size=(hidden, 1)) * 1e-9)])
    paid = rng.normal(size=(3, hidden))
    bias = np.concatenate([rng.normal(size=hidden) * 1e9] * 2)
    nodes = (
        NetworkNode("input", (), (3,)),
        NetworkNode("linear", (0,), (2 * hidden,), {}, {"weight": wide, "bias": bias}),
        NetworkNode("relu", (1,), (2 * hidden,)),
        NetworkNode("linear", (2,), (3,), {}, {"weight": np.concatenate([paid, -paid], 1) + small}),
    )
    return Network(nodes, "4" * 64)


@pytest.mark.parametrize("eps", [0.0, 1e-9])
def test_rounding_is_covered_where_numbers_cancel(eps: float) -> None:
    """Bounds of differences of logits, and of the ReLUs' arguments, are never below the exact ones."""
    for seed in range(8):
        arrays = reference.random_certificate(seed, cancelling, cancelling, splits=0, eps=eps).arrays()
        rounded, rational = Search(dict(arrays)), exact.ExactSearch(arrays)
        for net, other, found, truth in zip(
            rounded.nets, rational.nets, rounded.margins, rational.margins, strict=True
        ):
            for i, j in itertools.permutations(range(3), 2):
                assert Fraction(float(found[0, i, j])) >= truth[i][j]
            for sides, exact_sides in zip(net.start, other.start, strict=True):
                for side, exact_side in zip(sides, exact_sides, strict=True):
                    assert all(Fraction(float(a)) >= b for a, b in zip(side[0], exact_side, strict=True))


def test_one_point_is_computed_exactly(tmp_path: Path) -> None:
    certificate = reference.random_certificate(4, splits=3, eps=0.0)
    certificate.save(tmp_path / "a.npz")
    truth = float(np.abs(reference.gaps(certificate, certificate.input[None])).max())
    assert exact.verify(str(tmp_path / "a.npz")).bound == pytest.approx(truth, abs=3e-16)
    assert truth < prove(certificate.arrays()).bound < truth + 1e-11


def test_a_claim_that_only_rounding_could_hide_is_refused(tmp_path: Path) -> None:
    certificate = reference.random_certificate(
        1, partial(reference.mlp, hidden=(3,)), partial(reference.mlp, hidden=(3,)), splits=1
    )
    certificate.save(tmp_path / "a.npz")
    bound = exact.verify(str(tmp_path / "a.npz")).bound
    for claim, holds in ((bound, True), (float(np.nextafter(bound, 0)), False)):  # a float64 apart
        arrays = certificate.arrays()
        text = arrays["header"].tobytes().decode().replace(repr(certificate.upper), repr(claim))
        np.savez(tmp_path / "b.npz", **arrays | {"header": np.frombuffer(text.encode(), np.uint8)})
        if holds:
            assert exact.verify(str(tmp_path / "b.npz")).bound == bound
        else:
            with pytest.raises(Refused, match="proved is"):
                exact.verify(str(tmp_path / "b.npz"))


def test_what_is_too_large_is_named(tmp_path: Path) -> None:
    wide = reference.random_certificate(0, lambda rng: reference.mlp(rng, hidden=(90,)), splits=0)
    wide.save(tmp_path / "a.npz")
    with pytest.raises(Refused, match="too large for rational numbers: 99 ReLUs, at most 80 are taken"):
        exact.verify(str(tmp_path / "a.npz"))
    with pytest.raises(Unreadable):
        exact.verify(str(tmp_path / "missing.npz"))
