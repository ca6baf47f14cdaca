from __future__ import annotations

import pytest
import torch

from understudy.data.dataset import DataSet
from understudy.data.loader import batches, in_order, permutation, share, steps_per_epoch
from understudy.errors import InputError


@pytest.fixture
def data() -> DataSet:
    return DataSet("d", "train", torch.rand(50, 3), torch.arange(50) % 4)


def test_an_epoch_holds_every_example_once(data: DataSet) -> None:
    found = list(batches(data, batch_size=16, seed=1, epoch=0))
    assert [b.total for b in found] == [16, 16, 16, 2]
    assert [b.step for b in found] == [0, 1, 2, 3]
    index = torch.cat([b.batch.index for b in found])
    assert sorted(index.tolist()) == list(range(50))
    assert index.tolist() != list(range(50))
    for item in found:
        assert item.rows == slice(0, item.total)
        assert torch.equal(item.batch.clean, data.stored[item.batch.index])
        assert item.batch.labels is not None
        assert torch.equal(item.batch.labels, item.batch.index % 4)


@pytest.mark.parametrize("world", [1, 2, 3, 5, 20])
def test_ranks_together_are_the_global_batch_in_order(data: DataSet, world: int) -> None:
    """Also where the last batch, of 2, leaves most of 20 processes with nothing."""
    whole = list(batches(data, batch_size=16, seed=3, epoch=2))
    ranks = [list(batches(data, batch_size=16, seed=3, epoch=2, rank=r, world=world)) for r in range(world)]
    assert {len(rank) for rank in ranks} == {len(whole)}
    for step, one in enumerate(whole):
        parts = [rank[step] for rank in ranks]
        assert torch.equal(torch.cat([p.batch.index for p in parts]), one.batch.index)
        assert torch.equal(torch.cat([p.batch.clean for p in parts]), one.batch.clean)
        assert all(p.total == one.total and p.step == one.step for p in parts)
        assert torch.cat([torch.arange(one.total)[p.rows] for p in parts]).tolist() == list(range(one.total))
        sizes = [len(p.batch) for p in parts]
        assert max(sizes) - min(sizes) <= 1
        assert all(p.batch.clean.shape[1:] == (3,) for p in parts)


def test_a_resumed_epoch_goes_on_where_it_stopped(data: DataSet) -> None:
    torch.manual_seed(0)
    whole = [b.batch.index for b in batches(data, batch_size=8, seed=5, epoch=4)]
    torch.manual_seed(99)
    torch.rand(7)
    rest = list(batches(data, batch_size=8, seed=5, epoch=4, start_step=3))
    assert rest[0].step == 3
    assert all(torch.equal(a, b.batch.index) for a, b in zip(whole[3:], rest, strict=True))
    assert list(batches(data, batch_size=8, seed=5, epoch=4, start_step=7)) == []


def test_orders_differ_by_seed_and_epoch_and_do_not_touch_the_global_stream() -> None:
    before = torch.get_rng_state()
    orders = {tuple(permutation(30, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert torch.equal(torch.get_rng_state(), before)
    # pinned: the order of a run must never change from one release to the next
    assert permutation(8, 0, 0).tolist() == [0, 5, 7, 3, 2, 4, 1, 6]


def test_first_place_is_uniform() -> None:
    counts = torch.bincount(torch.stack([permutation(5, 7, epoch)[0] for epoch in range(1000)]), minlength=5)
    assert (
        (counts.float() - 200).square() / 200
    ).sum() < 18.5  # chi-squared, 4 degrees of freedom, p = 0.001


def test_without_shuffling_it_is_file_order(data: DataSet) -> None:
    found = torch.cat([b.batch.index for b in batches(data, batch_size=7, seed=0, epoch=0, shuffle=False)])
    assert found.tolist() == list(range(50))


def test_shares_cover_and_are_even() -> None:
    for total in range(12):
        for world in range(1, 6):
            parts = [share(total, rank, world) for rank in range(world)]
            assert [r for part in parts for r in range(part.start, part.stop)] == list(range(total))


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [(0, None, range(50)), (10, 5, range(10, 15)), (45, 20, range(45, 50)), (49, None, range(49, 50))],
)
def test_in_order(data: DataSet, start: int, count: int | None, expected: range) -> None:
    found = list(in_order(data, 8, start, count))
    assert torch.cat([b.index for b in found]).tolist() == list(expected)
    assert torch.equal(torch.cat([b.clean for b in found]), data.stored[list(expected)])
    assert all(len(b) <= 8 for b in found)


def test_unlabelled_batches_have_no_labels() -> None:
    data = DataSet("d", "train", torch.rand(5, 2))
    assert next(in_order(data, 2)).labels is None
    assert next(batches(data, batch_size=2, seed=0, epoch=0)).batch.labels is None


def test_steps() -> None:
    assert [steps_per_epoch(n, 64) for n in (1, 64, 65, 1347)] == [1, 1, 2, 22]


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": -4},
        {"start_step": -1},
        {"start_step": 8},
        {"rank": 2, "world": 2},
        {"rank": -1},
        {"world": 0},
    ],
)
def test_nonsense_is_refused_before_the_first_batch(data: DataSet, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="found"):
        batches(data, **({"batch_size": 8, "seed": 0, "epoch": 0} | wrong))


@pytest.mark.parametrize("wrong", [{"start": 50}, {"start": -1}, {"count": 0}, {"batch_size": 0}])
def test_in_order_refuses_rows_that_are_not_there(data: DataSet, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="found"):
        in_order(data, **({"batch_size": 8} | wrong))
