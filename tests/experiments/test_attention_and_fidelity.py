"""Attention and fidelity: what must hold at any size, and what the figures become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.experiments.attention_and_fidelity import AttentionAndFidelity
from understudy.experiments.base import Result
from understudy.experiments.parts.attention_looks import NAMES, alike, asked, looks
from understudy.experiments.parts.attention_teachers import Ready, Sizes, Taught, sized
from understudy.models.config import ModelConfig
from understudy.models.zoo import build

SMALL = Sizes(
    seeds=(0,), side=8, per_class=2, head_class=6, imbalance=3.0, tested=30, teacher="resnet8[2]",
    student="resnet8[2]", transformer="vit[2,4,1,1]", teacher_epochs=1, epochs=1, transformer_epochs=1, pictures=2,
)  # fmt: skip
PAIRS = ["weak/weak", "weak/strong", "strong/strong"]
SIDE = [
    f"{kind}, {pair}"
    for kind in ("long-tailed", "strong view", "z-scored", "transformers")
    for pair in PAIRS[::2]
]
NETS = ["maps apart", "maps together"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return AttentionAndFidelity(SMALL).run(tmp_path_factory.mktemp("experiment") / "out")


def test_a_row_a_setting_and_seed(done: Result) -> None:
    settings = [*PAIRS, *SIDE, *NETS]
    assert [(r["setting"], r["seed"]) for r in done.rows] == [(name, 0) for name in settings]
    for row in done.rows:
        vit = row["setting"].startswith("transformers")
        for metric, about in AttentionAndFidelity.metrics.items():
            if vit and metric in ("iou_code", "iou_energy"):
                assert metric not in row
            elif metric.startswith("iou") or (about.share and metric != "gap"):
                assert 0 <= row[metric] <= 1
        assert row["agreement"] >= row["student_accuracy"] + row["teacher_accuracy"] - 1 - 1e-9
        assert row["information"] <= 2.31  # ln 10, and a little for the correction
        assert len(row["shown"]) == 2 * 64
        assert {len(row[name]) for name in NAMES} == {2 * (16 if vit else 4)}
    assert len({json.dumps({**r, "setting": "", "seconds": 0}) for r in done.rows}) == len(done.rows)


def test_the_same_teachers_look_alike_in_every_setting_that_has_them(done: Result) -> None:
    rows = {(r["setting"], r["seed"]): r for r in done.rows}
    for pair in PAIRS[::2]:
        for kind in ("strong view", "z-scored"):
            for metric in ("iou", "iou_code", "iou_energy", "iou_chance", "teacher_accuracy", "between"):
                assert rows[f"{kind}, {pair}", 0][metric] == rows[pair, 0][metric]
    for name in NETS:  # the first teacher is the same, the second is not
        assert rows[name, 0]["teacher 1"] == rows["weak/weak", 0]["teacher 1"]
        assert rows[name, 0]["teacher 2"] != rows["weak/weak", 0]["teacher 2"]


def test_the_data(done: Result) -> None:
    ready = Ready.open(SMALL, 1, None, "cpu")  # another seed: its own draw
    sizes = {
        name: torch.bincount(data.labels).tolist()
        for name, data in ready.worlds.items()
        if data.labels is not None
    }
    assert sizes["balanced"] == [2] * 10
    assert sizes["long-tailed"] == [6, 5, 4, 4, 3, 3, 2, 2, 2, 2]
    assert ready.test.shape == (1, 8, 8)
    assert Ready.open(replace(SMALL, side=6), 1, None, "cpu").test.shape == (1, 6, 6)
    paired = Taught("x", {}, {}, ("weak", "weak"))
    one, two = ready.teachers(paired)
    assert ready.teachers(paired) == [one, two]
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def nets(*seeds: int) -> dict[str, torch.nn.Module]:
    found = []
    for seed in seeds:
        torch.manual_seed(seed)
        found.append(build(ModelConfig("resnet8[2]", (1, 8, 8), 10)).eval())
    return dict(zip(NAMES, found, strict=True))


def images(count: int) -> DataSet:
    drawn = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return DataSet("made up", "test", drawn, torch.arange(count) % 10)


def test_a_student_that_is_both_its_teachers() -> None:
    """Three times one net: all alike. With another teacher: no longer."""
    data = images(300)
    same, other = nets(1, 1, 1), nets(1, 2, 1)
    found = {**asked(same, data, data), **alike(same, data, False)}
    for metric in ("agreement", "between", "iou", "iou_student", "iou_energy", "iou_code"):
        assert found[metric] == pytest.approx(1.0)
    for metric in ("kl", "wasserstein", "gap"):
        assert found[metric] == pytest.approx(0.0, abs=1e-6)
    assert found["iou_chance"] < 1
    changed = {**asked(other, data, data), **alike(other, data, False)}
    for metric in ("agreement", "between", "iou", "iou_student", "iou_energy", "iou_code"):
        assert 0 <= changed[metric] < 1
    assert changed["kl"] > 0
    drawn = looks(same, data.take(2), False)
    assert drawn["teacher 1"] == drawn["student"]
    assert drawn["shown"] == (255 * data.inputs(slice(0, 2))).round().flatten().tolist()
    assert {min(drawn["student"]), max(drawn["student"])} == {0.0, 255.0}


def test_what_is_written(done: Result) -> None:
    content = json.loads((done.folder / "result.json").read_text())
    assert content["sentence"] == done.sentence
    page = (done.folder / "report.html").read_text()
    assert page.count("<svg") == 8  # six axes, and two against the overlap
    assert page.count("<img") == 4 * 2 * 5
    for said in (*PAIRS, *NETS, done.sentence, "Against the overlap", "Where they look", "Transformers"):
        assert said in page
    assert ">nan" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def made_up(**changed: float) -> Mapping[tuple[str, str], list[float]]:
    """Values under which every part of the claim appears, but for what is changed, "kind_metric" or "metric"."""
    values = {}
    for name in (*PAIRS, *SIDE, *NETS):
        strong = name.endswith("strong/strong") or name == "maps apart"
        kind = name.split(",")[0].split()[0].split("-")[0] if name not in PAIRS else "plain"
        for metric, low, high in (("iou", 0.4, 0.6), ("agreement", 0.7, 0.8), ("information", 1.0, 1.2)):
            values[name, metric] = changed.get(f"{kind}_{metric}", low if strong else high)
        values[name, "wasserstein"] = changed.get(f"{kind}_wasserstein", 0.5 if strong else 0.4)
        up = (0.1 if strong else 0.0) + (0.05 if kind == "z" else 0.0)
        values[name, "student_accuracy"] = changed.get(f"{kind}_accuracy", 0.7 + up)
    return {key: [one, one + 0.001, one - 0.001] for key, one in values.items()}


def verdicts(**changed: float) -> dict[str, str]:
    return {one.name: one.verdict for one in AttentionAndFidelity().judge(SMALL, made_up(**changed))}


def test_the_rule() -> None:
    every = verdicts()
    assert set(every.values()) == {"appeared"}
    assert len(every) == 18

    def refuted(**changed: float) -> set[str]:
        return {name for name, verdict in verdicts(**changed).items() if verdict == "did not appear"}

    assert refuted(maps_accuracy=0.7) == {"steered: accuracy"}
    assert refuted(maps_iou=0.7) == {"steered: attention"}
    assert refuted(transformers_agreement=0.7) == {"transformers: agreement"}
    assert refuted(long_iou=0.7) == {"long-tailed: attention"}
    assert refuted(z_accuracy=0.7) == {"z-scores: accuracy"}
    assert refuted(z_agreement=0.8) == {"z-scores: no agreement gained"}
    assert refuted(strong_accuracy=0.6) == {"all strong: accuracy"}
    assert refuted(plain_wasserstein=0.5) == {"Wasserstein"}


def test_every_pair() -> None:
    full = AttentionAndFidelity.full
    names = [one.name for one in AttentionAndFidelity().settings(full)]
    assert len(names) == len(set(names)) == 3 + 4 * 3 + 2
    assert "long-tailed, weak/strong" in names


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="steering"):
        Sizes(steering=0.0)
    with pytest.raises(InputError, match="asked for 5000"):
        AttentionAndFidelity(replace(SMALL, per_class=5000)).run(tmp_path / "a")
    with pytest.raises(InputError, match="looked for in images"):
        sized(DataSet("rows", "test", torch.rand(4, 6)), 8)
    unlabelled = DataSet("x", "test", torch.rand(4, 1, 8, 8))
    with pytest.raises(InputError, match="no classes"):
        asked(nets(1, 2, 3), unlabelled, unlabelled)
