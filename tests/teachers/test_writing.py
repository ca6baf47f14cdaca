"""Writing: once, resumable after a kill at any point, and on a full disk nothing that looks complete."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.teachers import Dense, Sampled, TopK, open_store, write_store, writing
from understudy.teachers.manifest import UNDER_WAY, WHOLE

ALL = [(view, first, min(first + 30, 100)) for view in (0, 1) for first in (0, 30, 60, 90)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_asked_once_in_order_with_progress(tmp_path: Path, identity: Any, answers: Any) -> None:
    ticks: list[tuple[int, int]] = []
    write_store(tmp_path, identity(), Sampled(5), answers, shard_units=30, tick=lambda *t: ticks.append(t))
    assert answers.asked == ALL
    assert ticks == [(done, 200) for done in (30, 60, 90, 100, 130, 160, 190, 200)]
    write_store(tmp_path, identity(), Sampled(5), answers, shard_units=30, tick=lambda *t: ticks.append(t))
    assert (len(answers.asked), len(ticks)) == (8, 8)


@pytest.mark.parametrize("encoding", [TopK(5), Sampled(5), Sampled(5, 1.2)], ids=str)
def test_batches_and_shards_change_nothing_that_is_read(
    tmp_path: Path, identity: Any, answers: Any, encoding: TopK | Sampled
) -> None:
    found = []
    for name, sizes in (("a", {"batch": 1}), ("b", {"batch": 64, "shard_units": 7}), ("c", {})):
        write_store(tmp_path / name, identity(), encoding, answers, **sizes)  # type: ignore[arg-type]
        found.append(open_store(tmp_path / name, identity()).read(torch.arange(100), 1).dense())  # type: ignore[union-attr]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from understudy.teachers import Identity, Sampled, write_store

identity = Identity(
    teacher="aa" * 32, data="set (train)", fingerprint="bb" * 32, units=100, classes=30, views=2, temperature=2.0
)
logits = 3 * torch.randn(2, 100, 30, generator=torch.Generator().manual_seed(0))

def write_until_killed(folder, name, point):
    real, calls = getattr(os, name), [0]
    def stop(*arguments):
        if calls[0] == point:
            os.kill(os.getpid(), signal.SIGKILL)
        calls[0] += 1
        return real(*arguments)
    setattr(os, name, stop)
    write_store(Path(folder), identity, Sampled(5), lambda v, a, b: logits[v, a:b], shard_units=30)

for case in sys.argv[1:]:
    folder, name, point = case.split(":")
    child = os.fork()
    if child == 0:
        write_until_killed(folder, name, int(point))
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_a_kill_at_any_point_costs_at_most_one_shard(tmp_path: Path, identity: Any, answers: Any) -> None:
    """Killed with the plan, the first, fourth and last shard and the manifest written but not named yet."""
    write_store(tmp_path / "whole", identity(), Sampled(5), answers, shard_units=30)
    cases = [("fsync", 0), ("fsync", 1), ("replace", 4), ("fsync", 8), ("fsync", 9), ("replace", 9)]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED,
            *(f"{tmp_path / f'{name}-{point}'}:{name}:{point}" for name, point in cases),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=100,
    )
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(cases), done.stderr
    for name, point in cases:
        folder, shards = tmp_path / f"{name}-{point}", max(0, point - 1)
        assert len(list(folder.glob("shard-*.bin"))) == shards
        assert len(list(folder.glob(".*.partial"))) == 1
        with pytest.raises(InputError, match="is not a store" if point == 0 else "was never finished"):
            open_store(folder, identity())
        answers.asked.clear()
        write_store(folder, identity(), Sampled(5), answers, shard_units=30)
        assert answers.asked == ALL[shards:]
        assert contents(folder) == contents(tmp_path / "whole")


def test_a_shard_cut_short_by_a_crash_is_redone(tmp_path: Path, identity: Any, answers: Any) -> None:
    """A power cut may leave a renamed file without its content."""
    write_store(tmp_path, identity(), Sampled(5), answers, shard_units=30)
    whole = contents(tmp_path)
    (tmp_path / WHOLE).rename(tmp_path / UNDER_WAY)
    (tmp_path / "shard-000003.bin").write_bytes(whole["shard-000003.bin"][:100])
    (tmp_path / "shard-000005.bin").write_bytes(bytes(len(whole["shard-000005.bin"])))
    answers.asked.clear()
    write_store(tmp_path, identity(), Sampled(5), answers, shard_units=30)
    assert answers.asked == [ALL[3], ALL[5]]
    assert contents(tmp_path) == whole


def test_an_error_of_the_teacher_or_ctrl_c_keeps_what_was_written(
    tmp_path: Path, identity: Any, answers: Any
) -> None:
    def failing(view: int, first: int, stop: int) -> Tensor:
        if (view, first) == (0, 60):
            raise KeyboardInterrupt
        return answers(view, first, stop)

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path, identity(), Sampled(5), failing, shard_units=30)
    assert not (tmp_path / WHOLE).exists()
    write_store(tmp_path, identity(), Sampled(5), answers, shard_units=30)
    assert answers.asked == ALL


def check_write_until_full(folder: Path, identity: Any, answers: Any) -> None:
    with pytest.raises(InputError, match=r"shard-000002.bin: .*the same call goes on from them"):
        write_store(folder, identity(), Sampled(5), answers, shard_units=30)
    assert sorted(contents(folder)) == ["shard-000000.bin", "shard-000001.bin", UNDER_WAY]
    with pytest.raises(InputError, match="was never finished"):
        open_store(folder, identity())


def check_it_goes_on(folder: Path, identity: Any, answers: Any) -> None:
    write_store(folder, identity(), Sampled(5), answers, shard_units=30)
    assert answers.asked == [*ALL[:3], *ALL[2:]]
    assert len(open_store(folder, identity())) == 100


def test_a_full_disk_leaves_nothing_that_looks_complete(
    tmp_path: Path, identity: Any, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        check_write_until_full(tmp_path, identity, answers)
    check_it_goes_on(tmp_path, identity, answers)


def test_a_limit_of_the_system_on_files_is_met_in_the_same_way(
    tmp_path: Path, identity: Any, answers: Any
) -> None:
    """The kernel itself cuts the third shard's write short: its logits are spread wider, so it is larger."""

    def wider(view: int, first: int, stop: int) -> Tensor:
        said = answers(view, first, stop)
        return said if (view, first) != (0, 60) else said.expand(30, 30) * 1e-3

    probe = tmp_path / "probe"
    write_store(probe, identity(), Sampled(5), wider, shard_units=30)
    sizes = [path.stat().st_size for path in sorted(probe.glob("shard-*.bin"))]
    limit = max(sizes[0], sizes[1]) + 1
    assert sizes[2] > limit
    answers.asked.clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(InputError, match=r"shard-000002.bin: File too large; .*the same call goes on"):
            write_store(tmp_path / "store", identity(), Sampled(5), wider, shard_units=30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(contents(tmp_path / "store")) == ["shard-000000.bin", "shard-000001.bin", UNDER_WAY]
    write_store(tmp_path / "store", identity(), Sampled(5), wider, shard_units=30)
    assert contents(tmp_path / "store") == contents(probe)


def test_too_little_room_is_noticed_before_the_teacher_is_asked(
    tmp_path: Path, identity: Any, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 200 * 30 * 2 - 1

    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(InputError, match=r"need 12,000 bytes, and the disk of .* has 11,999"):
        write_store(tmp_path, identity(temperature=None), Dense(), answers)
    assert answers.asked == []
    Usage.free += 1
    write_store(tmp_path, identity(temperature=None), Dense(), answers)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda v, a, b: torch.zeros(b - a, 29),
            r"units 0\.\.99 of view 0 must be floats of shape \(100, 30\)",
        ),
        (lambda v, a, b: torch.zeros(b - a - 1, 30), r"found torch.float32 of shape \(99, 30\)"),
        (lambda v, a, b: torch.zeros(b - a, 30, dtype=torch.int64), "found torch.int64"),
        (
            lambda v, a, b: torch.full((b - a, 30), float("nan")),
            r"units 0\.\.99 of view 0 hold NaN or infinity",
        ),
        (lambda v, a, b: torch.full((b - a, 30), float("inf")), "hold NaN or infinity"),
    ],
)
def test_answers_that_are_none_are_refused(
    tmp_path: Path, identity: Any, answer: Callable[[int, int, int], Tensor], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_store(tmp_path, identity(), Sampled(5), answer)
    assert sorted(contents(tmp_path)) == [UNDER_WAY]


@pytest.mark.parametrize(
    ("encoding", "changes", "options", "message"),
    [
        (Dense(), {}, {}, "needs temperature=None: it keeps raw logits, found 2.0"),
        (TopK(5), {"temperature": None}, {}, "needs a temperature, found None"),
        (TopK(31), {}, {}, "k must be at most the number of classes, 30, found 31"),
        (TopK(5), {}, {"batch": 0}, "batch must be 1 or more, found 0"),
        (TopK(5), {}, {"shard_units": 0}, "shard_units must be 1 or more, found 0"),
    ],
)
def test_bad_arguments_leave_no_folder(
    tmp_path: Path, identity: Any, answers: Any, encoding: Any, changes: Any, options: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_store(tmp_path / "new", identity(**changes), encoding, answers, **options)
    assert not (tmp_path / "new").exists()


def test_a_store_of_another_layout_is_not_continued(tmp_path: Path, identity: Any, answers: Any) -> None:
    write_store(tmp_path, identity(), Sampled(5), answers, shard_units=30)
    whole = contents(tmp_path)
    for encoding, changes, units, message in (
        (Sampled(6), {}, 30, r"begun with encoding Sampled\(draws=5.*asked for Sampled\(draws=6"),
        (TopK(5), {}, 30, "begun with encoding Sampled.* asked for TopK"),
        (Sampled(5), {}, 31, "begun with shard_units 30, asked for 31"),
        (Sampled(5), {"views": 1}, 30, "begun with identity"),
    ):
        with pytest.raises(InputError, match=message):
            write_store(tmp_path, identity(**changes), encoding, answers, shard_units=units)
    assert contents(tmp_path) == whole


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, identity: Any, answers: Any) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"must be empty or a store, found thesis.txt"):
        write_store(tmp_path, identity(), TopK(5), answers)
    with pytest.raises(InputError, match=r"cannot hold a store: (File exists|Not a directory)"):
        write_store(tmp_path / "thesis.txt", identity(), TopK(5), answers)
    (tmp_path / ".thesis.txt.partial").write_text("mine too")
    with pytest.raises(InputError, match="must be empty or a store"):
        write_store(tmp_path, identity(), TopK(5), answers)
    assert contents(tmp_path) == {"thesis.txt": b"mine", ".thesis.txt.partial": b"mine too"}


@pytest.mark.parametrize("field", ["units", "classes", "views"])
def test_an_identity_of_nothing_is_refused(identity: Any, field: str) -> None:
    with pytest.raises(InputError, match=f"{field} must be 1 or more, found 0"):
        identity(**{field: 0})
    with pytest.raises(InputError, match="temperature must be a finite number above 0"):
        identity(temperature=0.0)
