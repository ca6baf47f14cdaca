"""Damage: every way in which a store on disk can be wrong is noticed, named, and mended by writing again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.errors import InputError
from understudy.teachers import Sampled, TopK, open_store, write_store
from understudy.teachers.encoding import Encoding
from understudy.teachers.manifest import WHOLE

ALL = torch.arange(100)


def flip(path: Path, place: int) -> None:
    """Change one bit of one byte; from the end where `place` is negative."""
    raw = bytearray(path.read_bytes())
    raw[place] ^= 4
    path.write_bytes(bytes(raw))


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


@pytest.mark.parametrize("encoding", [TopK(5), Sampled(20)], ids=str)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: cut(p, 1), "is damaged: it has .* bytes instead of"),
        (lambda p: cut(p, 500), "is damaged: it has .* bytes instead of"),
        (lambda p: p.write_bytes(b""), "is damaged: its header"),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "is damaged: it has .* bytes instead of"),
        (lambda p: flip(p, -1), "is damaged: its SHA-256 differs"),
        (lambda p: flip(p, 400), "is damaged: its SHA-256 differs"),
        (lambda p: flip(p, 0), "is damaged: its header"),
        (lambda p: p.unlink(), "cannot read .*No such file"),
        (lambda p: p.write_bytes(p.with_name("shard-000002.bin").read_bytes()), "another store or place"),
    ],
)
def test_damage_is_noticed_and_only_that_shard_is_redone(
    tmp_path: Path,
    identity: Any,
    answers: Any,
    encoding: Encoding,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    write_store(tmp_path, identity(), encoding, answers, shard_units=30)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    damage(tmp_path / "shard-000001.bin")
    with pytest.raises(InputError, match=rf"shard-000001.bin.*{message}|{message}"):
        open_store(tmp_path, identity())
    answers.asked.clear()
    write_store(tmp_path, identity(), encoding, answers, shard_units=30)
    assert answers.asked == [(0, 30, 60)]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole
    assert len(open_store(tmp_path, identity()).read(ALL).indices) == 100  # type: ignore[union-attr]


def test_every_byte_of_a_shard_counts(tmp_path: Path, identity: Any, answers: Any) -> None:
    """Header, padding and content: no byte can change unnoticed, but for the spaces that fill the header."""
    write_store(tmp_path, identity(views=1, units=9), TopK(2), answers)
    path = tmp_path / "shard-000000.bin"
    whole = path.read_bytes()
    spaces = range(whole.index(b"}") + 1, whole.index(b"\n"))
    for place in range(len(whole)):
        flip(path, place)
        if place not in spaces:
            with pytest.raises(InputError, match="damaged"):
                open_store(tmp_path, identity(views=1, units=9))
        path.write_bytes(whole)


def test_without_verification_headers_and_sizes_are_still_checked(
    tmp_path: Path, identity: Any, answers: Any
) -> None:
    write_store(tmp_path, identity(), TopK(5), answers, shard_units=30)
    flip(tmp_path / "shard-000001.bin", -1)
    open_store(tmp_path, identity(), verify=False)
    cut(tmp_path / "shard-000001.bin", 1)
    with pytest.raises(InputError, match="bytes instead of"):
        open_store(tmp_path, identity(), verify=False)


def test_a_shard_of_another_store_is_refused(tmp_path: Path, identity: Any, answers: Any) -> None:
    """Whole in itself, but written for another temperature, or by another run of the same store."""
    for name, changes in (("a", {}), ("b", {"temperature": 3.0})):
        write_store(tmp_path / name, identity(**changes), TopK(5), answers, shard_units=30)
    write_store(tmp_path / "c", identity(), TopK(5), lambda *u: answers(*u) + 1, shard_units=30)
    for name, message in (("b", "another store or place"), ("c", "is not the shard the manifest names")):
        (tmp_path / "a" / "shard-000001.bin").write_bytes((tmp_path / name / "shard-000001.bin").read_bytes())
        with pytest.raises(InputError, match=message):
            open_store(tmp_path / "a", identity())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["identity"].update(temperature=3.0), "was changed after it was written"),
        (lambda c: c["identity"].update(teacher="cc"), "was changed after it was written"),
        (lambda c: c["encoding"].update(k=6), "was changed after it was written"),
        (lambda c: c["shards"].pop(), "was changed after it was written"),
        (lambda c: c.update(shard_units=0), "was changed after it was written"),
        (lambda c: c["shards"].clear(), "names no shards: write the store again"),
        (lambda c: c.update(shards=3), "is not the manifest of a store"),
        (lambda c: c.pop("key"), "is not the manifest of a store"),
        (lambda c: c.update(format=2), "must have format 1, found 2"),
        (lambda c: c["identity"].pop("data"), "does not say what it belongs to"),
        (lambda c: c["identity"].update(more=1), "does not say what it belongs to"),
        (lambda c: c["encoding"].update(kind="top-p"), "unknown encoding 'top-p': did you mean top-k"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(
    tmp_path: Path, identity: Any, answers: Any, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    write_store(tmp_path, identity(), TopK(5), answers)
    content = json.loads((tmp_path / WHOLE).read_text())
    change(content)
    (tmp_path / WHOLE).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        open_store(tmp_path, identity())


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, identity: Any, answers: Any, text: str) -> None:
    write_store(tmp_path, identity(), TopK(5), answers)
    (tmp_path / WHOLE).write_text(text)
    with pytest.raises(InputError, match=r"cannot read|is not the manifest"):
        open_store(tmp_path, identity())
