"""`Manifest`: the one file that makes a folder of shards a store; it is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from understudy.errors import InputError, unknown
from understudy.models.saved import write_atomically
from understudy.teachers.encoding import Dense, Encoding
from understudy.teachers.identity import Identity, digest, identity_from, plain
from understudy.teachers.sparse import Sampled, TopK

FORMAT = 1
WHOLE, UNDER_WAY = "store.json", "writing.json"
ENCODINGS: Mapping[str, type[Encoding]] = {kind.kind: kind for kind in (Dense, TopK, Sampled)}


@dataclass(frozen=True)
class Manifest:
    """What a store holds and how it is laid out. A shard never holds units of two views.

    Attributes:
        identity: what it belongs to.
        encoding: how units are written.
        shard_units: units of a shard; the last of each view may have fewer.
        shards: SHA-256 of each shard, in order; empty while the store is being written.
    """

    identity: Identity
    encoding: Encoding
    shard_units: int
    shards: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """SHA-256 of all but the shards: each shard carries it."""
        return digest([FORMAT, plain(self.identity), self.encoding.describe(), self.shard_units])

    @property
    def per_view(self) -> int:
        """Shards of one view."""
        return -(-self.identity.units // self.shard_units)

    @property
    def count(self) -> int:
        """Shards in all."""
        return self.per_view * self.identity.views

    def span(self, shard: int) -> tuple[int, int, int]:
        """(view, first unit, unit after the last) of a shard."""
        view, part = divmod(shard, self.per_view)
        first = part * self.shard_units
        return view, first, min(first + self.shard_units, self.identity.units)

    def file(self, folder: Path, shard: int) -> Path:
        """Where a shard lies."""
        return folder / f"shard-{shard:06d}.bin"

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all. Raises InputError if the system refuses."""
        content = {
            "format": FORMAT,
            "key": self.key,
            "identity": plain(self.identity),
            "encoding": self.encoding.describe(),
            "shard_units": self.shard_units,
            "shards": list(self.shards),
        }
        write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())

    def with_shards(self, shards: tuple[str, ...]) -> Manifest:
        """The same with the shards' SHA-256."""
        return replace(self, shards=shards)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        InputError: it cannot be read, is not a manifest of this format, or was changed since it was written.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    try:
        if content["format"] != FORMAT:
            raise InputError(f"{path} must have format {FORMAT}, found {content['format']}")
        encoding = _encoding(content["encoding"])
        identity = identity_from(content["identity"], str(path))
        found = Manifest(identity, encoding, content["shard_units"], tuple(content["shards"]))
        damaged = found.key != content["key"] or len(found.shards) not in (0, found.count)
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{path} is not the manifest of a store: {error!r}") from error
    if damaged:
        raise InputError(f"{path} was changed after it was written: its SHA-256 or number of shards differs")
    return found


def _encoding(values: Mapping[str, Any]) -> Encoding:
    values = dict(values)
    kind = values.pop("kind")
    if kind not in ENCODINGS:
        raise unknown("encoding", str(kind), ENCODINGS)
    return ENCODINGS[kind](**values)
