"""Faithful distillation: what must hold at any size, and what the figures become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import InputError
from understudy.experiments.base import Result
from understudy.experiments.faithful_kd import FaithfulKD
from understudy.experiments.parts.faithful_kd_settings import METHODS, Distilled, Sizes, method_of
from understudy.experiments.parts.tempered_fd import TemperedFD

NAMES = [
    "FD", "SD", "ARD", "RSLAD", "FD trained at 0", "FD at T = 4", "FD at rate 0.005", "FD at rate 0.04",
    "not robust, SD", "not robust, FD", "same shape, SD", "same shape, FD",
    "mlp to cnn, SD", "mlp to cnn, FD", "cnn to mlp, SD", "cnn to mlp, FD",
]  # fmt: skip
RUN = [*NAMES[:5], "not robust, SD", "not robust, FD"]  # reading a network for the bounds takes half a second
SMALL = Sizes(
    seeds=(0,), examples=100, points=8, teacher="mlp[12]", student="mlp[8]", other="cnn[2,2,8]", teacher_epochs=4,
    epochs=2, batch_size=25, steps=2, search=(2, 0, 0), near=0.05, radii=(0.05, 0.1), training_radii=(0.0,),
)  # fmt: skip


class Few(FaithfulKD):
    """Some of the settings."""

    def settings(self, scale: Sizes) -> list[Distilled]:
        return [one for one in super().settings(scale) if one.name in RUN]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return Few(SMALL).run(tmp_path_factory.mktemp("experiment") / "out", device="cpu")


def test_settings() -> None:
    settings = {one.name: one for one in FaithfulKD().settings(SMALL)}
    assert list(settings) == NAMES
    base = settings["FD"]
    assert (base.method, base.teacher, base.student, base.eps) == ("FD", "robust", "mlp[8]", 0.1)
    differ: dict[str, dict[str, Any]] = {
        "ARD": {"method": "ARD"},
        "FD trained at 0": {"eps": 0.0},
        "FD at T = 4": {"temperature": 4.0},
        "FD at rate 0.04": {"lr": 0.04},
        "not robust, SD": {"method": "SD", "teacher": "not robust"},
        "same shape, FD": {"student": "mlp[12]"},
        "mlp to cnn, FD": {"student": "cnn[2,2,8]"},
        "cnn to mlp, SD": {"method": "SD", "teacher": "other"},
    }
    for name, changed in differ.items():
        one = settings[name]
        assert one == replace(base, name=name, axes=one.axes, places=one.places, **changed)
    methods = {one.method: method_of(one, SMALL) for one in settings.values() if one.teacher == "robust"}
    assert [type(methods[name]).__name__ for name in METHODS] == ["SD", "ARD", "RSLAD", "TemperedFD"]
    assert method_of(settings["FD at T = 4"], SMALL) == TemperedFD(temperature=4.0, steps=2)
    assert {getattr(one, "steps", 2) for one in methods.values()} == {2}


def test_a_row_a_setting(done: Result) -> None:
    assert [row["setting"] for row in done.rows] == RUN
    for row in done.rows:
        for metric in FaithfulKD.metrics:
            assert 0 <= row[metric] <= 1, (row["setting"], metric)
        for end in ("lower", "upper"):
            at_zero, *rest = row[f"{end}_curve"]
            assert at_zero == pytest.approx(row["clean_gap"], abs=1e-9)  # at radius 0 the two are one
            assert rest == [row[f"near_{end}"], row[end]]
        for kind in ("", "floor_"):
            lower, upper = row[f"{kind}lower_curve"], row[f"{kind}upper_curve"]
            assert all(low <= high + 1e-9 for low, high in zip(lower, upper, strict=True))
            assert lower == sorted(lower)
        assert (row["floor"], row["floor_upper"]) == (
            row["floor_lower_curve"][-1],
            row["floor_upper_curve"][-1],
        )
        assert row["agreement"] >= row["accuracy"] + row["teacher_accuracy"] - 1 - 1e-9


def test_teachers_are_shared(done: Result) -> None:
    """One teacher a kind: what belongs to it is the same in all of its settings."""
    kinds: dict[str, set[tuple[float, float]]] = {}
    for row in done.rows:
        kind = row["setting"].split(",")[0] if "," in row["setting"] else "robust"
        kinds.setdefault(kind, set()).add((row["teacher_accuracy"], row["teacher_attacked"]))
    assert [len(found) for found in kinds.values()] == [1, 1]
    assert len(set().union(*kinds.values())) == 2
    assert len({row["floor"] for row in done.rows}) == 1


def test_fd_without_a_radius_is_sd(done: Result) -> None:
    """The identity that ties the methods together, to the last digit of every number."""
    by = {row["setting"]: {**row, "setting": "", "seconds": 0} for row in done.rows}
    assert by["FD trained at 0"] == by["SD"]
    assert by["FD"] != by["SD"]


def test_the_page(done: Result) -> None:
    content = json.loads((done.folder / "result.json").read_text())
    assert content["sentence"] == done.sentence
    page = (done.folder / "report.html").read_text()
    assert page.count("<svg") == 6 + 2 + 2  # an axis each, the curves, the bars
    said = (
        *RUN, done.sentence, "another robust teacher", "Training radius", "Over the radius", "Between found and proved",
        "What the paper leaves open", "mlp[12], not robust → mlp[8]", "mlp[12], robust → mlp[8]",
    )  # fmt: skip
    for part in said:
        assert part in page, part
    assert "http://" not in page.replace("http://www.w3.org", "")


def made_up(**changed: list[float]) -> Mapping[tuple[str, str], list[float]]:
    """Values under which every part of the claim appears, but for those that are changed ("SD_lower", ...)."""
    means = {"SD": 0.4, "ARD": 0.25, "RSLAD": 0.2, "FD": 0.1}
    values = {
        (name, metric): [mean - 0.01, mean, mean + 0.02]
        for name, mean in means.items()
        for metric in ("lower", "upper", "near_lower", "near_upper")
    }
    return values | {(key.split("_", 1)[0], key.split("_", 1)[1]): one for key, one in changed.items()}


def verdicts(values: Mapping[tuple[str, str], list[float]]) -> list[str]:
    return [one.verdict for one in FaithfulKD(SMALL).judge(SMALL, values)]


def test_the_rule() -> None:
    names = [one.name for one in FaithfulKD(SMALL).judge(SMALL, made_up())]
    assert [name.removeprefix("by attack ").split()[0] for name in names] == [
        "FD",
        "RSLAD",
        "ARD",
        "FD",
        "FD",
    ]
    assert verdicts(made_up()) == ["appeared"] * 5
    assert verdicts(made_up(ARD_lower=[0.5, 0.51, 0.52])) == [
        *["appeared"] * 2,
        "did not appear",
        *["appeared"] * 2,
    ]
    looser = made_up(RSLAD_upper=[0.05, 0.06, 0.08])  # one that is tighter than FD is enough
    assert verdicts(looser) == [*["appeared"] * 3, "did not appear", "appeared"]
    mixed = made_up(SD_near_upper=[0.0, 0.4, 0.4])
    assert verdicts(mixed)[4] == "cannot be told"


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be above 0 and ascend"):
        Sizes(radii=(0.05, 0.02, 0.1))
    with pytest.raises(InputError, match=r"must end with the training radius 0\.2"):
        Sizes(eps=0.2)
    with pytest.raises(InputError, match=r"hold near, 0\.03"):
        Sizes(near=0.03)
    with pytest.raises(InputError, match="500 labelled test examples, it has 450"):
        FaithfulKD(replace(SMALL, points=500)).run(tmp_path / "a")
