"""Selection: worked numbers, k-centre against a naive loop and the best cover, and what must not matter."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from torch import Tensor

from understudy.errors import InputError
from understudy.objectives.divergences import entropy
from understudy.recipes.selection import any_of, closeness, highest, k_centre, unit, votes

SEEDS = range(5)


def simplex(rows: int, seed: int, classes: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)).softmax(1)


def naive(pool: np.ndarray, centres: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """Every distance anew at every pick, as the released code has it."""
    left, held = list(range(len(pool))), list(centres)
    picked: list[int] = []
    radii: list[float] = []
    while left and len(picked) < count:
        apart = [min(float(np.linalg.norm(pool[i] - c)) for c in held) for i in left]
        best = int(np.argmax(apart))
        radii.append(apart[best])
        picked.append(left.pop(best))
        held.append(pool[picked[-1]])
    return picked, radii


def test_the_worked_number() -> None:
    pool = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.34, 0.33, 0.33]])
    picked, apart = k_centre(pool.double(), torch.tensor([[0.8, 0.1, 0.1]]).double(), 4)
    assert picked.tolist() == [1, 2, 3, 0]
    assert apart.tolist() == pytest.approx([0.989949, 0.989949, 0.563383, 0.141421], abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_the_naive_loop(seed: int) -> None:
    pool, centres = simplex(30, seed), simplex(3, seed + 100)
    picked, apart = k_centre(pool, centres, 12)
    rows, radii = naive(pool.numpy(), centres.numpy(), 12)
    assert picked.tolist() == rows
    np.testing.assert_allclose(apart, radii, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_radii_fall_within_bounds_and_nothing_is_picked_twice(seed: int) -> None:
    pool = simplex(25, seed)
    picked, apart = k_centre(pool, simplex(2, seed + 9), 40)
    assert sorted(picked.tolist()) == list(range(25))
    assert (apart.diff() <= 0).all()
    assert (apart >= 0).all()
    assert (apart <= math.sqrt(2)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cover_is_at_most_twice_as_wide_as_the_best(seed: int) -> None:
    pool, centres, count = simplex(9, seed), simplex(1, seed + 50), 3

    def radius(rows: tuple[int, ...]) -> float:
        return float(torch.cdist(pool, torch.cat([centres, pool[list(rows)]])).amin(1).max())

    best = min(radius(rows) for rows in itertools.combinations(range(9), count))
    found = radius(tuple(k_centre(pool, centres, count)[0].tolist()))
    assert best - 1e-12 <= found <= 2 * best


def test_the_next_pick_says_the_radius_that_is_left() -> None:
    pool, centres = simplex(20, 3), simplex(2, 4)
    picked, apart = k_centre(pool, centres, 6)
    held = torch.cat([centres, pool[picked[:5]]])
    assert float(apart[5]) == pytest.approx(float(torch.cdist(pool, held).amin(1).max()), rel=1e-9)


def test_a_point_that_is_covered_already_comes_last() -> None:
    centre = simplex(1, 0)
    pool = torch.cat([centre, simplex(5, 1), simplex(5, 1)[2:3]])
    picked, apart = k_centre(pool, centre, 7)
    assert sorted(picked.tolist()[-2:]) == [0, 6]  # the one in S, and the second of two equal points
    assert apart.tolist()[-2:] == [0.0, 0.0]
    assert (apart[:-2] > 0).all()


def test_classes_and_constants_do_not_matter_and_order_only_in_ties() -> None:
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = logits[:2].softmax(1)
    picked, apart = k_centre(logits.softmax(1), start, 8)
    classes = torch.tensor([3, 1, 4, 0, 2])
    assert torch.equal(k_centre(logits.softmax(1)[:, classes], start[:, classes], 8)[0], picked)
    shifted = logits + torch.arange(20.0, dtype=torch.float64)[:, None]
    assert torch.equal(k_centre(shifted.softmax(1), start, 8)[0], picked)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    moved, again = k_centre(logits.softmax(1)[order], start, 8)
    assert torch.equal(order[moved], picked)
    torch.testing.assert_close(again, apart)
    assert k_centre(torch.ones(4, 3), torch.zeros(1, 3), 3)[0].tolist() == [0, 1, 2]


def test_without_centres_the_first_row_is_first_and_the_farthest_from_it_second() -> None:
    pool = simplex(10, 7)
    picked, apart = k_centre(pool, pool[:0], 2)
    assert picked.tolist() == [0, int((pool - pool[0]).norm(dim=1).argmax())]
    assert apart[0] == math.inf


def test_counts_of_nothing_and_of_more_than_there_is() -> None:
    pool = simplex(3, 0)
    assert k_centre(pool, pool, 0)[0].tolist() == []
    assert k_centre(pool[:0], pool, 5)[0].tolist() == []
    assert sorted(k_centre(pool, pool[:1], 5)[0].tolist()) == [0, 1, 2]
    assert sorted(highest(torch.tensor([1.0, 2.0]), 5).tolist()) == [0, 1]
    assert sorted(any_of(3, 5, 0).tolist()) == [0, 1, 2]


def test_highest_scores_first_and_ties_in_order() -> None:
    assert highest(torch.tensor([1.0, 3.0, 2.0, 3.0]), 3).tolist() == [1, 3, 2]


def test_scores() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    assert closeness(p).tolist() == pytest.approx([-0.2, 0.0, -1.0])
    assert highest(closeness(p), 3).tolist() == [1, 0, 2]
    np.testing.assert_allclose(entropy(p[:2].log()), scipy_entropy(p[:2].numpy(), axis=1), rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_unit_rows_order_as_the_cosine_distance_does(seed: int) -> None:
    features = torch.randn(15, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned = torch.linalg.qr(
        torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )[0]
    space = unit(features)
    cosine = 1 - torch.cosine_similarity(features[:, None], features[None], dim=2)
    torch.testing.assert_close(torch.cdist(space, space).square() / 2, cosine, atol=1e-7, rtol=0)
    picked = k_centre(space[1:], space[:1], 5)[0]
    assert torch.equal(k_centre(unit(features @ turned)[1:], unit(features @ turned)[:1], 5)[0], picked)
    assert torch.equal(unit(torch.zeros(1, 6)), torch.zeros(1, 6, dtype=torch.float64))


def test_votes_collapse_to_the_order_of_the_data() -> None:
    """What the degrees of confidence are for: with votes every class after the first pick of it is a tie."""
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.55, 0.45]], dtype=torch.float64)
    assert votes(p).tolist() == [[1, 0], [1, 0], [0, 1], [1, 0]]
    picked, apart = k_centre(votes(p), votes(p[:1]), 4)
    assert picked.tolist() == [2, 0, 1, 3]
    assert apart.tolist() == pytest.approx([math.sqrt(2), 0, 0, 0])
    assert k_centre(p, p[:1], 4)[0].tolist() == [2, 3, 1, 0]


def test_chance_is_the_seeds_and_the_turns() -> None:
    drawn = any_of(50, 50, 1, 2)
    assert sorted(drawn.tolist()) == list(range(50))
    assert torch.equal(any_of(50, 10, 1, 2), drawn[:10])
    assert not torch.equal(any_of(50, 50, 1, 3), drawn)
    assert not torch.equal(any_of(50, 50, 2, 2), drawn)


def test_bad_input() -> None:
    pool = simplex(3, 0)
    with pytest.raises(InputError, match="0 or more, found -1"):
        k_centre(pool, pool, -1)
    with pytest.raises(InputError, match="0 or more, found -1"):
        highest(pool[:, 0], -1)
    with pytest.raises(InputError, match="found 3 and -2"):
        any_of(3, -2, 0)
    with pytest.raises(InputError, match="NaN or infinity in row 1"):
        k_centre(torch.tensor([[0.0], [math.nan]]), torch.zeros(1, 1), 1)
    with pytest.raises(InputError, match="centres must be finite"):
        k_centre(torch.zeros(1, 1), torch.tensor([[math.inf]]), 1)
