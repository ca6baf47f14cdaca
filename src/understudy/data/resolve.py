"""`load_data`: from a name, a path, a hub id or Python objects to a `DataSet`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from understudy.data.cache import cached
from understudy.data.dataset import DataSet
from understudy.data.decoded import Decoded, Progress
from understudy.data.folder import load_image_folder
from understudy.data.graphs import GRAPHS, load_graph, load_named_graph
from understudy.data.hub import load_hub
from understudy.data.mosaic import decode_mosaics, mosaic_key
from understudy.data.named import DIGITS_SCALE, NAMED, SPLITS, Declaration, decode_digits, digits_key
from understudy.data.noise import noise_data, noise_shape
from understudy.data.parquet import load_parquet, split_of, splits_in
from understudy.data.python_source import from_tensors, from_torch
from understudy.data.tabular import load_compas
from understudy.data.text_named import TEXTS, is_text, load_text
from understudy.errors import InputError, unknown

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load_data(
    source: str | Path | DataSet | DataLoader[Any] | Dataset[Any] | tuple[Tensor, Tensor | None],
    split: str = "train",
    *,
    data_root: str | Path | None = None,
    cache: Path | None = None,
    low: float = 0.0,
    high: float = 1.0,
    progress: Progress | None = None,
) -> DataSet:
    """Open a data set.

    Args:
        source: one of

            - a name: digits, mnist, fashion_mnist, cifar10, compas. Looked for as `ROOT/<name>/<split>-*.parquet`,
              then on the Hugging Face hub (digits is embedded; compas has no place there);
            - "noise[2]", "noise[1,8,8]": standard normal points of that shape with the time 1 as a last channel;
            - a graph's name, cora or citeseer, looked for as `ROOT/<name>/graph.npz`, or a path to such a file;
            - a path to a parquet file (whatever the split, unless its name speaks of another), to a folder of
              parquet files, or to a folder of images;
            - a hub id, "owner/name";
            - in Python: a `DataSet` (returned as it is), a torch `Dataset` or `DataLoader`, or tensors
              (inputs, labels or None), of which floats are used as they are.
        split: "train", "test", ...
        data_root: ROOT; else the environment's UNDERSTUDY_DATA.
        cache: folder for decoded copies; else UNDERSTUDY_CACHE, else the platform's cache folder.
        low, high: valid range of Python inputs, infinities for none; everything else lies in [0, 1].
        progress: called with (done, total) while images are decoded.

    Returns:
        The examples in file order. Images are (N, channels, height, width), memory-mapped from the cache.

    Raises:
        InputError: the set or split does not exist or cannot be reached, or its contents cannot be used.
    """
    if isinstance(source, DataSet):
        return source
    if isinstance(source, (Dataset, DataLoader)):
        return from_torch(source, split=split, low=low, high=high)
    if isinstance(source, tuple):
        if len(source) != 2 or not isinstance(source[0], Tensor):
            raise InputError("tensors are given as a pair (inputs, labels) or (inputs, None)")
        return from_tensors(source[0], source[1], name="tensors", split=split, low=low, high=high)
    if not isinstance(source, (str, Path)):
        raise InputError(
            f"a data set is a name, a path, a hub id, a Dataset, a DataLoader or tensors, "
            f"found {type(source).__name__}"
        )
    if (low, high) != (0.0, 1.0):
        raise InputError(f"data set {str(source)!r} lies in [0, 1]; low and high are for Python inputs only")
    if isinstance(source, str) and (drawn := noise_shape(source)) is not None:
        return noise_data(drawn, split)
    if is_text(str(source)):
        return load_text(str(source), split, _root(data_root))
    if isinstance(source, str) and source in NAMED:
        return _named(source, split, data_root, cache, progress)
    if isinstance(source, str) and source in GRAPHS:
        return load_named_graph(source, split, _root(data_root))
    path = Path(source).expanduser()
    if path.suffix == ".npz" and path.is_file():
        return load_graph(path, split, path.name)
    if source != "" and os.path.exists(path):  # unlike Path.exists, false for names no system allows
        return _data_set(path.name, split, _from_path(path, split, cache, progress))
    if isinstance(source, str) and HUB_ID.fullmatch(source) and not source.endswith(".parquet"):
        instead = "No such folder is here: give a path to one that holds parquet files or images"
        found = load_hub(source, split, source, instead=instead, cache=cache, progress=progress)
        return _data_set(source, split, found)
    if isinstance(source, Path) or os.sep in source or source.endswith(".parquet"):
        raise InputError(f"there is no data at {str(source)!r}: no such file or folder")
    raise unknown("data set", source, [*NAMED, *GRAPHS, *TEXTS])


def _named(
    name: str, split: str, data_root: str | Path | None, cache: Path | None, progress: Progress | None
) -> DataSet:
    known = NAMED[name]
    if split not in SPLITS:
        raise unknown(f"split of {name}", split, SPLITS)
    if name == "compas":
        return _compas(_root(data_root), split)
    if name == "digit_mosaic":
        found = cached(mosaic_key(split), lambda: decode_mosaics(split), cache)
        return _data_set(name, split, found, known, DIGITS_SCALE)
    if known.hub is None:
        found = cached(digits_key(split), lambda: decode_digits(split), cache)
        return _data_set(name, split, found, known, DIGITS_SCALE)
    root = _root(data_root)
    files = [] if root is None else splits_in(root / name).get(split, [])
    if files:
        found = load_parquet(files, name, known.class_names, cache, progress)
    else:
        looked = "" if root is None else f"Looked in {root / name}, which has no {split}-*.parquet. "
        instead = (
            f"{looked}Give a folder ROOT that holds {name}/{split}-00000-of-00001.parquet, "
            "as UNDERSTUDY_DATA, --data-root or data_root="
        )
        names = known.class_names
        found = load_hub(
            known.hub, split, name, instead=instead, class_names=names, cache=cache, progress=progress
        )
    return _data_set(name, split, found, known)


def _compas(root: Path | None, split: str) -> DataSet:
    """Both splits are drawn from ProPublica's one file."""
    files = [] if root is None else splits_in(root / "compas").get("train", [])
    if not files:
        looked = "" if root is None else f"{root / 'compas'} has no train-*.parquet. "
        raise InputError(
            f"data set 'compas' is read from ProPublica's two-year table, kept as parquet. {looked}Give a folder ROOT "
            "that holds compas/train-00000-of-00001.parquet, as UNDERSTUDY_DATA, --data-root or data_root="
        )
    return load_compas(files, split)


def _root(data_root: str | Path | None) -> Path | None:
    """The folder of named sets that was asked for, if any."""
    given = data_root if data_root is not None else os.environ.get("UNDERSTUDY_DATA") or None
    if given is None:
        return None
    root = Path(given).expanduser()
    if not root.is_dir():
        who = "data_root" if data_root is not None else "UNDERSTUDY_DATA"
        raise InputError(f"{who} must be a folder of data sets, found {str(root)!r}, which is no folder")
    return root


def _from_path(path: Path, split: str, cache: Path | None, progress: Progress | None) -> Decoded:
    if path.is_file():
        if path.suffix != ".parquet":
            raise InputError(f"{path} must be a parquet file, or a folder of parquet files or images")
        if split_of(path) not in (None, split):
            raise InputError(
                f"{path} is the split {split_of(path)!r} by its name, but {split!r} was asked for"
            )
        return load_parquet([path], path.name, None, cache, progress)
    splits = splits_in(path)
    if not splits:
        return load_image_folder(path, split, cache, progress)
    if split not in splits:
        raise unknown(f"split of {path}", split, splits)
    return load_parquet(splits[split], path.name, None, cache, progress)


def _data_set(
    name: str, split: str, found: Decoded, known: Declaration | None = None, scale: float = 255.0
) -> DataSet:
    """Arrays, memory-mapped or not, as a `DataSet`; nothing is copied."""
    return DataSet(
        name,
        split,
        torch.from_numpy(found.inputs),
        None if found.labels is None else torch.from_numpy(found.labels),
        classes=None if found.class_names is None else len(found.class_names),
        scale=scale,
        mean=None if known is None else known.mean,
        std=None if known is None else known.std,
        class_names=found.class_names,
    )
