"""What a student copied as a whole: which rows, what is left out and why, and that it survives a file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor, nn

from understudy.auditing import copied
from understudy.auditing.copied import EXAMPLES, FEWEST, affordable, look_closer, looked_at
from understudy.auditing.copied_record import copied_from_json
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.ensemble import MeanConfidence, Team
from understudy.models.estimators import Tree
from understudy.models.gcn import InGraph
from understudy.models.normalize import Normalized
from understudy.models.opening import LoadedModel, open_model
from understudy.models.zoo import build

CPU = torch.device("cpu")


def net(spec: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(ModelConfig(spec, (1, 8, 8), 3))


@pytest.fixture(scope="module")
def images() -> DataSet:
    random = torch.Generator().manual_seed(3)
    labels = torch.randint(3, (20,), generator=random)
    return DataSet("made", "test", torch.rand(20, 1, 8, 8, generator=random), labels, classes=3)


def test_rows_are_bounded_and_within_the_split() -> None:
    assert looked_at(10_000, 64, 100) == slice(100, 100 + EXAMPLES)
    assert looked_at(550, 64, 100) == slice(50, 550)
    assert looked_at(20, 64, 5) == slice(0, 20)
    assert looked_at(10_000, 150_528, 0) == slice(0, FEWEST)
    assert looked_at(10_000, 3072, 0) == slice(0, EXAMPLES)


def test_a_pair_of_convolutional_nets_has_all_of_it(images: DataSet) -> None:
    teacher, student = open_model(net("resnet8[4]")), open_model(net("resnet8[4]", 1))
    record, maps = look_closer(teacher, student, images, 2, CPU)
    assert (record.start, record.examples, record.skipped) == (0, 20, {})
    assert record.attention is not None
    assert len(record.layers) == 1
    assert set(maps) == {"inputs", "maps"}
    with torch.no_grad():
        said = [m.module(images.inputs(slice(None))).argmax(1) for m in (teacher, student)]
    assert record.answers.agreement.mean == pytest.approx(float((said[0] == said[1]).double().mean()))
    for shown in record.attention.shown:
        assert shown.classes == [int(answer[shown.index]) for answer in said]
    again = copied_from_json(json.loads(json.dumps(asdict(record), allow_nan=False)))
    assert again == record


def test_twice_is_the_same(images: DataSet) -> None:
    pair = open_model(net("resnet8[4]")), open_model(net("resnet8[4]", 1))
    one, other = (asdict(look_closer(*pair, images, 0, CPU)[0]) for _ in range(2))
    one.pop("seconds"), other.pop("seconds")
    assert one == other


def test_members_of_a_team_are_looked_at_one_by_one(images: DataSet) -> None:
    team = open_model(Team([net("resnet8[4]"), net("mlp[6]", 1)]))
    record, maps = look_closer(team, open_model(net("resnet8[4]", 2)), images, 0, CPU)
    assert [one.teacher for one in record.layers] == ["teacher 1", "teacher 2"]
    assert "teacher 2 has neither attention" in record.skipped["attention"]
    assert record.attention is None
    assert maps == {}
    alike, _ = look_closer(
        open_model(Team([net("resnet8[4]"), net("resnet8[4]", 1)])),
        open_model(net("resnet8[4]", 2)),
        images,
        0,
        CPU,
    )
    assert alike.attention is not None
    assert alike.attention.models == ["teacher 1", "teacher 2", "student"]


def test_models_in_double_precision_are_looked_at_in_it(images: DataSet) -> None:
    record, maps = look_closer(
        open_model(net("resnet8[4]").double()), open_model(net("resnet8[4]", 1)), images, 0, CPU
    )
    assert record.skipped == {}
    assert maps["maps"].dtype == torch.float32


def test_an_estimator_and_a_graph_have_no_layers_and_still_answers() -> None:
    data = DataSet("made", "test", torch.tensor([[0.0], [1.0]]), None, classes=2)
    tree = open_model(
        nn.Sequential(Tree.fit(torch.tensor([[0.0], [1.0]]), torch.eye(2, dtype=torch.float64)))
    )
    line = open_model(nn.Linear(1, 2))
    record, _ = look_closer(line, tree, data, 0, CPU)
    assert set(record.skipped) == {"attention", "layers"}
    assert "the student is tree[3,1], which has no layers" in record.skipped["layers"]
    assert record.answers.agreement.count == 2
    nodes = DataSet("made", "test", torch.arange(5.0)[:, None], None, classes=2, high=4.0)
    graph = LoadedModel(InGraph(nn.Linear(3, 2), torch.rand(5, 3)).eval(), "graph", "0" * 64, 8)
    record, _ = look_closer(graph, graph, nodes, 0, CPU)
    assert "answers for a whole graph at once" in record.skipped["attention"]
    assert record.answers.agreement.mean == 1.0


def test_vectors_have_layers_and_no_maps(pair: tuple[LoadedModel, LoadedModel], points: DataSet) -> None:
    record, maps = look_closer(*pair, points, 0, CPU)
    assert set(record.skipped) == {"attention"}
    assert "an input here is (6,)" in record.skipped["attention"]
    assert record.layers[0].row_kinds == ["ReLU", "Linear"]
    assert maps == {}


def test_partly_labelled_rows_are_looked_at_without_labels(images: DataSet) -> None:
    assert images.labels is not None
    labels = images.labels.clone()
    labels[[2, 7]] = -1
    data = DataSet("made", "test", images.inputs(slice(None)), labels, classes=3, partly=True)
    record, _ = look_closer(open_model(net("resnet8[4]")), open_model(net("resnet8[4]", 1)), data, 0, CPU)
    assert record.skipped == {"labels": "2 of the 20 examples have none"}
    assert record.answers.accuracy_teacher is None
    assert record.attention is not None
    assert {shown.label for shown in record.attention.shown} == {None}


class Breaks(nn.Module):
    """Its logits are not finite where the first value of an input is above 1/2."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) / (x.flatten(1)[:, :1] <= 0.5)


def test_rows_without_finite_logits_are_left_out(images: DataSet) -> None:
    broken, student = open_model(Breaks(net("resnet8[4]"))), open_model(net("resnet8[4]", 1))
    first = images.inputs(slice(None)).flatten(1)[:, 0]
    record, maps = look_closer(broken, student, images, 0, CPU)
    assert record.left_out == (first > 0.5).nonzero().flatten().tolist()
    assert record.examples == int((first <= 0.5).sum()) == record.answers.agreement.count
    assert record.attention is not None
    for shown, kept in zip(record.attention.shown, maps["inputs"], strict=True):
        assert torch.equal(kept, images.inputs(slice(None))[shown.index])
        assert images.labels is not None
        assert shown.label == int(images.labels[shown.index])
    assert copied_from_json(json.loads(json.dumps(asdict(record), allow_nan=False))) == record
    ones = DataSet("made", "test", torch.ones(6, 1, 8, 8), None, classes=3)
    with pytest.raises(InputError, match="no row from 0 to 5 has finite logits"):
        look_closer(broken, student, ones, 0, CPU)


class Rebuilds(nn.Module):
    """(logits, the input made again): its last maps are not on the way to its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.head, self.up = (
            nn.Conv2d(1, 4, 2, stride=2),
            nn.Linear(4, 3),
            nn.ConvTranspose2d(4, 1, 2, 2),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.down(x)
        return self.head(low.mean((2, 3)).relu()), self.up(low)


def test_maps_that_lead_elsewhere_are_skipped_and_the_rest_stays(images: DataSet) -> None:
    record, _ = look_closer(open_model(net("resnet8[4]")), open_model(Rebuilds()), images, 0, CPU)
    assert "on the way to the logits" in record.skipped["attention"]
    assert set(record.skipped) == {"attention"}
    assert record.layers


@pytest.mark.parametrize("kind", [Team, MeanConfidence])
def test_a_team_is_seen_through_its_normalisation(kind: type[nn.Module], images: DataSet) -> None:
    members = [net("resnet8[4]"), net("resnet8[4]", 1)]
    whole = open_model(Normalized(kind(members), (0.4,), (0.3,)))
    apart = open_model(kind([Normalized(member, (0.4,), (0.3,)) for member in members]))
    student = open_model(net("resnet8[4]", 2))
    (found, maps), (expected, others) = (
        look_closer(team, student, images, 0, CPU) for team in (whole, apart)
    )
    assert found.attention is not None
    assert found.attention.models == ["teacher 1", "teacher 2", "student"]
    assert replace(found, seconds=0.0) == replace(expected, seconds=0.0)
    assert torch.equal(maps["maps"], others["maps"])


def test_one_example_has_no_interval_of_a_distance(images: DataSet) -> None:
    record, _ = look_closer(open_model(net("mlp[6]")), open_model(net("mlp[6]", 1)), images.take(1), 0, CPU)
    for found in (record.answers.kl, record.answers.total_variation, record.answers.jensen_shannon):
        assert (found.low, found.high, found.count) == (None, None, 1)
    assert record.answers.agreement.low is not None


def test_slow_models_are_looked_at_on_fewer_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert affordable(500, 0.001) == 500
    assert affordable(500, 1e6) == FEWEST
    assert affordable(10, 1e6) == 10
    assert FEWEST < affordable(500, 0.4) < 500
    data = DataSet("made", "test", torch.rand(90, 1, 8, 8), None, classes=3)
    pair = open_model(net("mlp[6]")), open_model(net("mlp[6]", 1))
    assert look_closer(*pair, data, 0, CPU)[0].examples == 90
    monkeypatch.setattr(copied, "_answering", lambda pair, inputs: 1e6)
    record, _ = look_closer(*pair, data, 5, CPU)
    assert (record.start, record.examples) == (0, FEWEST)


def test_the_parts_are_told_as_they_begin(images: DataSet) -> None:
    heard: list[tuple[str, int, int]] = []
    pair = open_model(net("mlp[6]")), open_model(net("mlp[6]", 1))
    look_closer(*pair, images, 0, CPU, lambda *said: heard.append(said))
    assert heard == [("answers", 0, 3), ("where both look", 1, 3), ("layers", 2, 3), ("all", 3, 3)]
