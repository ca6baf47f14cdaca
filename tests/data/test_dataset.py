from __future__ import annotations

import math

import pytest
import torch

from understudy.data.dataset import DataSet
from understudy.errors import InputError


def test_bytes_are_divided_and_floats_are_not() -> None:
    raw = torch.tensor([[0, 51], [255, 102]], dtype=torch.uint8)
    assert torch.equal(
        DataSet("d", "train", raw, scale=255.0).inputs(torch.tensor([1, 0])),
        torch.tensor([[255.0, 102.0], [0.0, 51.0]]) / 255,
    )
    floats = torch.rand(5, 3)
    assert torch.equal(DataSet("d", "train", floats).inputs(slice(1, 4)), floats[1:4])


@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize("rows", [slice(0, 2), torch.tensor([0, 1])])
def test_a_model_that_works_in_place_does_not_change_the_set(
    rows: slice | torch.Tensor, scale: float | None
) -> None:
    data = DataSet("d", "train", torch.rand(4, 3) / 2, scale=scale)
    before = data.stored.clone()
    data.inputs(rows).zero_()
    assert torch.equal(data.stored, before)


def test_classes_are_counted_where_nobody_said() -> None:
    data = DataSet("d", "train", torch.rand(3, 2), torch.tensor([0, 4, 1]))
    assert data.classes == 5
    assert data.take(1).classes == 5
    assert data.shape == (2,)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.rand(0, 2), None, "no examples"),
        (torch.rand(3, 2), torch.tensor([0, 7, -2]), "found 7 at example 1"),
        (torch.rand(3, 2), torch.tensor([0, 1, -2]), "found -2 at example 2"),
        (torch.tensor([[0.0], [math.nan]]), None, "example 1 contains NaN"),
        (torch.tensor([[0.0], [0.5], [math.inf]]), None, "example 2 contains an infinite value"),
        (torch.tensor([[0.0], [1.5]]), None, r"must lie in \[0, 1\], found 1.5..1.5 at example 1"),
        (torch.tensor([[-0.1, 0.5]]), None, r"found -0.1..0.5 at example 0"),
    ],
)
def test_what_cannot_be_used_is_refused_by_row(
    inputs: torch.Tensor, labels: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        DataSet("d", "train", inputs, labels, classes=3)


def test_a_partly_labelled_set_marks_an_example_without_a_label() -> None:
    inputs, labels = torch.rand(4, 2), torch.tensor([-1, 2, -1, 0])
    data = DataSet("d", "train", inputs, labels, partly=True)
    assert data.classes == 3
    assert data.take(1).labels is not None
    assert data.take(1).partly
    assert data.take(1).classes == 3
    with pytest.raises(InputError, match=r"must be 0..2, found -1 at example 0"):
        DataSet("d", "train", inputs, labels)
    with pytest.raises(InputError, match=r"must be 0..2 or -1 \(none\), found -2 at example 1"):
        DataSet("d", "train", inputs, torch.tensor([-1, -2, 2, 0]), partly=True)
    with pytest.raises(InputError, match=r"must be 0..1 or -1 \(none\), found 2 at example 1"):
        DataSet("d", "train", inputs, labels, classes=2, partly=True)


def test_a_set_without_any_label_says_how_many_classes_there_are() -> None:
    inputs, none = torch.rand(2, 2), torch.tensor([-1, -1])
    assert DataSet("d", "train", inputs, none, classes=3, partly=True).classes == 3
    with pytest.raises(InputError, match="no example has a label, so state"):
        DataSet("d", "train", inputs, none, partly=True)


def test_a_bad_row_beyond_the_first_chunk_is_named() -> None:
    inputs = torch.zeros(9000, 2)
    inputs[8500, 1] = math.nan
    with pytest.raises(InputError, match="example 8500 contains NaN"):
        DataSet("d", "train", inputs)
    inputs[8500, 1] = 2
    with pytest.raises(InputError, match="at example 8500"):
        DataSet("d", "train", inputs)


def test_bytes_outside_a_narrower_range_are_refused() -> None:
    raw = torch.tensor([[16], [17]], dtype=torch.uint8)
    with pytest.raises(InputError, match="at example 1"):
        DataSet("d", "train", raw, scale=16.0)


def test_rounding_outside_the_range_is_clamped_into_it() -> None:
    inputs = torch.tensor([[1.0 + 2e-7, -2e-7, 0.5]])
    assert inputs.max() > 1
    data = DataSet("d", "train", inputs)
    assert torch.equal(data.inputs(slice(None)), torch.tensor([[1.0, 0.0, 0.5]]))


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_a_range_must_be_one(low: float, high: float) -> None:
    with pytest.raises(InputError, match="low < high"):
        DataSet("d", "train", torch.rand(2, 2), low=low, high=high)


def test_no_range_at_all() -> None:
    data = DataSet("d", "train", 1e6 * torch.randn(4, 2), low=-math.inf, high=math.inf)
    assert torch.equal(data.inputs(slice(None)), data.stored)


def test_fingerprint_sees_everything_that_matters() -> None:
    inputs, labels = torch.rand(9000, 2), torch.arange(9000) % 3

    def of(**changes: object) -> str:
        given = {"stored": inputs, "labels": labels, "classes": 3, "high": 1.0} | changes
        return DataSet("d", "train", **given).fingerprint()  # type: ignore[arg-type]

    changed = inputs.clone()
    changed[8999, 1] = 0.123
    assert of() == of(stored=inputs.clone())
    assert len({of(), of(stored=changed), of(labels=labels.flip(0)), of(labels=None), of(high=2.0)}) == 5
    DataSet("d", "train", inputs.bfloat16()).fingerprint()


def test_take_keeps_at_least_one() -> None:
    data = DataSet("d", "train", torch.rand(4, 2), torch.arange(4))
    assert len(data.take(2)) == 2
    assert len(data.take(9)) == 4
    with pytest.raises(InputError, match="asked for 0"):
        data.take(0)
