from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.data.dataset import DataSet
from understudy.data.named import NAMED
from understudy.data.resolve import load_data
from understudy.errors import InputError

Make = Callable[..., np.ndarray]
Encode = Callable[..., bytes]
Write = Callable[..., Path]


@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_are_split_as_documented(split: str) -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    rows = train_test_split(np.arange(1797), test_size=450, stratify=y, random_state=0)[split == "test"]
    data = load_data("digits", split)
    assert len(data) == {"train": 1347, "test": 450}[split]
    assert data.shape == (1, 8, 8)
    assert (data.scale, data.low, data.high, data.mean) == (16.0, 0.0, 1.0, None)
    assert data.stored.dtype == torch.uint8
    assert data.labels is not None
    assert np.array_equal(data.labels.numpy(), y[rows])
    assert np.allclose(data.inputs(slice(None)).flatten(1).numpy(), x[rows] / 16)


def test_digits_never_change() -> None:
    """Pinned: a run's examples, and so its numbers, must mean the same in every release."""
    fingerprints = [load_data("digits", split).fingerprint()[:16] for split in ("train", "test")]
    assert fingerprints == ["6bea560c026ee60e", "7e4be741f83dec84"]
    train = load_data("digits")
    assert train.labels is not None
    assert torch.bincount(train.labels).tolist() == [133, 136, 133, 137, 136, 136, 136, 134, 131, 135]


def test_digits_are_digits_whatever_root_is_named(tmp_path: Path) -> None:
    assert len(load_data("digits", data_root=tmp_path)) == 1347


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "mean", "std", "first"),
    [("mnist", 0.1307, 0.3081, [5, 0, 4, 1, 9]), ("fashion_mnist", 0.2860, 0.3530, [9, 0, 0, 3, 0])],
)
def test_known_statistics(shared_data: Path, name: str, mean: float, std: float, first: list[int]) -> None:
    data = load_data(name, data_root=shared_data)
    assert data.stored.shape == (60000, 1, 28, 28)
    assert data.stored.dtype == torch.uint8
    counts = torch.bincount(data.stored.flatten().int(), minlength=256).double()
    values = torch.arange(256).double() / 255
    found = float((counts * values).sum() / counts.sum())
    spread = float((counts * (values - found).square()).sum() / counts.sum()) ** 0.5
    assert (round(found, 4), round(spread, 4)) == (mean, std)
    assert data.labels is not None
    assert data.labels[:5].tolist() == first
    assert data.class_names == NAMED[name].class_names


@pytest.mark.data
def test_cifar10(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATA", str(shared_data))
    data = load_data("cifar10", "test")
    assert data.stored.shape == (10000, 3, 32, 32)
    assert data.labels is not None
    assert torch.bincount(data.labels).tolist() == [1000] * 10
    assert data.mean is not None
    assert (data.stored.float() / 255).mean((0, 2, 3)).sub(torch.tensor(data.mean)).abs().max() < 0.01


def test_the_root_given_goes_before_the_variable(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root, seed in (("one", 1), ("two", 2)):
        images = [encode(p) for p in pixels(3, 28, 28, seed=seed)]
        write_parquet(tmp_path / root / "mnist" / "train-00000-of-00001.parquet", images, [7, 8, 9])
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path / "one"))
    assert torch.equal(load_data("mnist").stored[:, 0], torch.from_numpy(pixels(3, 28, 28, seed=1)))
    found = load_data("mnist", data_root=tmp_path / "two")
    assert torch.equal(found.stored[:, 0], torch.from_numpy(pixels(3, 28, 28, seed=2)))
    assert found.classes == 10


def test_a_named_set_with_a_wrong_label(
    tmp_path: Path, pixels: Make, encode: Encode, write_parquet: Write
) -> None:
    images = [encode(p) for p in pixels(2, 28, 28)]
    write_parquet(tmp_path / "mnist" / "train-00000-of-00001.parquet", images, [1, 10])
    with pytest.raises(InputError, match=r"'mnist': labels must be 0..9 .*found 10 at row 1"):
        load_data("mnist", data_root=tmp_path)


@pytest.mark.parametrize(
    ("source", "split", "message"),
    [
        ("fashon_mnist", "train", "unknown data set 'fashon_mnist': did you mean fashion_mnist"),
        ("", "train", "unknown data set"),
        ("digits", "tset", "unknown split of digits 'tset': did you mean test"),
        ("mnist", "validation", "unknown split of mnist 'validation'.*known: test, train"),
        ("./nowhere", "train", "no such file or folder"),
        ("a/b/c", "train", "no such file or folder"),
        ("nowhere.parquet", "train", "no such file or folder"),
        (Path("nowhere"), "train", "no such file or folder"),
    ],
)
def test_names_and_paths_that_do_not_exist(source: str | Path, split: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data(source, split)


def test_other_wrong_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.bin").touch()
    with pytest.raises(InputError, match=r"weights\.bin must be a parquet file, or a folder"):
        load_data(tmp_path / "weights.bin")
    with pytest.raises(InputError, match=r"data_root must be a folder .*nowhere"):
        load_data("mnist", data_root=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"low and high are for Python inputs only"):
        load_data("digits", high=2.0)
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"UNDERSTUDY_DATA must be a folder .*nowhere"):
        load_data("mnist")


def test_a_data_set_is_itself() -> None:
    data = DataSet("mine", "train", torch.rand(3, 2))
    assert load_data(data, "test") is data


def test_a_folder_in_the_working_folder_does_not_hide_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_data("digits").name == "digits"
    with pytest.raises(InputError, match="holds no images"):
        load_data("./digits")


def test_the_cache_given_is_the_cache_used(tmp_path: Path) -> None:
    load_data("digits", cache=tmp_path / "mine")
    assert len(list((tmp_path / "mine" / "data").iterdir())) == 1


def test_importing_is_light_and_a_cached_set_needs_no_scikit_learn(tmp_path: Path) -> None:
    load_data("digits", "test", cache=tmp_path)
    code = (
        "import sys; from pathlib import Path; from understudy.data import load_data; "
        f"assert len(load_data('digits', 'test', cache=Path({str(tmp_path)!r}))) == 450; "
        "heavy = {'sklearn', 'pyarrow', 'PIL', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
