"""`TeacherStore`: a teacher's answers read from memory-mapped shards, by unit, for whom they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from understudy.errors import InputError
from understudy.teachers.identity import Identity
from understudy.teachers.manifest import UNDER_WAY, WHOLE, Manifest, read_manifest
from understudy.teachers.shards import Shard, open_shard
from understudy.teachers.targets import Targets


class TeacherStore:
    """Answers by unit and view. Made by `open_store`.

    It holds no file open and nothing is ever written, so any number of threads and processes may read at once; sent
    to another process (a loader's worker) it travels as a path and maps the shards anew.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, verify: bool) -> None:
        self.folder, self.manifest = folder.absolute(), manifest
        self._shards = [self._open(number, verify) for number in range(manifest.count)]

    def _open(self, number: int, verify: bool) -> Shard:
        shard = open_shard(self.folder, self.manifest, number, verify=verify)
        if shard.sha256 != self.manifest.shards[number]:
            raise InputError(f"{self.manifest.file(self.folder, number)} is not the shard the manifest names")
        return shard

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], state["manifest"], verify=False)  # type: ignore[misc]

    def __len__(self) -> int:
        """Units of one view."""
        return self.identity.units

    @property
    def identity(self) -> Identity:
        """What the answers belong to."""
        return self.manifest.identity

    def read(self, units: Int[Tensor, " b"], view: int = 0) -> Targets:
        """What the teacher said of `units` (B,) in a view: `DenseTargets` or `SparseTargets`, on the CPU.

        Raises:
            InputError: a unit or a view that is not there.
        """
        manifest = self.manifest
        if not 0 <= view < self.identity.views:
            raise InputError(f"view must be 0..{self.identity.views - 1}, found {view}")
        rows = units.detach().cpu().numpy().astype(np.int64, copy=False)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise InputError(f"units must be 0..{len(self) - 1}, found {rows.min()}..{rows.max()}")
        part, local = np.divmod(rows, manifest.shard_units)
        first = view * manifest.per_view
        if len(rows) == 0 or bool((part == part[0]).all()):
            at = first + (int(part[0]) if len(rows) else 0)
            entries, lengths = self._shards[at].gather(local)
        else:
            entries, lengths = self._gather(first + part, local)
        return manifest.encoding.decode(entries, lengths, self.identity.classes)

    def _gather(self, shard: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Entries out of several shards: gathered shard by shard, then put into the order asked for."""
        order = np.argsort(shard, kind="stable")
        numbers, starts = np.unique(shard[order], return_index=True)
        groups = np.split(order, starts[1:])
        found = [self._shards[int(n)].gather(local[g]) for n, g in zip(numbers, groups, strict=True)]
        entries = np.concatenate([entries for entries, _ in found])
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        if not self.manifest.encoding.varied:
            return entries[back], None
        sorted_lengths = np.concatenate([lengths for _, lengths in found if lengths is not None])
        lengths = sorted_lengths[back]
        begin = (np.cumsum(sorted_lengths) - sorted_lengths)[back]
        at = np.arange(int(lengths.sum())) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
        return entries[at], lengths

    @property
    def size(self) -> int:
        """Bytes of all shards, headers included."""
        return sum(shard.size for shard in self._shards)

    @property
    def bytes_per_unit(self) -> float:
        """Bytes a unit and view takes on disk."""
        return self.size / (len(self) * self.identity.views)

    @property
    def lost_mass(self) -> tuple[float, float] | None:
        """(mean, most) probability that top-k left out, in [0, 1]; None where nothing was left out.

        A student that fits such targets best ends at an L1 distance of twice that from the teacher.
        """
        spans = [self.manifest.span(number) for number in range(self.manifest.count)]
        found = [(s.lost, stop - first) for s, (_, first, stop) in zip(self._shards, spans, strict=True)]
        known = [(lost, units) for lost, units in found if lost is not None]
        if not known:
            return None
        mean = sum(lost[0] * units for lost, units in known) / sum(units for _, units in known)
        return mean, max(lost[1] for lost, _ in known)

    def __str__(self) -> str:
        one = self.identity
        lost = self.lost_mass
        biased = (
            "" if lost is None else f", biased: {lost[0]:.3%} of the probability is lost (most {lost[1]:.3%})"
        )
        temperature = "any temperature" if one.temperature is None else f"T = {one.temperature:g}"
        return (
            f"{one.units:,} {one.unit}s of {one.data}, {one.views} x {one.view}, {temperature}, "
            f"{self.manifest.encoding}, {self.bytes_per_unit:.1f} bytes a {one.unit}{biased}"
        )


def open_store(folder: str | Path, identity: Identity, *, verify: bool = True) -> TeacherStore:
    """The store in a folder, if it holds what `identity` asks for.

    Args:
        verify: whether every byte is held against its SHA-256 (about a second a gigabyte); headers and sizes always
            are.

    Raises:
        InputError: there is no finished store; it belongs to something else (each field that differs is named); a
            shard is missing, cut short or damaged.
    """
    folder = Path(folder)
    if not (folder / WHOLE).is_file():
        half = (folder / UNDER_WAY).is_file()
        why = "was never finished: write it again, which resumes" if half else "is not a store of answers"
        raise InputError(f"{folder} {why} (no {WHOLE})")
    manifest = read_manifest(folder / WHOLE)
    if not manifest.shards:
        raise InputError(f"{folder / WHOLE} names no shards: write the store again")
    identity.refuse_unless_served_by(manifest.identity, str(folder))
    return TeacherStore(folder, manifest, verify=verify)
