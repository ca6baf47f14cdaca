"""PCoreSet's rounds: the start, who is asked about by each strategy, and that no hidden label is looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.methods.labels.dho import DHO
from understudy.objectives.partly_labelled import PartlyLabelled
from understudy.recipes import make_recipe
from understudy.recipes.base import GIVEN
from understudy.recipes.choice import Chosen, Known
from understudy.recipes.pcoreset_activekd import STRATEGIES, Ask, PCoreSetActiveKD, Start, Strategy
from understudy.recipes.selection import k_centre

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, 4, (40,), generator=GENERATOR)
DATA = DataSet("forty", "train", torch.rand(40, 3, generator=GENERATOR), LABELS)
MODEL = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
with torch.no_grad():
    for weight in MODEL.parameters():
        weight.copy_(2 * torch.randn(weight.shape, generator=GENERATOR))


def known(data: DataSet = DATA, seed: int = 0, before: tuple[int, ...] = (4, 9)) -> Known:
    return Known(data, seed, {"round-0": Chosen(labelled=before)}, lambda name: MODEL, torch.device("cpu"))


def ask(strategy: Strategy = "pcoreset", query: int | None = 5) -> Ask:
    return Ask(1, "round-0", strategy, query)


def test_stages() -> None:
    recipe: Any = make_recipe(
        "pcoreset_activekd",
        {"rounds": "2", "strategy": "margin", "query": "7", "weight": "0", "heads": "one"},
    )
    stages = recipe.stages("mlp[8]")
    assert [s.name for s in stages] == ["round-0", "round-1", "round-2"]
    assert [s.choice for s in stages] == [
        Start(1, 0), Ask(1, "round-0", "margin", 7), Ask(2, "round-1", "margin", 7),
    ]  # fmt: skip
    assert {s.teacher for s in stages} == {GIVEN}
    assert {s.objective for s in stages} == {PartlyLabelled(temperature=2.0, weight=0.0)}
    assert len({s.reseed for s in stages}) == 3
    assert PCoreSetActiveKD(rounds=0).stages("mlp")[0].objective == DHO(
        temperature=2.0, label_weight=0.5, teacher_weight=0.5, alpha=0.5, beta=1.0
    )
    assert len(PCoreSetActiveKD().stages("mlp")) == 16
    assert make_recipe("pcoreset_activekd", {"query": "none"}) == PCoreSetActiveKD()


@pytest.mark.parametrize(("shots", "absent"), [(1, 0), (3, 0), (2, 2)])
def test_the_start_has_so_many_of_each_class_and_none_of_the_absent(shots: int, absent: int) -> None:
    chosen = Start(shots, absent).choose(known())
    assert chosen.labelled is not None
    assert chosen.rows is None
    assert chosen.balanced
    counts = LABELS[list(chosen.labelled)].bincount(minlength=4)
    assert counts.tolist() == [shots] * (4 - absent) + [0] * absent
    assert len(set(chosen.labelled)) == len(chosen.labelled)
    assert Start(shots, absent).choose(known()) == chosen
    assert Start(shots, absent).choose(known(seed=1)) != chosen


def test_the_start_takes_what_a_small_class_has() -> None:
    chosen = Start(1000, 1).choose(known())
    assert chosen.labelled is not None
    assert sorted(chosen.labelled) == (LABELS < 3).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labels_are_added_in_the_order_asked_and_never_twice(strategy: Strategy) -> None:
    chosen = ask(strategy).choose(known())
    assert chosen.labelled is not None
    assert chosen.balanced
    assert chosen.labelled[:2] == (4, 9)
    assert list(chosen.labelled[2:]) == chosen.notes["asked"]
    assert len(set(chosen.labelled)) == 7
    assert ask(strategy).choose(known()) == chosen


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_label_of_the_pool_is_looked_at(strategy: Strategy) -> None:
    other = (LABELS + 1) % 4
    other[[4, 9]] = LABELS[[4, 9]]
    assert ask(strategy).choose(known(replace(DATA, labels=other))) == ask(strategy).choose(known())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_whole_pool_and_then_nothing(strategy: Strategy) -> None:
    chosen = ask(strategy, 100).choose(known())
    assert chosen.labelled is not None
    assert sorted(chosen.labelled) == list(range(40))
    assert ask(strategy).choose(known(before=chosen.labelled)).labelled == chosen.labelled


def test_examples_without_a_label_to_give_are_not_asked_about() -> None:
    labels = LABELS.clone()
    labels[20:] = -1
    chosen = ask(query=100).choose(known(replace(DATA, labels=labels, partly=True)))
    assert chosen.labelled is not None
    assert sorted(chosen.labelled) == list(range(20))


def test_as_many_as_there_are_classes_by_default() -> None:
    assert len(ask(query=None).choose(known()).notes["asked"]) == 4


def logits() -> Tensor:
    with torch.no_grad():
        return MODEL(DATA.inputs(slice(None))).double()


def test_pcoreset_starts_from_what_is_said_of_the_labelled() -> None:
    p = logits().softmax(1)
    pool = torch.tensor([row for row in range(40) if row not in (4, 9)])
    picked, apart = k_centre(p[pool], p[[4, 9]], 5)
    notes = ask().choose(known()).notes
    assert notes == {"asked": pool[picked].tolist(), "apart": apart.tolist()}


def test_the_baselines_ask_about_what_their_names_say() -> None:
    p = logits().softmax(1)
    p[[4, 9]] = torch.eye(4, dtype=torch.float64)[:2]  # certain: never asked about
    top = p.topk(2, dim=1).values
    ranked = {
        "entropy": (torch.special.entr(p).sum(1)).argsort(descending=True)[:5],
        "margin": (top[:, 0] - top[:, 1]).argsort()[:5],
    }
    for strategy, rows in ranked.items():
        assert ask(strategy).choose(known()).notes["asked"] == rows.tolist()  # type: ignore[arg-type]


def test_features_are_compared_by_angle() -> None:
    with torch.no_grad():
        hidden = MODEL[:2](DATA.inputs(slice(None))).double()
    cosine = torch.cosine_similarity(hidden[:, None], hidden[[4, 9]][None], dim=2)
    assert ask("features", 1).choose(known()).notes["asked"] == [int(cosine.amax(1).argmin())]


def test_data_without_answers() -> None:
    for choice in (Start(1, 0), ask()):
        with pytest.raises(InputError, match="has no labels"):
            choice.choose(known(replace(DATA, labels=None)))
    with pytest.raises(InputError, match="absent must leave one of the 4"):
        Start(1, 4).choose(known())
    with pytest.raises(InputError, match="no labelled example"):
        Start(1, 3).choose(known(replace(DATA, labels=LABELS.clamp_min(1), classes=4)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": "-1"}, "rounds must be 0 or more"),
        ({"shots": "0"}, "shots must be 1 or more"),
        ({"absent": "-1"}, "absent must be 0 or more"),
        ({"query": "0"}, "query must be 1 or more"),
        ({"strategy": "entrop"}, "entropy"),
        ({"temperature": "0"}, "temperature"),
        ({"weight": "-1", "heads": "one"}, "weight must be"),
        ({"weight": "0"}, "use one head"),
        ({"heads": "none"}, "unknown"),
    ],
)
def test_bad_options(options: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_recipe("pcoreset_activekd", options)
