"""Reading: what comes back, for whom, and that anything else is refused by name."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.teachers import Dense, Sampled, SparseTargets, TeacherStore, TopK, open_store, write_store
from understudy.teachers.encoding import Encoding
from understudy.teachers.targets import DenseTargets, Targets

ENCODINGS = [Dense(), Dense("float32"), TopK(5), TopK(30, "float32"), Sampled(20), Sampled(20, 0.8)]


@pytest.fixture(params=ENCODINGS, ids=str)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    return request.param


def own(identity: Any, encoding: Encoding, **changes: Any) -> Any:
    return identity(**{"temperature": 2.0 if encoding.tempered else None, **changes})


@pytest.fixture
def store(tmp_path: Path, encoding: Encoding, identity: Any, answers: Any) -> TeacherStore:
    """Shards of 30 units in batches of 7: neither divides the other, nor the 100 units."""
    wanted = own(identity, encoding)
    write_store(tmp_path / "store", wanted, encoding, answers, batch=7, shard_units=30)
    return open_store(tmp_path / "store", wanted)


def table(targets: Targets) -> Tensor:
    return targets.logits if isinstance(targets, DenseTargets) else targets.dense()


def expected(encoding: Encoding, logits: Tensor) -> Tensor:
    """(views * units, C): what the encoding makes of all units at once."""
    flat = logits.flatten(0, 1)
    encoded = encoding.encode(flat, 2.0, np.arange(len(flat)))
    return table(encoding.decode(encoded.entries, encoded.lengths, flat.shape[1]))


def test_every_order_of_units_gives_what_was_said(
    store: TeacherStore, encoding: Encoding, logits: Tensor
) -> None:
    generator = torch.Generator().manual_seed(0)
    whole = expected(encoding, logits)
    for units in (
        torch.arange(100),
        torch.randperm(100, generator=generator),
        torch.randint(0, 100, (17,), generator=generator),  # with repetition
        torch.tensor([29, 30, 59, 60, 99, 0]),
        torch.arange(90, 100),
        torch.tensor([], dtype=torch.int64),
    ):
        for view in (0, 1):
            assert torch.equal(table(store.read(units, view)), whole[100 * view + units])


def test_its_size_is_what_lies_on_disk(store: TeacherStore) -> None:
    assert store.size == sum(path.stat().st_size for path in store.folder.glob("shard-*.bin"))
    assert store.bytes_per_unit == store.size / 200
    assert f"{store.bytes_per_unit:.1f} bytes a example" in str(store)
    assert len(store) == 100


def test_the_bias_of_top_k_is_stated(tmp_path: Path, identity: Any, answers: Any, logits: Tensor) -> None:
    for encoding in (TopK(5), Sampled(20)):
        write_store(tmp_path / encoding.kind, identity(), encoding, answers, shard_units=30)
    store = open_store(tmp_path / "top-k", identity())
    lost = 1 - (logits.double() / 2).softmax(-1).topk(5).values.sum(-1)
    assert store.lost_mass == pytest.approx((float(lost.mean()), float(lost.max())))
    assert f"biased: {float(lost.mean()):.3%} of the probability is lost" in str(store)
    unbiased = open_store(tmp_path / "sampled", identity())
    assert unbiased.lost_mass is None
    assert "biased" not in str(unbiased)


@pytest.mark.parametrize(
    ("field", "asked", "message"),
    [
        ("teacher", "cc" * 32, f"teacher is {'aa' * 32}, asked for {'cc' * 32}"),
        ("fingerprint", "dd" * 32, f"fingerprint is {'bb' * 32}, asked for {'dd' * 32}"),
        ("data", "other", r"data is set \(train\), asked for other"),
        ("units", 99, "units is 100, asked for 99"),
        ("classes", 31, "classes is 30, asked for 31"),
        ("unit", "token", "unit is example, asked for token"),
        ("view", "Augmented(pixels=1)", r"view is clean, asked for Augmented\(pixels=1\)"),
        ("seed", 1, "seed is 0, asked for 1"),
        ("views", 3, "views is 2, asked for 3"),
        ("temperature", 4.0, "temperature is 2.0, asked for 4.0"),
        ("temperature", None, "temperature is 2.0, asked for None"),
        ("precision", "bfloat16", "precision is float32, asked for bfloat16"),
    ],
)
def test_answers_to_something_else_are_refused_by_name(
    tmp_path: Path, identity: Any, answers: Any, field: str, asked: object, message: str
) -> None:
    write_store(tmp_path, identity(), Sampled(5), answers)
    with pytest.raises(InputError, match=message):
        open_store(tmp_path, identity(**{field: asked}))
    before = sorted(path.read_bytes() for path in tmp_path.iterdir())
    if field != "temperature" or asked is not None:  # without one it is refused for its encoding
        with pytest.raises(InputError, match=message):
            write_store(tmp_path, identity(**{field: asked}), Sampled(5), answers)
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == before


def test_several_differences_are_all_named(tmp_path: Path, identity: Any, answers: Any) -> None:
    write_store(tmp_path, identity(), Sampled(5), answers)
    with pytest.raises(InputError, match=r"teacher is .*; seed is 0, asked for 1; temperature is 2.0"):
        open_store(tmp_path, identity(teacher="cc", seed=1, temperature=1.0))


def test_raw_logits_serve_every_temperature_and_many_views_serve_few(
    tmp_path: Path, identity: Any, answers: Any
) -> None:
    write_store(tmp_path, identity(temperature=None), Dense(), answers)
    for temperature in (None, 1.0, 4.0):
        assert len(open_store(tmp_path, identity(temperature=temperature, views=1))) == 100


def test_units_and_views_that_are_not_there_are_refused(store: TeacherStore) -> None:
    for bad in (-1, 100):
        with pytest.raises(InputError, match=r"units must be 0\.\.99, found"):
            store.read(torch.tensor([0, bad]))
    for view in (-1, 2):
        with pytest.raises(InputError, match=rf"view must be 0\.\.1, found {view}"):
            store.read(torch.tensor([0]), view)


def test_threads_read_at_once(store: TeacherStore, encoding: Encoding, logits: Tensor) -> None:
    whole = expected(encoding, logits)
    orders = [torch.randperm(100, generator=torch.Generator().manual_seed(i)) for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        for order, found in zip(orders, pool.map(store.read, orders), strict=True):
            assert torch.equal(table(found), whole[order])


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_processes_read_at_once(
    tmp_path: Path, identity: Any, answers: Any, logits: Tensor, method: str, workers: int
) -> None:
    """A store goes to a worker as a path, not as its bytes."""
    write_store(tmp_path, identity(), TopK(30, "float32"), answers, shard_units=30)
    store = open_store(tmp_path, identity())
    assert set(store.__getstate__()) == {"folder", "manifest"}
    orders = [torch.tensor([99, 3, 30, 3]), torch.arange(100), torch.arange(100).flip(0)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        for order, job in [(order, pool.submit(store.read, order, 1)) for order in orders]:
            torch.testing.assert_close(table(job.result()), (logits[1, order] / 2).softmax(1))


def test_what_is_read_is_a_copy(store: TeacherStore, encoding: Encoding) -> None:
    before = [path.read_bytes() for path in sorted(store.folder.iterdir())]
    found = store.read(torch.arange(10))
    (found.logits if isinstance(found, DenseTargets) else found.probabilities).zero_()
    assert [path.read_bytes() for path in sorted(store.folder.iterdir())] == before
    assert bool(table(store.read(torch.arange(10))).any())


def test_targets_move(store: TeacherStore) -> None:
    found = store.read(torch.arange(3)).to("meta")
    moved = found.probabilities if isinstance(found, SparseTargets) else found.logits
    assert moved.device.type == "meta"


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, identity: Any) -> None:
    with pytest.raises(InputError, match=r"is not a store of answers \(no store.json\)"):
        open_store(tmp_path / "nowhere", identity())
