"""`write_store`: a teacher's answers, asked for once and kept; a kill at any point costs at most one shard."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.teachers.encoding import Encoded, Encoding
from understudy.teachers.identity import Identity
from understudy.teachers.manifest import UNDER_WAY, WHOLE, Manifest, read_manifest
from understudy.teachers.shards import open_shard, write_shard

SHARD_BYTES = 64 * 2**20
Answer = Callable[[int, int, int], Tensor]  # view, first unit, unit after the last -> logits (N, C)
Tick = Callable[[int, int], None]  # units done, units in all


def write_store(
    folder: str | Path,
    identity: Identity,
    encoding: Encoding,
    answer: Answer,
    *,
    batch: int = 256,
    shard_units: int | None = None,
    tick: Tick | None = None,
) -> None:
    """Ask for every unit's logits in every view and keep them. Resumes what was begun; does nothing if it is whole.

    Shards that are there and whole are kept, all others are written. The folder becomes a store with the last
    file, its manifest. One writer at a time: a second one at the same folder stops the first with an error.

    Args:
        answer: gives logits (stop - first, C) of one view's units; called with at most `batch` units.
        shard_units: units a shard; as many as fit 64 MiB if None.
        tick: told of progress after every batch.

    Raises:
        InputError: the folder holds answers of another identity, encoding or layout (each difference is named);
            logits of another shape or that are not finite; the disk is full or refuses.
    """
    folder = Path(folder)
    if encoding.tempered == (identity.temperature is None):
        need = "a temperature" if encoding.tempered else "temperature=None: it keeps raw logits"
        raise InputError(f"the encoding {encoding} needs {need}, found {identity.temperature}")
    if batch < 1:
        raise InputError(f"batch must be 1 or more, found {batch}")
    units = shard_units if shard_units is not None else SHARD_BYTES // encoding.most(identity.classes)
    if shard_units is not None and shard_units < 1:
        raise InputError(f"shard_units must be 1 or more, found {shard_units}")
    manifest = _begin(folder, Manifest(identity, encoding, max(1, min(units, identity.units))))
    kept = [_is_whole(folder, manifest, shard) for shard in range(manifest.count)]
    if (folder / WHOLE).exists():
        if all(kept):
            (folder / UNDER_WAY).unlink(missing_ok=True)
            return
        _moved(folder / WHOLE, folder / UNDER_WAY)
    missing = [(shard, *manifest.span(shard)) for shard, there in enumerate(kept) if not there]
    total = identity.units * identity.views
    done = total - sum(end - start for _, _, start, end in missing)
    _need_room(folder, manifest, total - done)
    for shard, view, start, end in missing:
        parts = []
        for first in range(start, end, batch):
            stop = min(first + batch, end)
            parts.append(_encoded(manifest, answer(view, first, stop), view, first, stop))
            done += stop - first
            if tick is not None:
                tick(done, total)
        try:
            write_shard(folder, manifest, shard, parts)
        except InputError as error:
            raise InputError(
                f"{error}; the shards written so far are kept, and the same call goes on from them"
            ) from error
    digests = tuple(open_shard(folder, manifest, i, verify=False).sha256 for i in range(manifest.count))
    manifest.with_shards(digests).save(folder / WHOLE)
    (folder / UNDER_WAY).unlink(missing_ok=True)


def _begin(folder: Path, manifest: Manifest) -> Manifest:
    """Make the folder say what is being written there, or refuse one that says something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("shard-*.bin", WHOLE, UNDER_WAY):
            for left in folder.glob(f".{name}.*.partial"):  # of a writer that was killed
                left.unlink(missing_ok=True)
        others = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot hold a store: {error.strerror or error}") from error
    for name in (WHOLE, UNDER_WAY):
        if name in others:
            found = read_manifest(folder / name)
            manifest.identity.refuse_unless_served_by(found.identity, str(folder))
            for what in ("encoding", "shard_units", "identity"):
                if (there := getattr(found, what)) != (asked := getattr(manifest, what)):
                    raise InputError(f"{folder} has been begun with {what} {there}, asked for {asked}")
            return manifest
    if others:
        raise InputError(f"{folder} must be empty or a store, found {', '.join(others[:3])}")
    manifest.save(folder / UNDER_WAY)
    return manifest


def _is_whole(folder: Path, manifest: Manifest, shard: int) -> bool:
    if not manifest.file(folder, shard).exists():
        return False
    try:
        open_shard(folder, manifest, shard, verify=True)
    except InputError:
        return False  # half written, or damaged since: it is written again
    return True


def _moved(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise InputError(f"cannot rename {source}: {error.strerror or error}") from error


def _need_room(folder: Path, manifest: Manifest, units: int) -> None:
    """Refuse before the teacher is asked, where the size is known: it varies with sampling."""
    need = units * manifest.encoding.width(manifest.identity.classes)
    free = shutil.disk_usage(folder).free
    if not manifest.encoding.varied and need > free:
        raise InputError(f"the teacher's answers need {need:,} bytes, and the disk of {folder} has {free:,}")


def _encoded(manifest: Manifest, logits: Tensor, view: int, first: int, stop: int) -> Encoded:
    identity = manifest.identity
    where = f"units {first}..{stop - 1} of view {view}"
    if logits.shape != (stop - first, identity.classes) or not logits.is_floating_point():
        raise InputError(
            f"the teacher's logits for {where} must be floats of shape ({stop - first}, {identity.classes}), "
            f"found {logits.dtype} of shape {tuple(logits.shape)}"
        )
    if not bool(torch.isfinite(logits).all()):
        raise InputError(f"the teacher's logits for {where} hold NaN or infinity")
    rows = view * identity.units + np.arange(first, stop)
    return manifest.encoding.encode(logits, identity.temperature or 1.0, rows)
