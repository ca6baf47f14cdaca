"""`measure_fidelity`: against what each measurement says of the same logits, and what is refused."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

import understudy as us
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.fidelity.calibration import ece
from understudy.fidelity.streaming import Fidelity
from understudy.jobs import fidelity_job
from understudy.jobs.fidelity_job import PARTS
from understudy.jobs.opening import open_data
from understudy.report.fidelity_table import fidelity_table


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


def two(classes: int = 3, shape: tuple[int, int, int] = (3, 2, 2)) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    one, other = (nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes)) for _ in range(2))
    return one, other


def parquet(path: Path, inputs: Tensor) -> Path:
    """Images (N, 1, H, W) of bytes, with the labels 0, 1, 2, 0, ..., in a file."""
    images = []
    for one in inputs:
        held = io.BytesIO()
        Image.fromarray(one[0].numpy()).save(held, "PNG")
        images.append({"bytes": held.getvalue(), "path": None})
    pq.write_table(pa.table({"image": images, "label": [i % 3 for i in range(len(inputs))]}), path)
    return path


def test_a_file_without_a_split_is_no_training_set_as_well(tmp_path: Path) -> None:
    images = (256 * torch.rand(9, 1, 4, 4)).to(torch.uint8)
    mine, more = parquet(tmp_path / "mine.parquet", images), parquet(tmp_path / "more.parquet", 255 - images)
    pair = two(shape=(1, 4, 4))
    found = us.measure_fidelity(*pair, mine)
    assert [part.name for part in found.record.parts] == ["test", "shifted"]
    for name in ("training", "augmented"):
        assert "has no training split of its own" in found.record.skipped[name]
    every = us.measure_fidelity(*pair, mine, training=more)
    assert [part.name for part in every.record.parts] == list(PARTS)
    for kind in ("training", "augmented"):
        with pytest.raises(InputError, match="is the test data"):
            us.measure_fidelity(*pair, mine, training=str(mine), on=[kind, "test"])
    with pytest.raises(InputError, match="no training split of its own"):
        us.measure_fidelity(*pair, mine, on=["training", "augmented"])


def test_the_test_data_under_other_labels_are_no_training_set() -> None:
    inputs = torch.rand(9, 3, 2, 2)
    with pytest.raises(InputError, match="is the test data"):
        us.measure_fidelity(*two(), (inputs, torch.arange(9) % 3), training=(inputs, None))


def test_the_training_set_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counted(source: Any, split: str, **options: Any) -> Any:
        opened.append(split)
        return open_data(source, split, **options)

    monkeypatch.setattr(fidelity_job, "open_data", counted)
    pair = two(10, (1, 8, 8))
    found = us.measure_fidelity(*pair, "digits", examples=9)
    assert [part.name for part in found.record.parts] == list(PARTS)
    assert opened == ["test", "train"]


def test_what_was_named_for_augmentation_is_raised_and_the_rest_left_out() -> None:
    data, small = (torch.rand(9, 3, 2, 2), None), (torch.rand(5, 3, 2, 2), None)
    wrong: Any = (torch.rand(5, 3), None)
    with pytest.raises(InputError, match="have the shape"):
        us.measure_fidelity(*two(), data, training=wrong, on=["augmented", "test"])
    with pytest.raises(InputError, match=r"below the image's sides .*found 2"):
        us.measure_fidelity(*two(), data, training=small, pixels=2)
    assert us.measure_fidelity(*two(), data, training=small).record.settings["pixels"] == 1
    points: tuple[Any, Any] = (torch.rand(9, 12), None), (torch.rand(5, 12), None)
    flat = us.measure_fidelity(*two(), points[0], training=points[1], noise=0.1, pixels=1)
    assert "needs images" in flat.record.skipped["augmented"]
    dots: tuple[Any, Any] = (torch.rand(9, 12, 1, 1), None), (torch.rand(5, 12, 1, 1), None)
    assert "sides" in us.measure_fidelity(*two(), dots[0], training=dots[1]).record.skipped["augmented"]


def test_missing_labels_are_noted(tmp_path: Path) -> None:
    inputs, labels = torch.rand(20, 3, 2, 2), torch.arange(20) % 3
    test, whole = DataSet("mine", "test", inputs, labels, classes=3), torch.rand(20, 3, 2, 2)
    partly = DataSet(
        "mine", "train", whole, labels.clone().index_fill_(0, torch.tensor([9]), -1), 3, partly=True
    )
    found = us.measure_fidelity(*two(), test, training=partly, on=["training", "test"], out=tmp_path / "out")
    assert found.record.skipped == {"training: labels": "some examples bear none"}
    assert "teacher_accuracy" in found.part("test").pair
    assert "teacher_accuracy" not in found.part("training").pair
    assert found.part("training").temperatures[0].ece_teacher is None
    said = "On training data the labels were left out: some examples bear none."
    assert said in (tmp_path / "out" / "report.html").read_text()
    first = us.measure_fidelity(*two(), test, training=partly, on=["training"], examples=9)
    assert first.record.skipped == {}
    assert "teacher_accuracy" in first.part("training").pair


def test_of_too_many_classes_the_answers_are_left_out_alone(tmp_path: Path) -> None:
    data: Any = (torch.rand(6, 3, 2, 2), None)
    found = us.measure_fidelity(*two(4097), data, on=["test"], out=tmp_path / "out")
    part = found.part("test")
    assert part.answers is None
    assert part.confidences.count == part.pair["kl"].count == 6
    assert "4097 columns" in found.record.skipped["test: answers"]
    assert json.loads((tmp_path / "out" / "fidelity.json").read_text())["parts"][0]["answers"] is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert "On test data the information of the answers was left out" in page
    assert "Test, answers" not in page
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(fidelity_table(found.record))
    assert "–" in console.export_text()


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
