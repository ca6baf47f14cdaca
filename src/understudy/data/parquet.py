"""Parquet files laid out as on the Hugging Face hub: `{split}-00000-of-00001.parquet`, images and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.data.cache import cached, content_key
from understudy.data.columns import decode_columns, encoded_images, pick
from understudy.data.decoded import Decoded, Progress
from understudy.errors import InputError

SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")


def splits_in(folder: Path) -> dict[str, list[Path]]:
    """Split -> its parquet files in order. Looked for in the folder, its `data/`, and one folder a split.

    A folder whose files name no split ("part-0.parquet") is one split, "train".
    """
    found: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        unnamed: list[Path] = []
        for file in sorted(place.glob("*.parquet")):
            split = split_of(file)
            (unnamed if split is None else found.setdefault(split, [])).append(file)
        if unnamed and not found:
            found["train"] = unnamed
        if found:
            return found
    for inner in sorted(path for path in folder.glob("*") if path.is_dir()):
        files = sorted(inner.glob("*.parquet"))
        if files:
            found[inner.name] = files
    return found


def split_of(file: Path) -> str | None:
    """The split a file name speaks of: "test" for test.parquet and test-00000-of-00001.parquet, else None."""
    shard = SHARD.match(file.stem)
    if shard is not None:
        return shard["split"]
    first = re.split(r"[-_.]", file.stem)[0]
    return first if first in ("train", "test", "validation", "valid", "val") else None


def load_parquet(
    files: Sequence[Path],
    name: str,
    class_names: tuple[str, ...] | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """The examples of one split, files in order; decoded once, then memory-mapped from the cache.

    Args:
        files: the split's parquet files.
        class_names: names that are known already; else those in the files' own description, if any.

    Raises:
        InputError: a shard is missing, a file is not parquet, or holds something else than images and labels.
    """
    _check_shards(files, name)
    try:
        key = content_key(["parquet", repr(class_names), *files])
    except OSError as error:
        raise InputError(f"data set {name!r} cannot be read: {error}") from error
    return cached(key, lambda: _decode(files, name, class_names, progress), cache)


def _check_shards(files: Sequence[Path], name: str) -> None:
    """Refuse a set of which a numbered part is not there: it would silently be a smaller set."""
    shards = [shard for shard in (SHARD.match(file.stem) for file in files) if shard is not None]
    there = {int(shard["number"]) for shard in shards}
    for shard in shards:
        lacking = sorted(set(range(int(shard["count"]))) - there)
        if lacking:
            raise InputError(
                f"data set {name!r} is incomplete in {files[0].parent}: of {int(shard['count'])} parts, "
                f"number {', '.join(map(str, lacking[:5]))} {'is' if len(lacking) == 1 else 'are'} missing"
            )


def _decode(
    files: Sequence[Path], name: str, class_names: tuple[str, ...] | None, progress: Progress | None
) -> Decoded:
    import pyarrow as pa
    import pyarrow.parquet as pq

    encoded: list[bytes] = []
    labels: list[object] = []
    labelled: set[bool] = set()
    for file in files:
        try:
            schema = pq.read_schema(file)
            image, label = pick(schema.names, name)
            table = pq.read_table(file, columns=[image] + ([label] if label else []))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file} is not a readable parquet file: {error}") from error
        encoded += encoded_images(table, image, name)
        labelled.add(label is not None)
        labels += table.column(label).to_pylist() if label else []
        class_names = class_names or _declared_names(schema.metadata, label)
    if len(labelled) > 1:
        raise InputError(
            f"data set {name!r}: some of its {len(files)} files have a label column and some have none"
        )
    return decode_columns(encoded, labels if True in labelled else None, class_names, name, progress)


def _declared_names(metadata: dict[bytes, bytes] | None, label: str | None) -> tuple[str, ...] | None:
    """Class names as the hub's library writes them into a parquet file's description, if it did."""
    try:
        about: Any = json.loads((metadata or {})[b"huggingface"])
        return tuple(str(name) for name in about["info"]["features"][label]["names"])
    except (KeyError, TypeError, ValueError):
        return None  # other writers say nothing, and that is fine: classes are then counted
