from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.data.parquet import split_of, splits_in
from understudy.data.resolve import load_data
from understudy.errors import InputError

Make = Callable[..., np.ndarray]
Encode = Callable[..., bytes]
Write = Callable[..., Path]


@pytest.mark.parametrize("column", ["image", "img"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
def test_one_file(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write, column: str, label: str
) -> None:
    original = pixels(6, 4, 5)
    labels = [0, 2, 1, 0, 2, 1]
    images = [encode(p) for p in original]
    file = write_parquet(
        tmp_path / "mine.parquet",
        images,
        labels,
        names=["x", "y", "z"],
        image_column=column,
        label_column=label,
    )
    for split in ("train", "test"):
        data = load_data(file, split)
        assert (data.name, data.split, data.scale) == ("mine.parquet", split, 255.0)
        assert torch.equal(data.stored, torch.from_numpy(original)[:, None])
        assert data.labels is not None
        assert data.labels.tolist() == labels
        assert data.class_names == ("x", "y", "z")


def test_shards_are_joined_in_order_and_a_lost_one_is_noticed(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write
) -> None:
    original = pixels(9, 4, 4)
    for part in range(3):
        rows = range(3 * part, 3 * part + 3)
        images = [encode(original[row]) for row in rows]
        write_parquet(tmp_path / f"test-0000{part}-of-00003.parquet", images, [row % 2 for row in rows])
    data = load_data(str(tmp_path), "test")
    assert torch.equal(data.stored, torch.from_numpy(original)[:, None])
    assert data.classes == 2
    with pytest.raises(InputError, match=r"unknown split.*'train'.*test"):
        load_data(tmp_path, "train")
    (tmp_path / "test-00001-of-00003.parquet").unlink()
    with pytest.raises(InputError, match="of 3 parts, number 1 is missing"):
        load_data(tmp_path, "test")


def test_where_splits_are_looked_for(tmp_path: Path) -> None:
    def files(*names: str) -> dict[str, list[str]]:
        root = tmp_path / names[0].replace("/", "-")
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return {split: [str(f.relative_to(root)) for f in found] for split, found in splits_in(root).items()}

    assert files("train.parquet", "test.parquet") == {"train": ["train.parquet"], "test": ["test.parquet"]}
    assert files("data/test-00000-of-00001.parquet") == {"test": ["data/test-00000-of-00001.parquet"]}
    assert files("train/a.parquet", "train/b.parquet") == {"train": ["train/a.parquet", "train/b.parquet"]}
    assert files("b.parquet", "a.parquet") == {"train": ["a.parquet", "b.parquet"]}
    assert files("readme.md") == {}
    assert splits_in(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test-00000-of-00001", "test"),
        ("train", "train"),
        ("test_small", "test"),
        ("testing", None),
        ("mine", None),
        ("dev-00003-of-00009", "dev"),
    ],
)
def test_splits_of_file_names(name: str, split: str | None) -> None:
    assert split_of(Path(f"{name}.parquet")) == split


def test_a_file_is_not_taken_for_another_split(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write
) -> None:
    file = write_parquet(tmp_path / "train.parquet", [encode(pixels(1, 4, 4)[0])], [0])
    with pytest.raises(InputError, match="is the split 'train' by its name, but 'test' was asked for"):
        load_data(file, "test")


def test_the_second_reading_needs_no_decoder_and_copies_nothing(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_parquet(tmp_path / "a.parquet", [encode(p) for p in pixels(5, 4, 4)], [0, 1, 0, 1, 0])
    first = load_data(file)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("understudy.data.parquet._decode", never)
    mapped: list[np.ndarray] = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: mapped.append(load(*a, **k)) or mapped[-1])
    second = load_data(file.rename(tmp_path / "b.parquet"))  # the name does not count, the content does
    assert torch.equal(first.stored, second.stored)
    assert all(isinstance(array, np.memmap) for array in mapped)
    assert second.stored.data_ptr() == mapped[0].ctypes.data
    write_parquet(tmp_path / "b.parquet", [encode(p) for p in pixels(5, 4, 4, seed=1)], [0, 1, 0, 1, 0])
    with pytest.raises(AssertionError, match="decoded again"):
        load_data(tmp_path / "b.parquet")


@pytest.mark.parametrize("labels", [None, [-1, -1, -1], [None, None, None]])
def test_missing_labels_mean_unlabelled(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write, labels: list | None
) -> None:
    import pyarrow as pa

    typed = labels if labels is None or labels[0] is not None else pa.array(labels, pa.int64())
    file = write_parquet(tmp_path / "a.parquet", [encode(p) for p in pixels(3, 4, 4)], typed)
    data = load_data(file)
    assert data.labels is None
    assert len(data) == 3


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 3], "abc", "must be 0..2 .*found 3 at row 2"),
        ([0, -1, 1], None, "found -1 at row 1"),
        ([0, -7, 1], None, "found -7 at row 1"),
        ([0, None, 1], None, "found None at row 1"),
        ([0.0, 0.5, 1.0], None, "whole numbers, found 0.5 at row 1"),
        ([0.0, 1.0, float("nan")], None, "whole numbers, found nan at row 2"),
        ([0.0, 1.0, float("inf")], None, "whole numbers, found inf at row 2"),
        (["cat", "dog", "cat"], None, "whole numbers, found 'cat' at row 0"),
        ([True, False, True], None, "whole numbers, found True at row 0"),
        ([2**60, 0, 0], None, "at row 0"),
    ],
)
def test_wrong_labels_are_named(
    tmp_path: Path,
    pixels: Make,
    encode: Encode,
    write_parquet: Write,
    labels: list,
    names: str | None,
    message: str,
) -> None:
    file = write_parquet(tmp_path / "a.parquet", [encode(p) for p in pixels(3, 4, 4)], labels, names=names)
    with pytest.raises(InputError, match=message):
        load_data(file)
    assert not (tmp_path / "cache" / "data").exists()


def test_wrong_columns_and_files_are_named(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [encode(p) for p in pixels(2, 4, 4)]
    with pytest.raises(InputError, match="no image column: expected image or img, found sentence, label"):
        load_data(write_parquet(tmp_path / "a.parquet", images, [0, 1], image_column="sentence"))
    with pytest.raises(InputError, match="no image at row 1"):
        load_data(write_parquet(tmp_path / "b.parquet", [images[0], None], [0, 1]))
    with pytest.raises(InputError, match="holds no examples"):
        load_data(write_parquet(tmp_path / "c.parquet", [], pa.array([], pa.int64())))
    with pytest.raises(InputError, match="row 1 is not a readable image"):
        load_data(write_parquet(tmp_path / "d.parquet", [images[0], b"?"], [0, 1]))
    with pytest.raises(InputError, match=r"row 1 is colour 4x4, but .*row 0 is grey 4x4"):
        load_data(write_parquet(tmp_path / "e.parquet", [images[0], encode(pixels(1, 4, 4, 3)[0])], [0, 1]))
    pq.write_table(pa.table({"image": [1, 2]}), tmp_path / "f.parquet")
    with pytest.raises(InputError, match="holds int instead of an encoded image at row 0"):
        load_data(tmp_path / "f.parquet")
    (tmp_path / "g.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(InputError, match="not a readable parquet file"):
        load_data(tmp_path / "g.parquet")
    cut = (tmp_path / "a.parquet").read_bytes()[:-20]
    (tmp_path / "h.parquet").write_bytes(cut)
    with pytest.raises(InputError, match="not a readable parquet file"):
        load_data(tmp_path / "h.parquet")


def test_files_of_one_split_agree_on_having_labels(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write
) -> None:
    image = encode(pixels(1, 4, 4)[0])
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [image], [0])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [image], None)
    with pytest.raises(InputError, match="some of its 2 files have a label column and some have none"):
        load_data(tmp_path)
