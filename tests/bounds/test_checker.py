"""The checker: what it proves holds, leaf by leaf; what was tampered with is refused."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference_certificates as reference
import understudy
from understudy.bounds.certificate import Certificate
from understudy.bounds.checker import rational
from understudy.bounds.checker import verify as program
from understudy.bounds.checker.network import Refused, relaxed
from understudy.bounds.checker.verify import Search, Unreadable, prove, verify

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]
FOLDER = Path(understudy.__file__).parent / "bounds" / "checker"

PAIRS = {
    "mlp": (reference.mlp, reference.mlp),
    "residual": (reference.residual, reference.mlp),
    "convolutional": (reference.convolutional, reference.convolutional),
    "two classes": (partial(reference.mlp, classes=2), partial(reference.mlp, hidden=(4,), classes=2)),
    "fourteen classes": (partial(reference.mlp, classes=14), partial(reference.mlp, hidden=(3,), classes=14)),
    "no ReLU": (partial(reference.mlp, hidden=()), reference.residual),
}


def test_it_needs_numpy_alone() -> None:
    found = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module)
    ours = {name for name in found if name.startswith("understudy")}
    assert all(name.startswith("understudy.bounds.checker.") for name in ours)
    standard = {"__future__", "collections.abc", "dataclasses", "fractions", "hashlib", "itertools", "json",
                "math", "types", "typing", "zipfile", "zlib"}  # fmt: skip
    assert found - ours <= standard | {"numpy"}


@pytest.mark.parametrize("eps", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("pair", PAIRS)
def test_every_leaf_holds_at_every_point_that_falls_into_it(pair: str, eps: float) -> None:
    for seed in range(2):
        certificate = reference.random_certificate(seed, *PAIRS[pair], eps=eps)
        assert certificate.proof is not None
        search = Search(dict(certificate.arrays()))
        bound = search.bound()
        points = reference.samples(certificate, 200 if eps else 1, np.random.default_rng(seed + 9))
        gaps = reference.gaps(certificate, points)
        assert np.abs(gaps).max() <= bound + 1e-14
        if eps == 0:  # both sides of a cut hold: which leaf a point is in hangs on rounding
            assert bound <= np.abs(gaps).max() + 1e-10
            continue
        queries = certificate.proof.queries
        for found, k, sign in zip(
            reference.reached(certificate, points), queries.label, queries.sign, strict=True
        ):
            assert (sign * gaps[:, k] <= search.found[found] + 1e-13).all()


def test_an_exact_answer_by_hand() -> None:
    """One input, no hidden layer, teacher logits (x, 0), student (0, x), |x| <= 1: D = sigmoid(1) - sigmoid(-1)."""

    def line(rng: np.random.Generator, weight: list[float]) -> Any:
        network = reference.mlp(rng, inputs=1, hidden=(), classes=2)
        network.nodes[1].arrays["weight"][:] = np.array(weight)[:, None]  # type: ignore[index]
        network.nodes[1].arrays["bias"][:] = 0  # type: ignore[index]
        return network

    certificate = reference.random_certificate(
        0, partial(line, weight=[1.0, 0.0]), partial(line, weight=[0.0, 1.0]), splits=0, eps=1.0
    )
    x, exact = certificate.input[0], lambda a: (1 - np.exp(-a)) / (1 + np.exp(-a))
    ends = [max(x - 1, 0.0), min(x + 1, 1.0)]
    truth = max(abs(exact(end)) for end in ends)
    assert truth <= prove(certificate.arrays()).bound
    assert prove(certificate.arrays()).bound == pytest.approx(truth, abs=1e-12)


def test_what_a_leaf_is_made_of_lies_above_the_exact_value() -> None:
    """Against rational enclosures, on values where the last bits matter; and not far above."""
    rng = np.random.default_rng(0)
    search = Search(dict(reference.random_certificate(0, splits=0).arrays()))
    for scale in (1e-3, 1.0, 30.0):
        for _ in range(8):
            m, k = rng.normal(size=(3, 3)) * scale, int(rng.integers(3))
            high, negative = search._odds(m[None], np.array([k]))
            exact = [rational.log_sum_exp([Fraction(one) for one in np.delete(m[:, k], k)])]
            exact.append(-rational.log_sum_exp([Fraction(-one) for one in np.delete(m[k], k)]))
            for found, truth in zip((high, negative), exact, strict=True):
                assert 0 < Fraction(float(found[0])) - truth < 1e-13 * (1 + scale)
            low, top = sorted(rng.normal(size=2) * scale)
            for q in (0.0, 1e-6, 0.1, 0.24999, 0.3):
                found = program.sigmoid_above(*(np.array([one]) for one in (q, low, top)))
                truth = rational.sigmoid_above(Fraction(q), Fraction(low), Fraction(top))
                assert 0 < Fraction(float(found[0])) - truth < 1e-13 * (1 + scale)


def test_the_lines_of_a_relu_and_sums_of_margins_round_outward() -> None:
    rng = np.random.default_rng(2)
    up, neg = rng.exponential(size=(2, 1, 500)) * 10.0 ** rng.integers(-9, 9, (2, 1, 500))
    slope = rng.random((1, 500)).astype(np.float16)
    for above, lift, below, high, low in zip(
        *(part[0].tolist() for part in (*relaxed(up, neg, slope), up, -neg)), strict=True
    ):
        for z in (Fraction(low), Fraction(high)):
            assert Fraction(above) * z + Fraction(lift) >= max(z, Fraction(0)) >= Fraction(below) * z
    m = rng.normal(size=(20, 3, 3))
    for found, given in zip(program.closed(m), m, strict=True):
        for i, j, k in itertools.product(range(3), repeat=3):
            two = Fraction(given[i, k]) + Fraction(given[k, j])
            assert found[i, j] <= given[i, j]
            if found[i, j] < given[i, j] and abs(Fraction(found[i, j]) - two) < Fraction(1, 10**9):
                assert Fraction(found[i, j]) >= two


def test_the_box_of_differences_is_bounded_at_its_corners() -> None:
    rng = np.random.default_rng(1)
    for n, scale in ((0, 1.0), (1, 1.0), (4, 5.0), (4, 900.0), (14, 2.0)):
        low, v = rng.normal(size=(1, n)) * scale, rng.normal(size=(1, n))
        high = low + rng.exponential(size=(1, n)) * scale
        found = Fraction(float(program.rivals_above(low, high, v)[0]))
        corners = np.array(list(itertools.product((0, 1), repeat=n)))
        corners = np.where(corners if n <= 4 else rng.permutation(corners)[:16], high, low)
        each = []
        for corner in corners:
            d = [Fraction(one) for one in corner]
            paid = sum((Fraction(one) * by for one, by in zip(v[0], d, strict=True)), Fraction(0))
            each.append(rational.log_sum_exp([Fraction(0), *d]) - paid)
        assert found > max(each)
        if n <= 4:
            assert found - max(each) < 1e-12 * (1 + scale)


def test_splits_alone_give_better_bounds() -> None:
    """Without parameters a leaf is bounded by its intervals, which can but shrink."""

    def bounds(seed: int, splits: int) -> np.ndarray[Any, Any]:
        certificate = reference.random_certificate(seed, splits=splits)
        assert certificate.proof is not None
        arrays = {
            name: array for name, array in certificate.arrays().items() if not name.startswith("roots.")
        }
        for name in [name for name in arrays if name.startswith("leaves.")]:
            arrays[name] = arrays[name][: 1 if name == "leaves.beta_offsets" else 0]
        arrays["tree.leaf"] = np.full_like(arrays["tree.leaf"], -1)
        search = Search(arrays)
        search.bound()
        return np.array([search.found[certificate.proof.tree.query == query].max() for query in range(6)])

    gained = np.array([bounds(seed, 0) - bounds(seed, 80) for seed in range(4)])
    assert (gained >= 0).all()
    assert gained.max() > 1e-3


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    found = reference.random_certificate(7, reference.mlp, reference.residual, splits=14)
    assert found.proof is not None
    kinds, rebound = set(found.proof.tree.kind.tolist()), found.proof.tree.rebound
    assert kinds == {0, 1, 2, 3, 4, 5}
    assert (rebound & 4).any()
    return found


def saved(arrays: Arrays, path: Path) -> str:
    np.savez(path, **arrays)
    return str(path)


def header(**changes: Any) -> Callable[[Arrays], None]:
    def tamper(arrays: Arrays) -> None:
        content = json.loads(arrays["header"].tobytes())
        for key, value in changes.items():
            *path, last = key.split("__")
            place = content
            for step in path:
                place = place[step]
            if value is None:
                del place[last]
            else:
                place[last] = value
        arrays["header"] = np.frombuffer(json.dumps(content).encode(), np.uint8)

    return tamper


def put(name: str, where: Callable[[Arrays], Any], value: Any) -> Callable[[Arrays], None]:
    def tamper(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][where(arrays)] = value(arrays[name][where(arrays)]) if callable(value) else value

    return tamper


def first(condition: Callable[[Arrays], Any]) -> Callable[[Arrays], Any]:
    return lambda arrays: np.flatnonzero(condition(arrays))[0]


def kind(*wanted: int) -> Callable[[Arrays], Any]:
    return first(lambda a: np.isin(a["tree.kind"], wanted))


def without(name: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.pop(name) is None and None


def extra(arrays: Arrays) -> None:
    arrays["tree.note"] = np.zeros(3)


def shorter(name: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: arrays[name][:-1]})


def retyped(name: str, dtype: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: arrays[name].astype(dtype)})


def drop_leaf(arrays: Arrays) -> None:
    """The last node is a leaf: without it, its sibling is an only child."""
    leaf = int(arrays["tree.leaf"][-1])
    for name in [name for name in arrays if name.startswith("tree.")]:
        arrays[name] = arrays[name][:-1]
    if leaf >= 0:
        start, end = arrays["leaves.beta_offsets"][leaf : leaf + 2]
        arrays["leaves.beta"] = np.delete(arrays["leaves.beta"], range(start, end))
        arrays["leaves.beta_offsets"] = np.delete(arrays["leaves.beta_offsets"], leaf + 1)
        arrays["leaves.beta_offsets"][leaf + 1 :] -= end - start
        arrays["tree.leaf"] = np.where(
            arrays["tree.leaf"] > leaf, arrays["tree.leaf"] - 1, arrays["tree.leaf"]
        )
        for name in [name for name in arrays if name.startswith("leaves.") and "beta" not in name]:
            arrays[name] = np.delete(arrays[name], leaf, axis=0)


def drop_query(arrays: Arrays) -> None:
    """Queries must be all classes with both signs; here one is asked twice and one never."""
    arrays["queries.label"] = arrays["queries.label"].copy()
    arrays["queries.label"][0] = arrays["queries.label"][2]


LEAF = first(lambda a: a["tree.leaf"] >= 0)
BELOW = first(lambda a: a["tree.parent"] >= 0)
INNER = first(lambda a: np.isin(range(len(a["tree.leaf"])), a["tree.parent"]))
RIVALS = lambda a: a["tree.leaf"][a["tree.leaf"] >= 0]  # noqa: E731
ANY = lambda a: 0  # noqa: E731
TAMPERED: dict[str, tuple[Callable[[Arrays], None], str]] = {
    "claim lowered": (header(upper=1e-3), "it claims 0.001, proved is"),
    "claim missing": (header(upper=None), "malformed|claims"),
    "claim is text": (header(upper="0.5"), "it claims '0.5'"),
    "claim is NaN": (header(upper=float("nan")), "it claims nan"),
    "eps enlarged": (header(eps=0.5), "it claims"),
    "eps negative": (header(eps=-0.1), "eps"),
    "eps NaN": (header(eps=float("nan")), "eps"),
    "range widened": (header(low=-9.0, high=9.0, eps=0.9), "it claims"),
    "range excludes the input": (header(low=0.99), "outside the valid range"),
    "format": (header(format="other"), "another format or version"),
    "version": (header(version=2), "another format or version"),
    "classes": (header(classes=4), "do not fit input and classes"),
    "checkable": (header(checkable=False), "cannot be checked"),
    "checkable is text": (header(checkable="true"), "cannot be checked"),
    "weights' digest": (header(networks__teacher__sha256="0" * 64), "the teacher's arrays have another SHA-256"),
    "nodes": (header(networks__student__nodes=[]), "the student's arrays"),
    "header no JSON": (lambda a: a.update(header=np.zeros(4, np.uint8)), "malformed"),
    "header missing": (without("header"), "malformed"),
    "input moved": (put("input", ANY, lambda x: 1 - x), "it claims"),
    "input NaN": (put("input", ANY, np.nan), "not finite"),
    "input missing": (without("input"), "malformed"),
    "input flat": (lambda a: a.update(input=a["input"][None]), "do not fit input and classes"),
    "a teacher's weight": (put("teacher.1.weight", lambda a: (0, 0), lambda x: -x), "the teacher's arrays"),
    "a student's bias": (put("student.3.bias", ANY, lambda x: np.nextafter(x, 9)), "the student's arrays"),
    "an index": (put("student.8.index", ANY, 1), "the student's arrays"),
    "a weight is NaN": (put("teacher.1.weight", lambda a: (0, 0), np.nan), r"teacher\.1\.weight: not finite"),
    "a weight in float32": (retyped("teacher.1.weight", "<f4"), r"teacher\.1\.weight: not finite, or of another"),
    "a weight missing": (without("teacher.1.weight"), "malformed"),
    "an operation unknown": (header(networks__teacher__nodes=[{"op": "tanh", "parents": [], "shape": [3],
                             "settings": {}, "arrays": {}}]), "the operation 'tanh' is not known"),
    "an array too many": (extra, r"do not belong there: \['tree\.note'\]"),
    "queries' class": (drop_query, "not all classes and signs"),
    "queries' sign": (put("queries.sign", ANY, lambda x: -x), "not all classes and signs"),
    "a query cut off": (shorter("queries.label"), "queries"),
    "a side flipped": (put("tree.side", BELOW, lambda x: -x), "not one child on each side"),
    "a side of 0": (put("tree.side", BELOW, 0), "not one child on each side"),
    "a root's side": (put("tree.side", ANY, 1), "not one child on each side"),
    "a leaf dropped": (drop_leaf, "not two children"),
    "a cut on one child": (put("tree.cut", kind(3), lambda x: x + 1e-9), r"tree\.cut: two children"),
    "a cut NaN": (put("tree.cut", kind(4), np.nan), r"tree\.cut: not finite"),
    "another neuron on one child": (put("tree.index", kind(1), lambda x: (x + 1) % 4), r"tree\.index: two children"),
    "another layer on one child": (put("tree.layer", kind(1), lambda x: 1 - x), r"tree\.layer: two children"),
    "another class on one child": (put("tree.other", kind(3), lambda x: x + 1), r"tree\.other: two children"),
    "another kind on one child": (put("tree.kind", kind(1), 2), r"tree\.kind: two children"),
    "a root's kind": (put("tree.kind", ANY, 1), r"tree\.kind, tree\.rebound"),
    "an unknown kind": (put("tree.kind", lambda a: a["tree.kind"] == 5, 6), r"tree\.kind, tree\.rebound"),
    "an unknown bit": (put("tree.rebound", ANY, 8), r"tree\.kind, tree\.rebound"),
    "a ReLU cut beside 0": (put("tree.cut", lambda a: a["tree.kind"] == 1, 0.1), r"tree\.cut: a ReLU"),
    "no such neuron": (put("tree.index", lambda a: a["tree.kind"] == 1, 99), r"tree\.index: no such neuron"),
    "no such layer": (put("tree.layer", lambda a: a["tree.kind"] == 2, 5), r"tree\.layer: no such ReLU"),
    "no such class": (put("tree.other", lambda a: a["tree.kind"] == 3, -1), r"tree\.\w+: no such class"),
    "no such reference": (put("tree.reference", lambda a: a["tree.rebound"] & 4 > 0, -1), "no such class"),
    "a parent after its child": (put("tree.parent", BELOW, lambda x: 10**6), "malformed|later"),
    "a parent of its own": (put("tree.parent", BELOW, 6), "a parent comes later"),
    "another parent": (put("tree.parent", lambda a: -1, ANY), "query|children"),
    "a child of another query": (put("tree.query", BELOW, lambda x: (x + 1) % 6), "a child of another query"),
    "a root's query": (put("tree.query", ANY, 1), "query"),
    "a parameter row unused": (put("tree.leaf", LEAF, -1), r"tree\.leaf"),
    "a parameter row used twice": (put("tree.leaf", LEAF, lambda x: (x + 1) % 3), r"tree\.leaf"),
    "parameters of an inner node": (put("tree.leaf", INNER, 0), r"tree\.leaf"),
    "w negative": (put("leaves.w", lambda a: (0, 0), -0.5), r"leaves\.w: below 0"),
    "w all 0": (put("leaves.w", ANY, 0), r"leaves\.w: the weights' sum"),
    "w NaN": (put("leaves.w", lambda a: (0, 0), np.nan), r"leaves\.w: not finite"),
    "v NaN": (put("leaves.v", lambda a: (0, 0), np.nan), r"leaves\.v: not finite"),
    "v infinite": (put("leaves.v", lambda a: (0, 0), np.inf), r"leaves\.v: not finite"),
    "rival is the class": (put("leaves.rival", RIVALS, lambda x: 0 * x), "not a rival"),
    "rival unknown": (put("leaves.rival", ANY, 3), "not a rival"),
    "q negative": (put("leaves.q_raised", ANY, -1e-3), r"leaves\.q_raised: below 0"),
    "q NaN": (put("leaves.q_lowered", ANY, np.nan), r"leaves\.q_lowered: not finite"),
    "a slope above 1": (put("leaves.teacher_slopes", lambda a: (0, 0), 1.001), "slopes above 1"),
    "a slope below 0": (put("leaves.student_slopes", lambda a: (0, 0), -1e-3), "below 0"),
    "a slope NaN": (put("leaves.student_slopes", lambda a: (0, 0), np.nan), "not finite"),
    "beta negative": (put("leaves.beta", ANY, -1e-3), r"leaves\.beta: below 0"),
    "beta NaN": (put("leaves.beta", ANY, np.nan), r"leaves\.beta: not finite"),
    "a beta dropped": (shorter("leaves.beta"), r"leaves\.beta: not one"),
    "beta offsets": (put("leaves.beta_offsets", lambda a: 1, lambda x: x + 1), r"leaves\.beta: not one"),
    "a root slope above 1": (put("roots.teacher.1.slopes", lambda a: (0, 0), 1.5), r"roots\.teacher\.1: slopes"),
    "a root slope NaN": (put("roots.teacher.1.slopes", lambda a: (0, 0), np.nan), r"roots\.teacher\.1: slopes"),
    "a root slope dropped": (shorter("roots.student.1.slopes"), r"roots\.student\.1: slopes"),
    "root rows outside": (put("roots.student.1.rows", ANY, 99), "malformed"),
    "root slopes without rows": (without("roots.student.1.rows"), "do not belong there"),
    "tree in another type": (retyped("tree.parent", "<i8"), r"tree\.parent: .*another type"),
    "tree cut short": (shorter("tree.side"), r"tree\.side: .*shape"),
    "leaves in another shape": (lambda a: a.update({"leaves.w": a["leaves.w"][:, :1]}), r"leaves\.w: .*shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_tampered_with_is_refused(case: str, certificate: Certificate, tmp_path: Path) -> None:
    tamper, said = TAMPERED[case]
    arrays = dict(certificate.arrays())
    tamper(arrays)
    with pytest.raises(Refused, match=said):
        verify(saved(arrays, tmp_path / "a.npz"))


def test_every_array_is_missed(certificate: Certificate, tmp_path: Path) -> None:
    for name in certificate.arrays():
        arrays = dict(certificate.arrays())
        del arrays[name]
        if re.fullmatch(r"roots\.\w+\.\d\.(rows|slopes)", name):
            arrays = {key: array for key, array in arrays.items() if key != name}
        with pytest.raises(Refused):
            verify(saved(arrays, tmp_path / "a.npz"))


def test_nan_anywhere_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    for name, array in certificate.arrays().items():
        if array.dtype.kind == "f" and array.size:
            spoilt = array.copy()
            spoilt.flat[array.size // 2] = np.nan
            with pytest.raises(Refused):
                verify(saved(certificate.arrays() | {name: spoilt}, tmp_path / "a.npz"))


def test_any_change_of_a_parameter_stays_sound(certificate: Certificate) -> None:
    """Whatever the free parameters are, what is proved holds; only how good it is changes."""
    points = reference.samples(certificate, 500, np.random.default_rng(0))
    truth = np.abs(reference.gaps(certificate, points)).max()
    rng = np.random.default_rng(1)
    for size in (1e-3, 1.0, 1e3):
        arrays = dict(certificate.arrays())
        for name in ("w", "q_raised", "q_lowered", "beta"):
            arrays[f"leaves.{name}"] = (rng.random(arrays[f"leaves.{name}"].shape) * size).astype(np.float32)
        arrays["leaves.v"] = (rng.normal(size=arrays["leaves.v"].shape) * size).astype(np.float32)
        for name in ("teacher_slopes", "student_slopes"):
            arrays[f"leaves.{name}"] = rng.integers(0, 2, arrays[f"leaves.{name}"].shape).astype(np.float16)
        assert truth <= prove(arrays).bound <= 1 + 1e-9


def test_saturated_logits_hold() -> None:
    def scaled(rng: np.random.Generator, size: float) -> Any:
        network = reference.mlp(rng)
        network.nodes[-1].arrays["weight"][:] *= size  # type: ignore[index]
        return network

    for size in (1e2, 1e4, 1e8):
        certificate = reference.random_certificate(
            3, partial(scaled, size=size), partial(scaled, size=1e3), eps=0.05
        )
        points = reference.samples(certificate, 300, np.random.default_rng(2))
        with np.errstate(over="ignore"):
            gaps = reference.gaps(certificate, points)
        assert np.abs(gaps).max() <= prove(certificate.arrays()).bound + 1e-15


def test_numbers_that_overflow_are_refused() -> None:
    certificate = reference.random_certificate(3)
    for net in certificate.networks.values():
        net.nodes[1].arrays["weight"][:] *= 1e200  # type: ignore[index]
    with pytest.raises(Refused, match="beyond 1e100"):
        prove(certificate.arrays())


def test_many_at_once_and_one_at_a_time_agree(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prove(certificate.arrays()).bound
    monkeypatch.setattr(program, "NODES", 1)
    assert prove(certificate.arrays()).bound == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04"])
def test_other_files_are_unreadable(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(Unreadable, match="is no certificate"):
        verify(str(tmp_path / "a.npz"))
    with pytest.raises(Unreadable, match="is no certificate"):
        verify(str(tmp_path / "missing.npz"))
