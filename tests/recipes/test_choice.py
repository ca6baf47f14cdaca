"""What a stage is shown: rows, labels, balance; and what a choice is made from."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.recipes.choice import Chosen, Known, shown

DATA = DataSet("ten", "train", torch.arange(10.0)[:, None] / 10, torch.arange(10) % 3)


def test_nothing_chosen_is_all_of_it() -> None:
    found = shown(DATA, Chosen())
    assert torch.equal(found.stored, DATA.stored)
    assert found.labels is not None
    assert torch.equal(found.labels, torch.arange(10) % 3)
    assert not found.partly
    assert found.fingerprint() == DATA.fingerprint()


def test_rows_come_in_their_order_and_as_often_as_they_stand_there() -> None:
    found = shown(DATA, Chosen(rows=(4, 1, 4)))
    assert found.inputs(slice(None))[:, 0].tolist() == pytest.approx([0.4, 0.1, 0.4])
    assert found.labels is not None
    assert found.labels.tolist() == [1, 1, 1]
    assert (found.classes, found.partly) == (3, False)


def test_other_labels_are_hidden() -> None:
    found = shown(DATA, Chosen(labelled=(5, 2)))
    assert found.labels is not None
    assert found.labels.tolist() == [-1, -1, 2, -1, -1, 2, -1, -1, -1, -1]
    assert found.partly
    assert found.classes == 3
    assert not shown(DATA, Chosen(rows=(2, 5), labelled=(2, 5))).partly


@pytest.mark.parametrize("labelled", [(3,), (5, 2, 8), tuple(range(5)), tuple(range(7))])
def test_balance_repeats_the_fewer_evenly(labelled: tuple[int, ...]) -> None:
    found = shown(DATA, Chosen(labelled=labelled, balanced=True))
    assert found.labels is not None
    there = found.labels >= 0
    assert there.sum() == (~there).sum() == max(len(labelled), 10 - len(labelled))
    assert torch.equal(found.stored[:10], DATA.stored)
    times = torch.stack([(found.stored == row).sum() for row in DATA.stored])
    few = torch.zeros(10, dtype=torch.bool)
    few[list(labelled)] = True
    few = few if len(labelled) <= 5 else ~few
    assert times[few].max() - times[few].min() <= 1
    assert (times[~few] == 1).all()


@pytest.mark.parametrize("labelled", [(), tuple(range(10))])
def test_there_is_nothing_to_balance_with_one_kind_only(labelled: tuple[int, ...]) -> None:
    assert len(shown(DATA, Chosen(labelled=labelled, balanced=True))) == 10


def test_a_choice_survives_json() -> None:
    for chosen in (Chosen(), Chosen((3, 1), (1,), True, {"asked": [1], "apart": [0.25]})):
        assert Chosen.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"rows": None},
        {"rows": "12", "labelled": None, "balanced": False, "notes": {}},
        {"rows": [1.5], "labelled": None, "balanced": False, "notes": {}},
        {"rows": [True], "labelled": None, "balanced": False, "notes": {}},
        {"rows": None, "labelled": None, "balanced": 1, "notes": {}},
        {"rows": None, "labelled": None, "balanced": True, "notes": None},
    ],
)
def test_json_that_is_no_choice(values: object) -> None:
    with pytest.raises(InputError, match="a choice"):
        Chosen.from_json(values)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (Chosen(rows=(10,)), "0..9, a choice has 10"),
        (Chosen(labelled=(-1,)), "0..9, a choice has -1"),
        (Chosen(rows=()), "one example at least"),
    ],
)
def test_rows_that_are_not_there(chosen: Chosen, said: str) -> None:
    with pytest.raises(InputError, match=said):
        shown(DATA, chosen)


def test_labels_of_data_that_have_none() -> None:
    bare = DataSet("bare", "train", torch.zeros(3, 2))
    assert len(shown(bare, Chosen(rows=(0, 2)))) == 2
    with pytest.raises(InputError, match="has no labels of which"):
        shown(bare, Chosen(labelled=(0,)))


def test_models_are_asked_in_eval_mode_and_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 3)).train()
    known = Known(DATA, 0, {}, {"m": model}.__getitem__, torch.device("cpu"))
    first, again = known.logits("m"), known.logits("m")
    assert first.shape == (10, 3)
    assert torch.equal(first, again)
    assert not first.requires_grad
    torch.testing.assert_close(model[2](known.embedding("m")), first)
    assert model.training
    assert model[1].training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(part._forward_hooks for part in model.modules())


def test_a_model_without_a_last_linear_layer_has_no_embedding() -> None:
    known = Known(DATA, 0, {}, lambda name: nn.Identity(), torch.device("cpu"))
    assert known.logits("m").shape == (10, 1)
    with pytest.raises(InputError, match="embedding"):
        known.embedding("m")
