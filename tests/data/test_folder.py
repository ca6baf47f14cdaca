from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.data.resolve import load_data
from understudy.errors import InputError

Make = Callable[..., np.ndarray]
Encode = Callable[..., bytes]
Tree = Callable[[dict[str, np.ndarray]], Path]


@pytest.fixture
def tree(tmp_path: Path, encode: Encode) -> Tree:
    """Files by relative name -> a folder of them."""

    def make(images: dict[str, np.ndarray]) -> Path:
        for name, image in images.items():
            file = tmp_path / "set" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(image))
        return tmp_path / "set"

    return make


def test_class_folders_below_splits(tree: Tree, pixels: Make) -> None:
    a, b, c, d, e = pixels(5, 4, 4)
    root = tree(
        {
            "train/dog/2.png": b,
            "train/dog/10.png": a,
            "train/cat/x.png": c,
            "train/emu/y.PNG": d,
            "test/dog/z.png": e,
        }
    )
    (root / "train" / "dog" / "notes.txt").write_text("passed over")
    (root / "train" / ".hidden").mkdir()
    train = load_data(root)
    assert train.labels is not None
    assert train.class_names == ("cat", "dog", "emu")
    assert train.labels.tolist() == [0, 1, 1, 2]
    assert torch.equal(train.stored, torch.from_numpy(np.stack([c, a, b, d]))[:, None])
    test = load_data(root, "test")
    assert test.labels is not None
    assert test.labels.tolist() == [1]  # as in training, though it is the only class here
    assert test.classes == 3
    with pytest.raises(InputError, match="no split 'validation': it has train, test"):
        load_data(root, "validation")


def test_without_split_folders_it_is_train(tree: Tree, pixels: Make) -> None:
    a, b = pixels(2, 4, 4, 3)
    root = tree({"no/a.png": a, "yes/b.png": b})
    assert load_data(root).shape == (3, 4, 4)
    with pytest.raises(InputError, match="no split 'test': it has no split folders, so it is train"):
        load_data(root, "test")


def test_loose_images_are_unlabelled(tree: Tree, pixels: Make) -> None:
    a, b = pixels(2, 4, 4)
    data = load_data(tree({"b.png": b, "a.png": a}))
    assert data.labels is None
    assert data.classes is None
    assert torch.equal(data.stored, torch.from_numpy(np.stack([a, b]))[:, None])


def test_a_renamed_class_is_another_set(tree: Tree, pixels: Make) -> None:
    a, b = pixels(2, 4, 4)
    root = tree({"x/a.png": a, "y/b.png": b})
    assert load_data(root).class_names == ("x", "y")
    (root / "x").rename(root / "z")
    data = load_data(root)
    assert data.class_names == ("y", "z")
    assert torch.equal(data.stored, torch.from_numpy(np.stack([b, a]))[:, None])


def test_wrong_folders_are_named(tree: Tree, pixels: Make, tmp_path: Path) -> None:
    a, b = pixels(2, 4, 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        load_data(tmp_path / "empty")
    root = tree({"train/x/a.png": a, "test/w/b.png": b})
    with pytest.raises(InputError, match=r"has a class 'w' that .*train has not; known: x"):
        load_data(root, "test")
    (root / "train" / "hollow").mkdir()
    with pytest.raises(InputError, match=r"class folder .*hollow holds no images"):
        load_data(root)
    (root / "train" / "hollow").rmdir()
    tree({"train/loose.png": a})
    with pytest.raises(InputError, match=r"class folders .* and loose images"):
        load_data(root)


def test_a_different_size_is_named_by_file(tree: Tree, pixels: Make) -> None:
    root = tree({"x/a.png": pixels(1, 4, 4)[0], "x/b.png": pixels(1, 5, 4)[0]})
    with pytest.raises(InputError, match=r"b\.png is grey 4x5, but .*a\.png is grey 4x4"):
        load_data(root)
