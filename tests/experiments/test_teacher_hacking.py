"""Teacher hacking: what must hold at any size, and what the figures become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import InputError
from understudy.experiments.base import Result
from understudy.experiments.teacher_hacking import Sizes, TeacherHacking

SMALL = Sizes(
    seeds=(0, 1), vocabulary=6, prompt=3, response=5, oracle=(8,), teacher=(8,), student=(6,), oracle_texts=20,
    teacher_epochs=2, start_epochs=1, distilled=20, epochs=4, fewer=(4,), more=(4,), held=40, looks=4,
    batch_size=10,
)  # fmt: skip
NAMES = ["offline", "online, teacher", "online, student", "5 prompts × 4", "20 prompts × 4"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return TeacherHacking(SMALL).run(tmp_path_factory.mktemp("experiment") / "out", device="cpu")


def test_a_row_a_setting_and_seed(done: Result) -> None:
    assert [(row["setting"], row["seed"]) for row in done.rows] == [
        (n, seed) for n in NAMES for seed in (0, 1)
    ]
    for row in done.rows:
        golden, proxy, first = row["golden_curve"], row["proxy_curve"], done.rows[row["seed"]]
        assert row["steps"] == [0, 1, 2, 4, 8]  # every setting takes as many steps
        assert min(*golden, *proxy, row["shown"]) > 0
        assert (row["golden"], row["proxy"]) == (golden[-1], proxy[-1])
        assert row["rise"] == pytest.approx(golden[-1] / min(golden) - 1)
        assert row["proxy_then"] == proxy[golden.index(min(golden))]
        # all settings of a seed begin with one student, and share one teacher
        for key in ("teacher_golden", "start_golden"):
            assert row[key] == first[key] != done.rows[1 - row["seed"]][key]
        assert (golden[0], proxy[0]) == (first["start_golden"], first["proxy_curve"][0])
    ends = {row["golden"] for row in done.rows}
    assert len(ends) == len(done.rows)  # and no two are shown the same


def test_what_a_seed_shares() -> None:
    ready = TeacherHacking(SMALL).prepare(SMALL, 0, None, "cpu")
    again = TeacherHacking(SMALL).prepare(SMALL, 0, None, "cpu")
    assert ready.proxy(ready.teacher) == 0.0
    assert ready.golden(ready.teacher) == again.golden(again.teacher) > 0
    assert ready.golden(ready.start) == again.golden(again.start) > 0
    held = {tuple(text[:3]) for text in ready.golden.texts.tolist()}
    assert held == {tuple(text[:3]) for text in ready.proxy.texts.tolist()}
    assert held.isdisjoint(map(tuple, ready.prompts.tolist()))
    assert (len(held), len(ready.prompts)) == (40, 20)


def test_what_is_written(done: Result) -> None:
    content = json.loads((done.folder / "result.json").read_text())
    assert content["sentence"] == done.sentence
    assert len(content["findings"]) == 7
    page = (done.folder / "report.html").read_text()
    assert page.count("<svg") == 6
    for said in (
        *NAMES,
        done.sentence,
        "the teacher itself",
        "To the truth (golden)",
        "Golden against proxy",
    ):
        assert said in page
    assert "https://" not in page


def made_up(**changed: list[float]) -> Mapping[tuple[str, str], list[float]]:
    """Values under which every part of the claim appears, but for those that are changed."""
    values = {
        ("offline", "rise"): [0.05, 0.06, 0.05],
        ("offline", "proxy_then"): [0.3, 0.31, 0.3],
        ("offline", "proxy"): [0.2, 0.2, 0.2],
        ("online, teacher", "rise"): [0.0, 0.001, 0.0],
        ("online, student", "rise"): [0.0, 0.0, 0.0],
    }
    golden = {"offline": 0.6, "online, teacher": 0.5, "5 prompts × 4": 0.8, "20 prompts × 4": 0.55}
    values |= {(name, "golden"): [at, at + 0.01, at] for name, at in golden.items()}
    return values | {("offline", key): one for key, one in changed.items()}


def verdicts(values: Mapping[tuple[str, str], list[float]]) -> list[str]:
    return [one.verdict for one in TeacherHacking(SMALL).judge(SMALL, values)]


def test_the_rule() -> None:
    assert verdicts(made_up()) == ["appeared"] * 7
    assert verdicts(made_up(rise=[0.005, 0.004, 0.0]))[0] == "did not appear"
    overfitted = made_up(proxy=[0.4, 0.41, 0.4])  # the proxy turns too: that is no hacking
    assert verdicts(overfitted)[:2] == ["appeared", "did not appear"]
    never = made_up(rise=[0.02, 0.0, 0.03])  # in one seed golden was lowest at the end: then is now
    assert verdicts(never)[1] == "cannot be told"
    noisy = {**made_up(), ("online, teacher", "rise"): [0.0, 0.03, 0.0]}
    assert verdicts(noisy)[2] == "cannot be told"
    same = made_up(golden=[0.5, 0.51, 0.5])
    assert verdicts(same)[4:] == ["did not appear", "appeared", "did not appear"]


def test_what_is_refused(tmp_path: Path) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"fewer": ()}, "a factor of 2 or more"),
        ({"more": (1,)}, "a factor of 2 or more"),
        ({"distilled": 25}, "must divide distilled=25"),
        ({"fewer": (3,)}, "must divide distilled=20"),
        ({"epochs": 6}, "must divide epochs=6"),
    ]
    for changed, said in refused:
        with pytest.raises(InputError, match=said):
            replace(SMALL, **changed)
    with pytest.raises(InputError, match="different prompts"):
        TeacherHacking(replace(SMALL, held=200)).run(tmp_path / "a", device="cpu")
