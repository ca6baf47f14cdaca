"""The cache of decoded data sets: memory-mapped arrays in a folder named by the content they came from.

An entry is written aside and renamed into place, so it is there whole or not at all; it carries the SHA-256
of its arrays, so a damaged one is noticed and built again. Two processes may build the same entry at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from understudy.data.decoded import Decoded

FORMAT = 1  # counts up when the arrays of an entry would come out differently from the same source
STALE = 24 * 3600  # seconds after which a half-written entry must belong to a process that died
ABOUT = "entry.json"


def cache_folder(folder: Path | None = None) -> Path:
    """Where decoded sets are kept: `folder`, else UNDERSTUDY_CACHE, else the platform's cache folder."""
    if folder is not None:
        return folder.expanduser()
    if os.environ.get("UNDERSTUDY_CACHE"):
        return Path(os.environ["UNDERSTUDY_CACHE"]).expanduser()
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        base = Path(os.environ["LOCALAPPDATA"])
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "understudy"


def content_key(parts: Iterable[Path | str | bytes]) -> str:
    """SHA-256 over files (their bytes, not their names), texts and bytes, in order."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            whole.update(b"file" + _digest(part))
        else:
            data = part.encode() if isinstance(part, str) else part
            whole.update(b"data" + hashlib.sha256(data).digest())
    return whole.hexdigest()


def cached(key: str, build: Callable[[], Decoded], folder: Path | None = None) -> Decoded:
    """The entry of `key`, memory-mapped; built and kept if it is not there or is damaged.

    A cache that cannot be written stops nobody: it warns, and the set stays in memory.
    """
    root = cache_folder(folder) / "data"
    place = root / f"v{FORMAT}-{key[:40]}"
    found = _read(place)
    if found is not None:
        return found
    made = build()
    try:
        _write(made, place)
    except OSError as error:
        warnings.warn(
            f"the decoded data could not be kept in {root} ({error}); it stays in memory and is decoded "
            "again next time. Set UNDERSTUDY_CACHE to a folder that can be written."
        )
        return made
    return _read(place) or made


def _digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _read(place: Path) -> Decoded | None:
    """An entry that is there and whole, else None."""
    try:
        about = json.loads((place / ABOUT).read_text())
        arrays: dict[str, np.ndarray] = {}
        for name, digest in about["arrays"].items():
            file = place / f"{name}.npy"
            if _digest(file).hex() != digest:
                return None
            # copy on write: PyTorch wants memory it may write to, and the file must never change
            arrays[name] = np.load(file, mmap_mode="c", allow_pickle=False)
        names = about["class_names"]
        return Decoded(arrays["inputs"], arrays.get("labels"), None if names is None else tuple(names))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: the caller builds it again


def _write(made: Decoded, place: Path) -> None:
    """Write an entry aside and rename it into place; whoever comes second leaves the first one's."""
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place.parent)
    aside = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    try:
        arrays = {"inputs": made.inputs} | ({} if made.labels is None else {"labels": made.labels})
        digests = {}
        for name, array in arrays.items():
            np.save(aside / f"{name}.npy", array, allow_pickle=False)
            digests[name] = _digest(aside / f"{name}.npy").hex()
        about = {"arrays": digests, "class_names": made.class_names}
        (aside / ABOUT).write_text(json.dumps(about))
        if place.exists() and _read(place) is None:
            # a damaged entry: moved away first, so that nobody sees it half deleted
            damaged = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
            os.replace(place, damaged / "damaged")
            shutil.rmtree(damaged, ignore_errors=True)
        try:
            os.rename(aside, place)
        except OSError:
            if _read(place) is None:
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what processes that were killed left half written."""
    for left in root.glob(".making-*"):
        try:
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue  # its own process has just finished with it
