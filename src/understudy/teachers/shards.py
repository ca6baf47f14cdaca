"""One shard: a line of JSON, then plain little-endian bytes, written aside and renamed into place.

The line (padded with spaces to a multiple of 64 bytes) names the store and says which units follow, how many bytes
they take and the SHA-256 of the rest of the line and of those bytes. Where units vary in length, uint32 places where
each one's entries begin (N + 1 of them) precede the entries.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from understudy.errors import InputError
from understudy.models.saved import write_atomically
from understudy.teachers.encoding import Encoded
from understudy.teachers.identity import digest
from understudy.teachers.manifest import Manifest

_ALIGN = 64
_LONGEST = 4096  # bytes of a header
_PLACE = np.dtype("<u4")


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard on disk, mapped into memory and read where it is touched.

    Attributes:
        entries: (M, width) bytes.
        starts: (N + 1,) first entry of each unit, or None if each unit has one.
        sha256: of header and bytes.
        size: bytes of the file.
        lost: (mean, most) probability left out, or None if nothing is.
    """

    entries: UInt8[np.ndarray, "m w"]
    starts: np.ndarray | None
    sha256: str
    size: int
    lost: tuple[float, float] | None

    def gather(
        self, rows: Int64[np.ndarray, " b"]
    ) -> tuple[UInt8[np.ndarray, "m w"], Int64[np.ndarray, " b"] | None]:
        """Copies of the entries of `rows`, in their order, and how many each has (None: one)."""
        if self.starts is None:
            return self.entries.take(rows, axis=0), None
        first = self.starts[rows].astype(np.int64)
        lengths = self.starts[rows + 1] - first
        before = np.cumsum(lengths) - lengths
        at = np.arange(int(lengths.sum())) + np.repeat(first - before, lengths)
        return self.entries.take(at, axis=0), lengths


def write_shard(folder: Path, manifest: Manifest, number: int, parts: list[Encoded]) -> None:
    """Write the units of shard `number`, whole or not at all.

    Raises:
        InputError: the system refuses, the disk being full for instance; nothing is left of the shard.
    """
    chunks = [np.ascontiguousarray(part.entries).data for part in parts]
    if manifest.encoding.varied:
        lengths = np.concatenate([part.lengths for part in parts if part.lengths is not None])
        ends = np.concatenate((np.zeros(1, np.int64), lengths.cumsum()))
        if ends[-1] > np.iinfo(_PLACE).max:
            raise InputError(f"a shard of {len(lengths)} units has too many entries: use fewer shard_units")
        chunks.insert(0, ends.astype(_PLACE).data)
    lost = [part.lost for part in parts if part.lost is not None]
    payload = b"".join(chunks)
    _, first, stop = manifest.span(number)
    header: dict[str, Any] = {
        "store": manifest.key,
        "shard": number,
        "units": [first, stop],
        "bytes": len(payload),
        "lost": [float(np.concatenate(lost).mean()), float(np.concatenate(lost).max())] if lost else None,
    }
    text = json.dumps({**header, "sha256": _sha256(header, payload)}, sort_keys=True)
    room = -(-(len(text) + 1) // _ALIGN) * _ALIGN - 1
    write_atomically(manifest.file(folder, number), text.ljust(room).encode() + b"\n" + payload)


def open_shard(folder: Path, manifest: Manifest, number: int, *, verify: bool) -> Shard:
    """Shard `number`, its header and size checked, with `verify` also every byte.

    Raises:
        InputError: it is missing, cut short, damaged, or of another store.
    """
    path = manifest.file(folder, number)
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST)
            size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        header = json.loads(line)
        claimed = header.pop("sha256")
        header_says = (header["store"], header["shard"], header["units"])
        length, lost = header["bytes"], header["lost"]
        whole = len(line) + length
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "its header is not what was written") from error
    if header_says != (manifest.key, number, list(manifest.span(number)[1:])):
        raise _damaged(path, "it belongs to another store or place")
    if size != whole:
        raise _damaged(path, f"it has {size} bytes instead of {whole}")
    content = np.memmap(path, np.uint8, "r", offset=len(line), shape=(length,)).view(np.ndarray)
    if verify and _sha256(header, content.data) != claimed:
        raise _damaged(path, "its SHA-256 differs")
    _, first, stop = manifest.span(number)
    width = manifest.encoding.width(manifest.identity.classes)
    cut = (stop - first + 1) * _PLACE.itemsize if manifest.encoding.varied else 0
    if length < cut or (length - cut) % width or (not cut and length != (stop - first) * width):
        raise _damaged(path, f"{length} bytes do not hold its units")
    starts = content[:cut].view(_PLACE) if cut else None
    entries = content[cut:].reshape(-1, width)
    return Shard(entries, starts, claimed, size, None if lost is None else (lost[0], lost[1]))


def _sha256(header: dict[str, Any], payload: bytes | memoryview) -> str:
    whole = hashlib.sha256(digest(header).encode())
    whole.update(payload)
    return whole.hexdigest()


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged: {what}; write the store again, which redoes only such shards")
