"""The levels of a teacher's knowledge: what must hold at any size, and the rule by which they are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from understudy.errors import InputError
from understudy.experiments.base import Result
from understudy.experiments.parts.teacher_levels import ALL, LABELS_ALONE, LEARNED, SMOOTHED, WITH_WRONG
from understudy.experiments.understanding_kd import Sizes, UnderstandingKd

NAMES = [*LEARNED, *(f"{one}, 20% wrong" for one in WITH_WRONG)]


@pytest.fixture(scope="module")
def small() -> Sizes:
    return Sizes(
        seeds=(0,), data="digits", groups={"tall": (1, 7), "round": (3, 8, 9)}, teacher="mlp[16]",
        student="mlp[8]", teacher_examples=200, examples=60, teacher_epochs=3, epochs=3, batch_size=20,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, small: Sizes) -> Result:
    return UnderstandingKd(small).run(tmp_path_factory.mktemp("levels") / "out")


def test_a_row_a_setting_and_seed(done: Result) -> None:
    assert [(r["setting"], r["seed"]) for r in done.rows] == [(n, 0) for n in NAMES]
    for row in done.rows:
        assert row["agreement"] >= row["student_accuracy"] + row["teacher_accuracy"] - 1 - 1e-9
        assert -2 <= row["blocks"] <= 2
        assert row["kl"] >= 0
        assert len(row["cosines"]) == 100
        assert all(abs(row["cosines"][11 * k] - 1) < 1e-9 for k in range(10))
        weighed = row["setting"].split(",")[0] in ("sureness", ALL)
        assert ("pull" in row) == weighed
        assert ("pull_wrong" in row) == (weighed and "wrong" in row["setting"])
        if weighed:  # at most 1: the teacher takes a part of the label's pull, or turns it round
            assert row["pull"] <= 1
        assert ("tenths" in row) == ("difficulty" in row) == row["setting"].startswith(LABELS_ALONE)
    assert len({row["teacher_accuracy"] for row in done.rows}) == 1  # one teacher a seed
    assert len({row["kl"] for row in done.rows}) == len(NAMES)  # and no two students alike
    passes = done.rows[0]["tenths"]  # of 6 examples in 3 epochs each
    assert all(0 <= share <= 1 and abs(18 * share - round(18 * share)) < 1e-9 for share in passes)


def test_what_is_drawn(done: Result) -> None:
    page = (done.folder / "report.html").read_text()
    assert page.count("<svg") == 3  # two axes, and the teacher's confidence against what was hard
    assert page.count("data:image/png") == 6
    for said in (
        *LEARNED,
        done.sentence,
        "20% of the labels wrong",
        "tall (1, 7); round (3, 8, 9)",
        "least sure",
    ):
        assert said in page


def made_up(**changed: float) -> Mapping[tuple[str, str], list[float]]:
    """Values under which every part appears; `changed` moves the accuracy of a setting."""
    accuracy = dict(zip(LEARNED, (0.8, 0.81, 0.82, 0.83, 0.85, 0.87, 0.86), strict=True))
    accuracy |= {key.replace("_", " "): one for key, one in changed.items()}
    values = {(n, "student_accuracy"): [a, a + 0.001, a - 0.001] for n, a in accuracy.items()}
    for name in LEARNED:
        values[name, "blocks"] = [0.0, 0.01, 0.0] if name in (LABELS_ALONE, SMOOTHED) else [0.3, 0.31, 0.3]
    values[LABELS_ALONE, "difficulty"] = [-0.6, -0.61, -0.6]
    values[f"{ALL}, 20% wrong", "pull"] = [0.8, 0.8, 0.81]
    values[f"{ALL}, 20% wrong", "pull_wrong"] = [0.4, 0.41, 0.4]
    return values


def test_the_rule(small: Sizes) -> None:
    def verdicts(values: Mapping[tuple[str, str], list[float]]) -> list[str]:
        return [one.verdict for one in UnderstandingKd(small).judge(small, values)]

    assert verdicts(made_up()) == ["appeared"] * 10
    assert verdicts(made_up(relations=0.81))[2] == "did not appear"
    assert (
        verdicts(made_up(relations=0.9))[4] == "did not appear"
    )  # both are held against the better of the two
    assert verdicts(made_up(sureness=0.7))[3:5] == ["did not appear", "appeared"]
    heavier = {**made_up(), (f"{ALL}, 20% wrong", "pull_wrong"): [0.9, 0.9, 0.91]}
    assert verdicts(heavier) == [*["appeared"] * 9, "did not appear"]


def test_what_is_refused(small: Sizes, tmp_path: Path) -> None:
    for changed, match in [
        ({"share": 0.0}, "between 0 and 1"), ({"wrong": 1.0}, "between 0 and 1"),
        ({"examples": 9}, "10 of the teacher's 200"), ({"examples": 201}, "10 of the teacher's 200"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=match):
            replace(small, **changed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has 1347 examples, asked for 5000"):
        UnderstandingKd(replace(small, teacher_examples=5000)).run(tmp_path / "a")
    with pytest.raises(InputError, match="groups must name classes"):
        UnderstandingKd(replace(small, groups={"tall": (1, 7), "thin": (1,)})).run(tmp_path / "b")
