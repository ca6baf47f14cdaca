"""The audit of a graph: the right nodes, counted once each, with the teacher shown all of their neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import understudy as us
from understudy.auditing.nodes import at_nodes
from understudy.data.dataset import DataSet
from understudy.errors import InputError

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 4, 5], [1, 0, 2, 1, 3, 2, 5, 4]])
LABELS = torch.tensor([0, -1, 1, 2, -1, 0])


def graph(labels: torch.Tensor = LABELS) -> DataSet:
    features = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    return DataSet("g", "test", features, labels, classes=3, partly=True, edges=EDGES)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("pair")
    us.train(graph(), "gcn[5,2,50]", epochs=8, lr=0.05, out=place / "gcn")
    us.distill(
        place / "gcn", "dropout_mlp[5,2,50]", graph(), method="ff_g2m", epochs=8, lr=0.05, out=place / "mlp"
    )
    return place / "gcn", place / "mlp"


def test_an_audit_counts_the_labelled_nodes_and_asks_the_whole_graph(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    data = graph()
    done = us.audit(*pair, data, all_points=True, out=tmp_path / "audit")
    assert set(done.record.skipped) == {"EmpLB", "FaithUB"}
    assert "the teacher answers for a graph of 6 nodes" in done.record.skipped["EmpLB"]
    assert done.witnesses[:, 0, 0].tolist() == [0, 2, 3, 5]
    assert [point.label for point in done.record.points] == [0, 1, 2, 0]
    x = data.inputs(slice(None)).double()
    teacher, student = (us.load(model).module.double() for model in pair)
    with torch.no_grad():
        p, q = teacher(x).softmax(1), student(x).softmax(1)
    rows = [0, 2, 3, 5]
    (at,) = done.summary
    gaps = (p - q).abs().amax(1)[rows]
    assert [point.radii[0].lower for point in done.record.points] == pytest.approx(gaps.tolist(), abs=1e-6)
    right = (p.argmax(1) == LABELS)[rows].double().mean().item()
    own = (q.argmax(1) == LABELS)[rows].double().mean().item()
    assert (at.accuracy_teacher, at.accuracy_student) == pytest.approx((right, own))
    same = (p.argmax(1) == q.argmax(1))[rows].double().mean().item()
    assert at.agreement == pytest.approx(same)
    assert done.record.data.fingerprint == data.fingerprint()
    assert (tmp_path / "audit" / "report.html").is_file()


def test_two_networks_of_single_nodes_are_attacked_at_the_labelled_ones(pair: tuple[Path, Path]) -> None:
    done = us.audit(pair[1], pair[1], graph(), eps=0.1, all_points=True)
    assert len(done.record.points) == 4
    assert torch.equal(done.witnesses[:, 0].float(), graph().stored[[0, 2, 3, 5]])
    assert done.record.skipped == {}


def test_certificates_of_a_graph_and_other_data_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="certificates prove bounds on networks of single inputs"):
        us.audit(*pair, graph(), certify="alpha", certificates=True, eps=0.1, out=tmp_path / "audit")
    plain = DataSet("plain", "test", torch.rand(6, 4), torch.zeros(6, dtype=torch.int64), classes=3)
    one, two = (us.load(model) for model in pair)
    with pytest.raises(InputError, match="the teacher answers for a graph of 6 nodes, and data set 'plain'"):
        at_nodes(one, two, plain)
    assert at_nodes(two, two, plain)[2] is plain
