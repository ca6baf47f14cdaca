"""The hub, without a network: `datasets.load_dataset` is replaced by sets made in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.data.resolve import load_data
from understudy.errors import InputError

datasets = pytest.importorskip("datasets")
Make = Callable[..., np.ndarray]
Encode = Callable[..., bytes]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """Sets that the hub has, as (id, split, set); what was asked for is checked against them."""
    there: list[tuple[str, str, Any]] = []

    def load_dataset(hub_id: str, split: str) -> Any:
        for known, known_split, found in there:
            if known == hub_id:
                if known_split != split:
                    raise ValueError(f"Unknown split {split!r}. Should be one of ['{known_split}'].")
                return found
        raise ConnectionError(f"Couldn't reach {hub_id!r} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return there


def _made(images: list[bytes], labels: list[int], image: str, label: str, names: list[str] | None) -> Any:
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    features = datasets.Features({image: datasets.Image(), label: kind})
    cells = [{"bytes": data, "path": None} for data in images]
    return datasets.Dataset.from_dict({image: cells, label: labels}, features=features)


def test_cifar10_by_name_with_its_img_column(hub: list, pixels: Make, encode: Encode) -> None:
    original = pixels(7, 8, 8, 3)
    labels = [3, 9, 0, 1, 2, 8, 4]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    hub.append(
        ("uoft-cs/cifar10", "test", _made([encode(p) for p in original], labels, "img", "label", names))
    )
    told: list[int] = []
    data = load_data("cifar10", "test", progress=lambda done, total: told.append(done))
    assert torch.equal(data.stored, torch.from_numpy(original).permute(0, 3, 1, 2))
    assert data.labels is not None
    assert data.labels.tolist() == labels
    assert data.class_names == tuple(names)
    assert data.mean is not None
    assert len(data.mean) == 3
    load_data("cifar10", "test", progress=lambda done, total: told.append(done))
    assert told == [7]  # the second time it came from the cache


def test_by_id_in_the_order_that_the_library_gives(hub: list, pixels: Make, encode: Encode) -> None:
    original = pixels(5, 4, 4)
    made = _made([encode(p) for p in original], [0, 1, 2, 1, 0], "image", "fine_label", ["a", "b", "c"])
    hub.append(("owner/name", "train", made.select([4, 2, 0])))
    data = load_data("owner/name")
    assert data.name == "owner/name"
    assert torch.equal(data.stored[:, 0], torch.from_numpy(original[[4, 2, 0]]))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 2, 0]
    assert data.class_names == ("a", "b", "c")


def test_images_that_the_library_keeps_as_files(
    hub: list, pixels: Make, encode: Encode, tmp_path: Path
) -> None:
    original = pixels(2, 4, 4)
    for row, image in enumerate(original):
        (tmp_path / f"{row}.png").write_bytes(encode(image))
    cells = [str(tmp_path / f"{row}.png") for row in range(2)]
    features = datasets.Features({"image": datasets.Image()})
    hub.append(("owner/files", "train", datasets.Dataset.from_dict({"image": cells}, features=features)))
    data = load_data("owner/files")
    assert data.labels is None
    assert torch.equal(data.stored[:, 0], torch.from_numpy(original))


def test_a_hub_test_set_without_labels(hub: list, pixels: Make, encode: Encode) -> None:
    made = _made([encode(p) for p in pixels(3, 4, 4)], [-1, -1, -1], "image", "label", ["a", "b"])
    hub.append(("owner/blind", "test", made))
    data = load_data("owner/blind", "test")
    assert data.labels is None
    assert data.classes == 2


def test_out_of_reach_says_where_it_looked_and_what_would_do(hub: list, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ylecun/mnist.*UNDERSTUDY_DATA, --data-root") as caught:
        load_data("mnist")
    assert "Looked in" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionError)
    with pytest.raises(InputError, match=rf"Looked in {tmp_path}/mnist, which has no test-\*\.parquet"):
        load_data("mnist", "test", data_root=tmp_path)
    with pytest.raises(InputError, match=r"owner/absent.*No such folder is here"):
        load_data("owner/absent")


def test_a_split_that_the_hub_has_not(hub: list, pixels: Make, encode: Encode) -> None:
    hub.append(("owner/name", "train", _made([encode(pixels(1, 4, 4)[0])], [0], "image", "label", None)))
    with pytest.raises(InputError, match=r"owner/name.*\(dev\).*Unknown split 'dev'.*\['train'\]"):
        load_data("owner/name", "dev")


def test_a_set_without_images(hub: list) -> None:
    hub.append(("owner/text", "train", datasets.Dataset.from_dict({"sentence": ["a"], "label": [0]})))
    with pytest.raises(InputError, match=r"no image column.*found sentence, label"):
        load_data("owner/text")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"Looked in .*UNDERSTUDY_DATA.*pip install 'understudy\[hub\]'"):
        load_data("fashion_mnist", data_root=tmp_path)
