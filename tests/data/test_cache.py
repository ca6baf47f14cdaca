from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from understudy.data.cache import FORMAT, STALE, cache_folder, cached, content_key
from understudy.data.decoded import Decoded

KEY = "0123456789abcdef" * 4


class Builder:
    """Counts how often it was asked."""

    def __init__(self, count: int = 20, labelled: bool = True) -> None:
        self.made = Decoded(
            np.random.default_rng(0).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8),
            np.arange(count, dtype=np.int64) % 3 if labelled else None,
            ("a", "b", "c") if labelled else None,
        )
        self.calls = 0

    def __call__(self) -> Decoded:
        self.calls += 1
        return self.made


def _entry(root: Path) -> Path:
    return root / "data" / f"v{FORMAT}-{KEY[:40]}"


def _same(found: Decoded, made: Decoded) -> bool:
    labels = (found.labels is None) == (made.labels is None)
    if found.labels is not None and made.labels is not None:
        labels = bool((found.labels == made.labels).all())
    return bool((found.inputs == made.inputs).all()) and labels and found.class_names == made.class_names


@pytest.mark.parametrize("labelled", [True, False])
def test_built_once_then_memory_mapped(tmp_path: Path, labelled: bool) -> None:
    build = Builder(labelled=labelled)
    for _ in range(3):
        found = cached(KEY, build, tmp_path)
        assert isinstance(found.inputs, np.memmap)
        assert _same(found, build.made)
    assert build.calls == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == [_entry(tmp_path).name]


def test_writing_to_what_was_read_does_not_reach_the_file(tmp_path: Path) -> None:
    build = Builder()
    cached(KEY, build, tmp_path).inputs[:] = 0
    assert _same(cached(KEY, build, tmp_path), build.made)
    assert build.calls == 1


def _cut(entry: Path) -> None:
    with (entry / "inputs.npy").open("r+b") as file:
        file.truncate(200)


def _flip_a_bit(entry: Path) -> None:
    with (entry / "inputs.npy").open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte[0] ^ 4]))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip_a_bit,
        lambda entry: (entry / "labels.npy").unlink(),
        lambda entry: (entry / "entry.json").unlink(),
        lambda entry: (entry / "entry.json").write_text('{"arrays": '),
        lambda entry: (entry / "entry.json").write_text("[]"),
        lambda entry: (entry / "entry.json").write_text('{"arrays": {}, "class_names": null}'),
    ],
)
def test_a_damaged_entry_is_noticed_and_built_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    build = Builder()
    cached(KEY, build, tmp_path)
    damage(_entry(tmp_path))
    assert _same(cached(KEY, build, tmp_path), build.made)
    assert build.calls == 2
    assert _same(cached(KEY, build, tmp_path), build.made)
    assert build.calls == 2
    assert [path.name for path in (tmp_path / "data").iterdir()] == [_entry(tmp_path).name]


def test_several_at_once_agree(tmp_path: Path) -> None:
    """All miss, all build, all write: one entry stays, and everybody has the data."""
    barrier = threading.Barrier(6)
    build = Builder(2000)
    found: list[Decoded] = []

    def slow() -> Decoded:
        barrier.wait(10)
        return build.made

    def work() -> None:
        found.append(cached(KEY, slow, tmp_path))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(_same(one, build.made) for one in found)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [_entry(tmp_path).name]


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from understudy.data import cache
from understudy.data.decoded import Decoded
save = np.save
def half(file, array, **options):
    save(file, array, **options)
    print("half written", flush=True)
    time.sleep(60)
np.save = half
made = Decoded(np.zeros((20, 1, 4, 4), np.uint8), np.zeros(20, np.int64), None)
cache.cached(sys.argv[1], lambda: made, Path(sys.argv[2]))
"""


def test_killed_in_the_middle_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, KEY, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout is not None
        assert b"half written" in process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    left = list((tmp_path / "data").iterdir())
    assert len(left) == 1
    assert left[0].name.startswith(".making-")
    build = Builder()
    assert _same(cached(KEY, build, tmp_path), build.made)
    assert build.calls == 1
    assert left[0].exists()  # it might belong to a process that is still at work
    os.utime(left[0], (time.time() - 2 * STALE,) * 2)
    (_entry(tmp_path) / "entry.json").unlink()
    cached(KEY, build, tmp_path)
    assert not left[0].exists()


def test_a_full_disk_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    build = Builder()
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.warns(UserWarning, match=r"No space left.*UNDERSTUDY_CACHE"):
            assert _same(cached(KEY, build, tmp_path), build.made)
    assert list((tmp_path / "data").iterdir()) == []
    assert _same(cached(KEY, build, tmp_path), build.made)


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    build = Builder()
    with pytest.warns(UserWarning, match="could not be kept"):
        assert _same(cached(KEY, build, tmp_path / "file"), build.made)


def test_an_error_while_decoding_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Decoded:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        cached(KEY, fail, tmp_path)
    assert not (tmp_path / "data").exists()


def test_key_is_of_contents_and_their_order(tmp_path: Path) -> None:
    one, two, copy = tmp_path / "one", tmp_path / "two", tmp_path / "elsewhere"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    copy.write_bytes(b"1")
    assert content_key([one, two]) == content_key([copy, two])
    keys = [
        content_key(parts) for parts in ([one, two], [two, one], [one], ["1"], ["1", "2"], ["12"], [b"12"])
    ]
    assert len(set(keys)) == 6
    assert keys[-1] == keys[-2]


def test_the_folder_is_the_argument_then_the_variable_then_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "variable"))
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder() == tmp_path / "variable"
    monkeypatch.delenv("UNDERSTUDY_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "understudy"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "understudy"
