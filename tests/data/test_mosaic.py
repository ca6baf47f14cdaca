"""The embedded set of several labels an example, and labels (N, C) in a `DataSet`."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

import understudy as us
from understudy.data import DataSet, load_data
from understudy.data.loader import batches
from understudy.data.mosaic import SIZES

X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.eye(6, dtype=torch.int64)[:, :3]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_mosaic_is_made_of_digits_of_its_split_and_labelled_with_them(split: str) -> None:
    digits, mosaics = load_data("digits", split), load_data("digit_mosaic", split)
    assert digits.labels is not None
    assert mosaics.labels is not None
    assert (len(mosaics), mosaics.shape, mosaics.classes) == (SIZES[split], (1, 16, 16), 10)
    assert mosaics.multi_label
    assert not digits.multi_label
    known = {
        bytes(image.numpy().tobytes()): int(y) for image, y in zip(digits.stored, digits.labels, strict=True)
    }
    counts = []
    for row in range(200):
        places = mosaics.stored[row, 0].unfold(0, 8, 8).unfold(1, 8, 8).flatten(0, 1)  # (4, 8, 8)
        held = [known[place.contiguous().numpy().tobytes()] for place in places if place.any()]
        assert mosaics.labels[row].nonzero().flatten().tolist() == sorted(set(held))
        counts.append(len(held))
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.count(k) for k in range(1, 5)) > 30
    assert mosaics.labels.double().mean(0).std() < 0.02  # no class is rare


def test_labels_keep_their_rows() -> None:
    data = DataSet("several", "train", X, Y)
    assert data.classes == 3
    assert data.take(2).labels is not None
    for item in batches(data, batch_size=4, seed=0, epoch=0):
        assert item.batch.labels is not None
        assert torch.equal(item.batch.labels, Y[item.batch.index])
    other = DataSet("several", "train", X, Y.roll(1, 0))
    assert data.fingerprint() != other.fingerprint()


def test_tensors_and_tensor_data_sets_may_bear_several() -> None:
    for source in ((X, Y), TensorDataset(X, Y), (X, Y.float())):
        data = load_data(source)
        assert data.labels is not None
        assert torch.equal(data.labels, Y)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (2 * Y, None, "0 or 1 for each class, found 2 at example 0, class 0"),
        (Y - 1, None, "found -1 at example 0, class 1"),
        (Y, 4, r"several labels an example are \(6, 4\), none of them missing; found \(6, 3\)"),
    ],
)
def test_labels_that_say_neither_yes_nor_no_are_refused(
    labels: torch.Tensor, classes: int | None, message: str
) -> None:
    with pytest.raises(us.InputError, match=message):
        DataSet("several", "train", X, labels, classes)


def test_several_labels_are_never_partly_there() -> None:
    with pytest.raises(us.InputError, match="partly labelled"):
        DataSet("several", "train", X, Y, partly=True)


def test_what_names_one_class_refuses_them(tmp_path) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    data = DataSet("several", "test", X, Y)
    with pytest.raises(us.InputError, match="'several' bears several labels an example"):
        us.audit(net, net, data, eps=0.1)
    with pytest.raises(us.InputError, match="'several' bears several labels an example"):
        us.compare(net, "mlp[4]", data, methods=["kd"], train_eps=0.1, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
