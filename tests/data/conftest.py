"""Fixtures for data: a cache for every test, images and parquet files made on the spot, the shared sets."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNDERSTUDY_DATA", raising=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets that are not embedded; skips, visibly, where it is absent."""
    given = os.environ.get("UNDERSTUDY_DATA")
    root = Path(given) if given else Path(__file__).parents[2] / ".." / "shared" / "data"
    if not (root / "mnist").is_dir():
        pytest.skip(f"no data sets in {root}: set UNDERSTUDY_DATA")
    return root.resolve()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """(pixels, format) -> the bytes of an image file; pixels are (H, W) or (H, W, 3) uint8."""

    def make(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
        from PIL import Image

        buffer = io.BytesIO()
        image = Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def pixels() -> Callable[..., np.ndarray]:
    """(count, *shape) -> random bytes."""

    def make(count: int, *shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)

    return make


@pytest.fixture(scope="session")
def write_parquet() -> Callable[..., Path]:
    """(file, images, labels) -> a parquet file as the hub's library writes one."""

    def make(
        file: Path,
        images: Sequence[Any],
        labels: Sequence[Any] | None,
        *,
        names: Sequence[str] | None = None,
        image_column: str = "image",
        label_column: str = "label",
    ) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = [None if image is None else {"bytes": image, "path": None} for image in images]
        columns: dict[str, Any] = {image_column: pa.array(cells, kind)}
        if labels is not None:
            columns[label_column] = pa.array(labels)
        table = pa.table(columns)
        if names is not None:
            about = {"info": {"features": {label_column: {"names": list(names), "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        return file

    return make
