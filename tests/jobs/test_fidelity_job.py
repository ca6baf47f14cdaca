"""`measure_fidelity`: against what each measurement says of the same logits, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.errors import InputError
from understudy.fidelity.calibration import ece
from understudy.fidelity.streaming import Fidelity
from understudy.jobs.fidelity_job import PARTS


@pytest.fixture(scope="module")
def report(teacher: Path, student: Path, tmp_path_factory: pytest.TempPathFactory) -> us.FidelityReport:
    out = tmp_path_factory.mktemp("fidelity") / "out"
    return us.measure_fidelity(teacher, student, "digits", examples=300, batch_size=64, out=out)


def logits(path: Path, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return us.load(path, data="digits").module.eval()(inputs)


@pytest.mark.parametrize(("name", "split"), [("training", "train"), ("test", "test")])
def test_a_part_is_what_fidelity_says(
    report: us.FidelityReport, teacher: Path, student: Path, name: Any, split: str
) -> None:
    data = us.load_data("digits", split).take(300)
    both = logits(teacher, data.inputs(slice(None))), logits(student, data.inputs(slice(None)))
    direct = Fidelity()
    direct.update(*both, data.labels)
    part = report.part(name)
    assert part.examples == 300
    assert set(part.pair) == set(direct.result().estimates())
    for key, one in direct.result().estimates().items():
        assert part.pair[key].mean == pytest.approx(one.mean, abs=1e-6), key
        assert part.pair[key].error == pytest.approx(one.error, abs=1e-6), key
    plain = next(one for one in part.temperatures if one.temperature == 1)
    assert data.labels is not None
    assert plain.ece_student == pytest.approx(ece(both[1], data.labels), abs=1e-5)
    assert (part.floors, part.excess) == ([], {})


def test_augmented_and_shifted_inputs_are_others(report: us.FidelityReport) -> None:
    assert [one.name for one in report.record.parts] == list(PARTS)
    accuracy = {one.name: one.pair["teacher_accuracy"].mean for one in report.record.parts}
    assert accuracy["augmented"] < accuracy["training"]  # a net without convolutions has never seen a shift
    assert report.part("shifted").pair["kl"].mean != report.part("test").pair["kl"].mean
    assert "noise of 0.1" in report.part("shifted").said


def test_what_is_written(report: us.FidelityReport) -> None:
    assert report.folder is not None
    assert sorted(one.name for one in report.folder.iterdir()) == ["fidelity.json", "report.html"]
    content = json.loads((report.folder / "fidelity.json").read_text())
    assert content["schema"] == 1
    assert [one["name"] for one in content["parts"]] == list(PARTS)
    assert content["said"] == report.record.said
    page = (report.folder / "report.html").read_text()
    for said in report.record.said:
        assert said in page
    assert ">nan" not in page.lower()


def test_beside_other_teachers(teacher: Path, student: Path) -> None:
    """A student that is its own floor is neither nearer nor farther; a copy is nearer than any other net."""
    own = us.measure_fidelity(teacher, student, "digits", others=[student], on=["test"]).part("test")
    assert own.floors[0] == own.pair | {}
    assert own.excess["kl"].mean == own.excess["agreement"].mean == 0.0
    copy = us.measure_fidelity(teacher, teacher, "digits", others=[student, student], on=["test"])
    part = copy.part("test")
    assert part.pair["agreement"].mean == 1.0
    assert part.excess["kl"].mean < 0
    assert "is nearer than they are" in copy.record.said[1]
    far = us.measure_fidelity(teacher, student, "digits", others=[teacher], on=["test"])
    assert "the student’s distance" not in far.record.said[1]
    assert "is farther away than that one is" in far.record.said[1]
    assert (
        "cannot be told"
        in us.measure_fidelity(teacher, student, "digits", others=[student], on=["test"]).record.said[1]
    )


def test_data_of_ones_own() -> None:
    torch.manual_seed(0)
    one, other = (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)) for _ in range(2))
    inputs = torch.rand(40, 3, 2, 2)
    found = us.measure_fidelity(one, other, (inputs, None), valid_range=(0.0, 1.0))
    assert [part.name for part in found.record.parts] == ["test", "shifted"]
    assert set(found.record.skipped) == {"training", "augmented"}
    assert "teacher_accuracy" not in found.part("test").pair
    with pytest.raises(InputError, match="no training split"):
        found.part("training")
    unbounded = us.measure_fidelity(one, other, (inputs, None))
    assert "state the noise" in unbounded.record.skipped["shifted"]
    every = us.measure_fidelity(
        one, other, (inputs, None), training=(inputs[:10], None), noise=0.5, mirror=True
    )
    assert [part.name for part in every.record.parts] == list(PARTS)
    assert "half mirrored" in every.part("augmented").said
    assert every.part("training").examples == 10
    moved = us.measure_fidelity(
        one, other, (inputs, None), shifted=(inputs + 1, None), on=["shifted", "test"]
    )
    by_hand = us.measure_fidelity(one, other, (inputs + 1, None), on=["test"])
    assert moved.part("shifted").pair == by_hand.part("test").pair
    assert not math.isclose(moved.part("shifted").pair["kl"].mean, moved.part("test").pair["kl"].mean)


def test_guests_are_left_as_they_were() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.BatchNorm1d(3)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = us.measure_fidelity(net, net, (torch.rand(9, 3, 2, 2), None), on=["test"])
    assert found.part("test").pair["agreement"].mean == 1.0
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"on": ["nonsense"]}, "kind of data 'nonsense'"),
        ({"on": []}, "at least one"),
        ({"on": ["test", "test"]}, "different kinds"),
        ({"noise": 0.0}, "the noise"),
        ({"pixels": 0}, "pixels must be 1 or more"),
        ({"examples": 0}, "examples must be 1 or more"),
        ({"temperatures": []}, "one temperature"),
        ({"device": "tpu"}, "device must be"),
        ({"shifted": (torch.rand(4, 3), None)}, "have the shape"),
        ({"training": (torch.rand(4, 3), None)}, "have the shape"),
        ({"others": ["nowhere"]}, "nowhere"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_refused(
    given: dict[str, Any], said: str, teacher: Path, student: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=said):
        us.measure_fidelity(teacher, student, "digits", **{"out": out, **given})
    assert not out.exists()
