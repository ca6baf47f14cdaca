"""Certificates as files, and networks as the checker reads them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import reference_certificates as reference
from understudy.attacks.ball import Ball
from understudy.bounds import PairBounds
from understudy.bounds.certificate import Certificate, load
from understudy.bounds.checker import exact
from understudy.bounds.checker.verify import Refused, prove, verify
from understudy.bounds.description import network
from understudy.bounds.graph import Add, Graph, Input, Node, Relu, Smooth
from understudy.bounds.ops import Broadcast, Pad, Permute, Pool, Reduce, Reshape, Slice, size
from understudy.errors import InputError


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return reference.random_certificate(1, reference.residual, reference.mlp)


def check_same(one: Certificate, other: Certificate) -> None:
    first, second = one.arrays(), other.arrays()
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        assert np.array_equal(array, second[name]), name


def test_a_file_gives_back_what_was_saved(certificate: Certificate, tmp_path: Path) -> None:
    certificate.save(tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    check_same(certificate, again)
    assert again.checkable
    assert (again.eps, again.low, again.high, again.upper) == (0.3, 0.0, 1.0, certificate.upper)
    assert again.networks["student"].file == "0" * 64
    assert verify(str(tmp_path / "a.npz")).bound <= certificate.upper


def test_equal_certificates_are_equal_files(certificate: Certificate, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        certificate.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_save_that_fails_leaves_nothing(certificate: Certificate, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        certificate.save(tmp_path / "missing" / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_an_unbounded_range_is_kept(certificate: Certificate, tmp_path: Path) -> None:
    dataclasses.replace(certificate, low=-np.inf, high=np.inf).save(tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    assert (again.low, again.high) == (-np.inf, np.inf)
    assert prove(again.arrays()).bound >= prove(certificate.arrays()).bound - 1e-9


def test_the_header_names_no_place_and_no_time(certificate: Certificate) -> None:
    header = json.loads(certificate.arrays()["header"].tobytes())
    assert sorted(header) == [
        "checkable", "classes", "created_by", "eps", "format", "high", "low", "networks", "reason",
        "shortened", "status",
        "upper", "version",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", np.arange(3).tobytes()])
def test_other_files_are_no_certificates(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="is no certificate"):
        load(tmp_path / "a.npz")


def test_other_archives_are_no_certificates(certificate: Certificate, tmp_path: Path) -> None:
    path, arrays = tmp_path / "a.npz", certificate.arrays()
    np.savez(path, header=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(InputError, match="no certificate of version 1"):
        load(path)
    del arrays["tree.side"]
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=r"damaged certificate.*tree\.side"):
        load(path)
    with pytest.raises(InputError, match="is no certificate"):
        load(tmp_path / "missing.npz")


def check_described(graph: Graph) -> None:
    """The description computes what the graph does, by a program of its own."""
    described = network(graph, "0" * 64)
    assert described.reason == ""
    x = torch.rand(5, *graph.shape, dtype=torch.float64)
    (values,) = reference.run(described, x.numpy())[-1:]
    assert np.allclose(values, graph(x).numpy(), rtol=1e-12, atol=1e-12)
    assert len(described.relus) == len(graph.relus)


@pytest.mark.parametrize("name", ["linear", "plain", "convolutional", "residual"])
def test_traced_networks_are_described(name: str, graphs, tools) -> None:
    for seed in range(3):
        check_described(tools.with_weights(graphs[name], torch.Generator().manual_seed(seed), 1.5))


def test_every_operation_is_described() -> None:
    def chain(*steps: tuple[object, tuple[int, ...]]) -> Graph:
        nodes = [Node(Input(), (), (2, 3, 4), "x")]
        for op, shape in steps:
            parents = (len(nodes) - 1,) * (2 if isinstance(op, Add) else 1)
            nodes.append(Node(op, parents, shape, "y"))
        before = nodes[-1].shape
        nodes.append(Node(Reshape(before, (size(before),)), (len(nodes) - 1,), (size(before),), "z"))
        return Graph(tuple(nodes), torch.float64, torch.device("cpu"))

    random = torch.rand(2, 3, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    check_described(chain((Permute((0, 3, 1, 2)), (4, 2, 3)), (Slice(1, 0, 4, 2, (4, 2, 3)), (2, 2, 3))))
    check_described(chain((Pad((1, -1, 2, 0)), (2, 5, 4)), (Relu(), (2, 5, 4))))
    check_described(chain((Pool(*random), (2, 2, 3)), (Add((2.0, -0.5)), (2, 2, 3))))
    check_described(
        chain(
            (Reduce((2, 3), 0.25, (2, 3, 4)), (2, 1, 1)), (Broadcast((2, 1, 1), (5, 2, 1, 3)), (5, 2, 1, 3))
        )
    )


def test_an_unknown_operation_makes_it_uncheckable(certificate: Certificate, tmp_path: Path) -> None:
    nodes = (Node(Input(), (), (3,), ""), Node(Smooth("tanh"), (0,), (3,), "body.2"))
    odd = network(Graph(nodes, torch.float64, torch.device("cpu")), "3" * 64)
    assert odd.nodes == ()
    assert odd.reason == "Smooth at body.2 cannot be checked"
    whole = dataclasses.replace(
        certificate, networks={"teacher": odd, "student": certificate.networks["student"]}
    )
    assert not whole.checkable
    assert whole.reason == "teacher: Smooth at body.2 cannot be checked"
    whole.save(tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    assert (again.checkable, again.reason, again.upper) == (False, whole.reason, whole.upper)
    assert again.networks["teacher"].file == "3" * 64


def test_no_proof_is_a_reason_too(certificate: Certificate) -> None:
    assert dataclasses.replace(certificate, proof=None).reason == "no proof was kept"


def test_the_digest_sees_every_number(certificate: Certificate) -> None:
    part = certificate.networks["teacher"]
    nodes = list(part.nodes)
    weight = nodes[1].arrays["weight"].copy()
    weight[0, 0] = np.nextafter(weight[0, 0], 9)
    nodes[1] = dataclasses.replace(nodes[1], arrays={**nodes[1].arrays, "weight": weight})
    assert dataclasses.replace(part, nodes=tuple(nodes)).digest != part.digest
    assert dataclasses.replace(part, file="").digest == part.digest


def _proved_by_search() -> Certificate:
    """The certificate of a real search, whose leaves speak only of what lies above the claim."""
    torch.manual_seed(0)
    nets = [
        nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)) for _ in "ts"
    ]
    pair = PairBounds(*nets, (3,), mode="exact")
    x = torch.full((1, 3), 0.5)
    (found,) = pair.bound(x, Ball(0.3), time_limit=2.0, certify=True)
    assert found.certificate is not None
    assert found.certificate.shortened
    assert found.upper == found.certificate.upper
    return found.certificate


def test_a_shortened_certificate_proves_its_claim_and_no_less() -> None:
    proof = _proved_by_search()
    assert prove(proof.arrays()).bound == proof.upper
    for less in (0.5 * proof.upper, proof.upper - 0.01, 0.0):
        assert prove(dataclasses.replace(proof, upper=less).arrays()).bound > less


def test_rational_numbers_agree_on_a_shortened_certificate(tmp_path: Path) -> None:
    proof = _proved_by_search()
    proof.save(tmp_path / "a.npz")
    assert exact.verify(str(tmp_path / "a.npz")).bound == proof.upper
    dataclasses.replace(proof, upper=proof.upper - 0.01).save(tmp_path / "b.npz")
    with pytest.raises(Refused):
        exact.verify(str(tmp_path / "b.npz"))
