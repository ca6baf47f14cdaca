"""Generalisation against fidelity: what must hold at any size, and what the figures become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.data.text import from_pairs
from understudy.data.tokenizers import train_tokenizer
from understudy.errors import InputError
from understudy.experiments.base import Result
from understudy.experiments.generalization_vs_fidelity import (
    GeneralizationVsFidelity,
    Known,
    Sizes,
    held_against,
    known,
)
from understudy.experiments.parts.ballots import ballots
from understudy.experiments.parts.fidelity_paradox import rank_correlation
from understudy.testing import tiny_lm

SMALL, LARGE = "lm[1,4,2]", "lm[1,8,2]"
WAYS = ["forward KL", "reverse KL", "GKD", "SFT"]
HOT = ["forward KL, τ = 2", "forward KL, τ = 5", "forward KL, un-tuned teacher"]
NAMES = [*(f"{size}, {way}" for size in (SMALL, LARGE) for way in WAYS), *(f"{SMALL}, {one}" for one in HOT)]


@pytest.fixture(scope="module")
def least() -> Sizes:
    return Sizes(
        seeds=(0, 1), students=(SMALL, LARGE), teacher="lm[1,8,4]", votes=4, easy_votes=(3,), easy=16, tuning=24,
        test=24, easy_epochs=3, epochs=3, lr=0.03, batch_size=16,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, least: Sizes) -> Result:
    return GeneralizationVsFidelity(least).run(tmp_path_factory.mktemp("experiment") / "out")


def test_a_row_a_setting_and_seed(done: Result) -> None:
    assert [(r["setting"], r["seed"]) for r in done.rows] == [(n, seed) for n in NAMES for seed in (0, 1)]
    for row in done.rows:
        for metric, about in GeneralizationVsFidelity.metrics.items():
            assert 0 <= row[metric] <= (1 if about.share else 20)
        # two that are right agree, and one that is right does not agree with one that is wrong
        right, teacher = row["accuracy"], row["teacher_accuracy"]
        assert right + teacher - 1 - 1e-9 <= row["agreement"] <= 1 - abs(right - teacher) + 1e-9
    for seed in (0, 1):
        one = [row for row in done.rows if row["seed"] == seed]
        assert len({row["teacher_loss"] for row in one if "un-tuned" not in row["setting"]}) == 1
        assert len({row["teacher_loss"] for row in one}) == 2  # tuning has changed the teacher


def test_the_teacher_is_what_the_students_are_taught_by(done: Result) -> None:
    """Each objective, temperature and teacher makes another student; an un-tuned teacher pulls towards itself."""
    for seed in (0, 1):
        losses = {r["setting"]: r["loss"] for r in done.rows if r["seed"] == seed}
        assert len(set(losses.values())) == len(NAMES)


def test_the_teacher_against_itself() -> None:
    tokenizer = train_tokenizer([])
    test = from_pairs(ballots((4,), 10, seed=0), tokenizer)
    model = known(tiny_lm(tokenizer.size, seed=0), test)
    right = Known(model.net, [pair.answer for pair in test.pairs], model.logits)
    found = held_against(right, right, test)
    assert [found[name] for name in ("accuracy", "agreement", "bleu", "token_agreement", "kl")] == [
        1,
        1,
        1,
        1,
        0,
    ]
    silent = replace(right, writes=[""] * 10)
    found = held_against(right, silent, test)
    assert [found[name] for name in ("accuracy", "agreement", "bleu")] == [0, 0, 0]
    places = sum(len(pair.answer) + 1 for pair in test.pairs)  # and the end
    assert model.logits.shape == (places, tokenizer.size)
    assert torch.isfinite(model.logits).all()


def test_what_is_written(done: Result) -> None:
    content = json.loads((done.folder / "result.json").read_text())
    assert content["sentence"] == done.sentence
    assert len(content["findings"]) == 10
    page = (done.folder / "report.html").read_text()
    assert page.count("<svg") == 4 + 1 + 2  # axes, gains, scatters
    for said in (*NAMES, done.sentence, "the teacher", "none (SFT)", "Rank correlation", "τ = 5", "Accuracy"):
        assert said in page
    assert "nan" not in (done.folder / "result.json").read_text().lower()


def made_up(**changed: list[float]) -> Mapping[tuple[str, str], list[float]]:
    """Values under which every part of the claim appears, but for those that are changed."""
    up, seeds = np.array([0.0, 0.01, 0.005]), 3
    values = {
        (name, metric): list(0.5 + up) for name in NAMES for metric in ("accuracy", "agreement", "bleu")
    }
    for size, gain in ((SMALL, 0.2), (LARGE, 0.05)):
        for way in WAYS[:3]:
            values[f"{size}, {way}", "accuracy"] = list(0.5 + gain + 2 * up)
    for name, value in zip(HOT, (0.8, 0.6, 0.1), strict=True):
        values[f"{SMALL}, {name}", "accuracy"] = [value] * seeds
    for metric in ("agreement", "bleu"):  # rises, and is the same whatever the accuracy
        for size in (SMALL, LARGE):
            for place, way in enumerate(WAYS[:3]):
                values[f"{size}, {way}", metric] = list(0.7 + up + 0.01 * place)
        values[f"{SMALL}, {HOT[0]}", metric] = [0.1, 0.1, 0.1]
        values[f"{SMALL}, {HOT[1]}", metric] = [0.1, 0.1, 0.1]
        values[f"{LARGE}, SFT", metric] = [0.5, 0.5, 0.5]
    return values | {(f"{SMALL}, {key}", "accuracy"): one for key, one in changed.items()}


def verdicts(least: Sizes, values: Mapping[tuple[str, str], list[float]]) -> dict[str, str]:
    return {one.name: one.verdict for one in GeneralizationVsFidelity(least).judge(least, values)}


def test_the_rule(least: Sizes) -> None:
    found = verdicts(least, made_up())
    copies = ("agreement does not go with accuracy", "wording does not go with accuracy")
    assert {name for name, verdict in found.items() if verdict != "appeared"} <= {*copies}
    tied = {**made_up()}
    for name in NAMES:
        for metric in ("agreement", "bleu"):
            tied[name, metric] = tied[name, "accuracy"]
    assert [verdicts(least, tied)[name] for name in copies] == ["did not appear"] * 2
    alike = {key: [0.5] * 3 if key[1] == "accuracy" else value for key, value in made_up().items()}
    assert [verdicts(least, alike)[name] for name in copies] == ["cannot be told"] * 2
    no_gain = made_up(SFT=[0.9, 0.91, 0.9])
    assert verdicts(least, no_gain)["distillation helps the smallest"] == "did not appear"
    apart = made_up(GKD=[0.3, 0.31, 0.3])
    assert verdicts(least, apart)["objectives differ little"] == "did not appear"


def test_rank_correlation() -> None:
    a = np.array([0.1, 0.5, 0.3, 0.9])
    assert rank_correlation(a, a**3) == pytest.approx(1.0)
    assert rank_correlation(a, -a) == pytest.approx(-1.0)
    # ranks 1, 3, 2, 4 and 2, 4, 3, 1: 1 - 6 (1 + 1 + 1 + 9) / (4 (16 - 1))
    assert rank_correlation(a, np.array([1.0, 3.0, 2.0, 0.0])) == pytest.approx(1 - 6 * 12 / 60)
    assert rank_correlation(a, np.ones(4)) == 0.0


def test_what_is_refused(least: Sizes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two at least"):
        Sizes(students=(SMALL,))
    with pytest.raises(InputError, match="easy_votes must be others"):
        Sizes(votes=5)
    with pytest.raises(InputError, match="must hold 2 and 5"):
        Sizes(temperatures=(2.0,))
    with pytest.raises(InputError, match="there are 63 ballots"):
        GeneralizationVsFidelity(replace(least, test=100)).run(tmp_path / "a")
