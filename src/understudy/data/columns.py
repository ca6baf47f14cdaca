"""From an Arrow table (parquet or hub) with an image and perhaps a label column to decoded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.data.decoded import Decoded, Progress, clean_labels
from understudy.data.images import decode_images
from understudy.errors import InputError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


def pick(columns: Sequence[str], name: str) -> tuple[str, str | None]:
    """The image column and the label column (None if there is none) among `columns`."""
    image = next((column for column in IMAGE_COLUMNS if column in columns), None)
    if image is None:
        raise InputError(
            f"data set {name!r} has no image column: expected {' or '.join(IMAGE_COLUMNS)}, "
            f"found {', '.join(columns) or 'no columns'}"
        )
    return image, next((column for column in LABEL_COLUMNS if column in columns), None)


def encoded_images(table: Any, column: str, name: str, follow_paths: bool = False) -> list[bytes]:
    """The bytes of each image in a `pyarrow.Table` column of {bytes, path} or of plain bytes.

    Args:
        follow_paths: read the file at `path` where there are no bytes (the hub library keeps some sets so).

    Raises:
        InputError: a column of another type, or a row without an image.
    """
    found: list[bytes] = []
    for row, cell in enumerate(table.column(column).to_pylist()):
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if data is None and follow_paths and isinstance(cell, dict) and cell.get("path"):
            data = Path(cell["path"]).read_bytes()
        if not isinstance(data, bytes):
            kind = "no image" if data is None else f"{type(data).__name__} instead of an encoded image"
            raise InputError(f"data set {name!r}: column {column!r} holds {kind} at row {row}")
        found.append(data)
    return found


def decode_columns(
    encoded: Sequence[bytes],
    labels: Sequence[object] | None,
    class_names: tuple[str, ...] | None,
    name: str,
    progress: Progress | None = None,
) -> Decoded:
    """Decode images and check labels; labels first, because that is quick."""
    if not encoded:
        raise InputError(f"data set {name!r} holds no examples")
    classes = None if class_names is None else len(class_names)
    clean = None if labels is None else clean_labels(labels, name, classes)
    inputs = decode_images(encoded, len(encoded), lambda row: f"data set {name!r}: row {row}", progress)
    return Decoded(inputs, clean, class_names)
