"""Image data sets from the Hugging Face hub, through the `datasets` library (an extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.data.cache import cached, content_key
from understudy.data.columns import decode_columns, encoded_images, pick
from understudy.data.decoded import Decoded, Progress
from understudy.errors import InputError


def load_hub(
    hub_id: str,
    split: str,
    name: str,
    *,
    instead: str,
    class_names: tuple[str, ...] | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """One split of a hub data set with an image column (`image`, `img`) and perhaps labels.

    Args:
        hub_id: "owner/name".
        name: what the set is called here.
        instead: what to tell somebody whom the hub cannot serve: where else was looked, what else would do.
        class_names: names that are known already; else those that the hub declares, if any.

    Raises:
        InputError: `datasets` is not installed, the hub cannot be reached, or the set or split is not there.
    """
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"data set {name!r} is not on this machine, and the hub's library is not installed. {instead}; "
            "or pip install 'understudy[hub]'"
        ) from error
    try:
        found: Any = datasets.load_dataset(hub_id, split=split)
    except Exception as error:  # the library passes on whatever its network layers raise
        raise InputError(
            f"data set {name!r} ({split}) could not be had from the hub as {hub_id!r}: "
            f"{type(error).__name__}: {error}. {instead}"
        ) from error
    image, label = pick(found.column_names, name)
    names = class_names or _names(found.features.get(label))
    table = found.with_format("arrow")[:]
    encoded = encoded_images(table, image, name, follow_paths=True)
    labels = table.column(label).to_pylist() if label else None
    key = content_key(["hub", repr(names), repr(labels), *encoded])
    return cached(key, lambda: decode_columns(encoded, labels, names, name, progress), cache)


def _names(feature: Any) -> tuple[str, ...] | None:
    """Class names of a hub ClassLabel feature; None for any other."""
    names = getattr(feature, "names", None)
    return None if names is None else tuple(str(name) for name in names)
