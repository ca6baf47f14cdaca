"""Draws that belong to a step and to an example's place in the global batch, and to nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.data.randomness import Randomness

LIKE = torch.zeros(10, 2, 3)
DRAWS: dict[str, Callable[[Randomness, Tensor], Tensor]] = {
    "uniform": lambda r, like: r.uniform(like),
    "normal": lambda r, like: r.normal(like),
    "integers": lambda r, like: r.integers(like, 0, 1000),
}


def drawn(name: str, *, step: int = 0, rows: slice = slice(None), seed: int = 0, times: int = 2) -> Tensor:
    random = Randomness(seed)
    random.begin(step, rows, 10)
    return torch.stack([DRAWS[name](random, LIKE[rows]).float() for _ in range(times)], 1)


@pytest.mark.parametrize("name", DRAWS)
@given(cuts=st.lists(st.integers(1, 9), max_size=4, unique=True), step=st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_a_split_draws_what_the_whole_draws(name: str, cuts: list[int], step: int) -> None:
    edges = [0, *sorted(cuts), 10]
    pieces = [slice(a, b) for a, b in itertools.pairwise(edges)]
    whole = drawn(name, step=step)
    assert torch.equal(torch.cat([drawn(name, step=step, rows=rows) for rows in pieces]), whole)


@pytest.mark.parametrize("name", DRAWS)
def test_steps_seeds_and_draws_differ(name: str) -> None:
    base = drawn(name)
    assert not torch.equal(base[:, 0], base[:, 1])
    for other in (drawn(name, step=1), drawn(name, seed=1), drawn(name, seed=1, step=1)):
        assert not torch.equal(base, other)


def test_near_seeds_and_steps_share_no_stream() -> None:
    first = {drawn("uniform", seed=s, step=t)[0, 0, 0, 0].item() for s in range(30) for t in range(30)}
    assert len(first) > 890  # 900 draws of 24 bits: a collision or two is chance


@pytest.mark.parametrize("name", DRAWS)
def test_what_came_before_does_not_matter(name: str) -> None:
    """A step's draws are the same after other steps, in any order, and from torch's state independent."""
    random = Randomness(0)
    for step in (5, 2, 9):
        random.begin(step, slice(0, 4), 10)
        random.normal(LIKE[:4])
        torch.rand(3)
    random.begin(7, slice(None), 10)
    found = torch.stack([DRAWS[name](random, LIKE).float() for _ in range(2)], 1)
    assert torch.equal(found, drawn(name, step=7))


def test_torchs_own_generator_is_not_touched() -> None:
    state = torch.random.get_rng_state()
    for name in DRAWS:
        drawn(name)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_ranges_types_and_shapes() -> None:
    random = Randomness(0)
    many = torch.zeros(20_000, dtype=torch.float64)
    uniform, normal, whole = random.uniform(many, 2.0, 3.0), random.normal(many), random.integers(many, -1, 2)
    assert (uniform.dtype, normal.dtype, whole.dtype) == (torch.float64, torch.float64, torch.int64)
    assert uniform.min() >= 2
    assert uniform.max() < 3
    assert uniform.mean().item() == pytest.approx(2.5, abs=0.02)
    assert normal.std().item() == pytest.approx(1, abs=0.02)
    assert set(whole.tolist()) == {-1, 0, 1}
    assert random.uniform(LIKE).shape == LIKE.shape
    assert random.integers(LIKE, 0, 2).shape == (10,)
