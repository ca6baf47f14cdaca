"""Exported questions: read back by a small reader, answered by sampling, by attack, by proof, and by a verifier."""

from __future__ import annotations

import json
import math
import re
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from understudy import api
from understudy.attacks import Ball
from understudy.bounds.engine import PairBounds
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.fidelity.emplb import GapAttack, Pair, emp_lb
from understudy.jobs import query_job
from understudy.models.export_query import Form
from understudy.models.questions import cases
from understudy.testing import TINY_SHAPE, tiny_mlp

CLASSES = 3
X = torch.rand(8, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def teacher() -> nn.Module:
    return tiny_mlp(CLASSES, seed=1).eval()


@pytest.fixture
def student() -> nn.Module:
    return tiny_mlp(CLASSES, seed=4).eval()


KEPT: dict[tuple[Form, int | None], bytes] = {}


@pytest.fixture(autouse=True)
def _exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export takes seconds, and the pair above is always the same: each of its networks is exported once."""
    real = query_job.export_product

    def export(
        teacher: nn.Module, student: nn.Module, path: Path, examples: Tensor, form: Form, chosen: int | None
    ) -> int:
        if (form, chosen) in KEPT:
            path.write_bytes(KEPT[form, chosen])
            return CLASSES
        classes = real(teacher, student, path, examples, form, chosen)
        KEPT[form, chosen] = path.read_bytes()
        return classes

    monkeypatch.setattr(query_job, "export_product", export)


class Question:
    """A VNN-LIB file, read with regular expressions, and its network."""

    def __init__(self, folder: Path, name: str = "query.vnnlib") -> None:
        text = re.sub(r";.*", "", (folder / name).read_text(encoding="utf-8"))
        inputs = len(re.findall(r"declare-const X_\d+", text))
        self.low, self.high = (
            torch.empty(inputs, dtype=torch.float64),
            torch.empty(inputs, dtype=torch.float64),
        )
        for sign, i, value in re.findall(r"\(assert \(([<>]=) X_(\d+) (\S+?)\)\)", text):
            (self.low if sign == ">=" else self.high)[int(i)] = float(value)
        assert not (self.low > self.high).any()
        body = text.partition("(assert (or")[2]
        found = [
            re.findall(r"\(([<>]=) Y_(\d+) (\S+?)\)", case) for case in re.findall(r"\(and (.*)\)", body)
        ]
        self.cases = [[(sign, int(i), right) for sign, i, right in case] for case in found]
        assert all(self.cases)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(folder / "pair.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def inside(self, points: Tensor) -> bool:
        flat = points.double().flatten(1)
        return bool(((flat >= self.low) & (flat <= self.high)).all())

    def samples(self, count: int) -> Tensor:
        share = torch.rand(
            count, len(self.low), dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        return (self.low + share * (self.high - self.low)).view(count, *TINY_SHAPE)

    def satisfied(self, points: Tensor) -> Tensor:
        """Which points (B, *shape) have outputs for which the disjunction is true: (B,)."""
        rows = [
            torch.from_numpy(self.session.run(None, {"inputs": x.numpy()})[0])
            for x in points.float().split(1)
        ]
        y = torch.cat(rows).double()

        def value(right: str) -> Tensor | float:
            return y[:, int(right[2:])] if right.startswith("Y_") else float(right)

        holds = [
            [y[:, i] >= value(right) if sign == ">=" else y[:, i] <= value(right) for sign, i, right in case]
            for case in self.cases
        ]
        return torch.stack([torch.stack(case).all(0) for case in holds]).any(0)


def ask(teacher: nn.Module, student: nn.Module, out: Path, **more: Any) -> Question:
    given: dict[str, Any] = {"row": 2, "eps": 0.05, "valid_range": (0.0, 1.0), "out": out}
    done = api.export_query(teacher, student, (X, None), **{**given, **more})
    assert done.folder == out
    return Question(out, next(iter(done.record.files)))


def differences(teacher: nn.Module, student: nn.Module, points: Tensor) -> tuple[Tensor, Tensor]:
    """p_t - p_s (B, C), and whether the classes differ (B,), at float32 points."""
    with torch.no_grad():
        t, s = teacher(points.float()), student(points.float())
    return t.double().softmax(1) - s.double().softmax(1), t.argmax(1) != s.argmax(1)


def test_the_questions_are_what_they_say(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    """Over the whole range, where every answer occurs: equal to the definition, or implied by it."""
    wide: dict[str, Any] = {"eps": 1.0}
    softmax = ask(teacher, student, tmp_path / "a", threshold=0.3, **wide)
    points = softmax.samples(600)
    gap, apart = differences(teacher, student, points)
    sure = (gap.abs().amax(1) - 0.3).abs() > 1e-5
    assert torch.equal(softmax.satisfied(points)[sure], (gap.abs().amax(1) >= 0.3)[sure])
    assert 50 < int((gap.abs().amax(1) >= 0.3).sum()) < 550
    top1 = ask(teacher, student, tmp_path / "b", form="top1", **wide)
    assert torch.equal(top1.satisfied(points), apart)
    assert 10 < int(apart.sum()) < 590
    margins = ask(teacher, student, tmp_path / "c", form="margins", threshold=0.3, **wide)
    necessary = margins.satisfied(points)
    assert not (sure & (gap.abs().amax(1) >= 0.3) & ~necessary).any()
    assert int((~necessary).sum()) > 50


@pytest.mark.parametrize("form", ["softmax", "margins"])
def test_separate_files_add_up_to_the_one(
    form: Form, teacher: nn.Module, student: nn.Module, tmp_path: Path
) -> None:
    whole = ask(teacher, student, tmp_path / "a", eps=1.0, form=form, threshold=0.2)
    points = whole.samples(400)
    gap, _ = differences(teacher, student, points)
    done = api.export_query(teacher, student, (X, None), row=2, eps=1.0, form=form, threshold=0.2, separate=True,
                            valid_range=(0.0, 1.0), out=tmp_path / "b")  # fmt: skip
    assert len(done.record.files) == 2 * CLASSES
    parts = torch.zeros(400, dtype=torch.bool)
    for name, (k, sign) in done.record.files.items():
        found = Question(tmp_path / "b", name).satisfied(points)
        assert k is not None
        signed = gap[:, k] if sign == "+" else -gap[:, k]
        assert not ((signed > 0.2 + 1e-5) & ~found).any()
        if form == "softmax":
            assert not ((signed < 0.2 - 1e-5) & found).any()
        parts |= found
    assert torch.equal(parts, whole.satisfied(points))
    for sign in ("+", "-"):
        one = ask(
            teacher, student, tmp_path / f"c{sign}", eps=1.0, form=form, threshold=0.2, chosen=1, sign=sign
        )
        name = f"query-1-{'plus' if sign == '+' else 'minus'}.vnnlib"
        assert torch.equal(one.satisfied(points), Question(tmp_path / "b", name).satisfied(points))


@pytest.mark.parametrize("row", [0, 2, 5])
def test_answers_agree_with_attack_and_proof(
    row: int, teacher: nn.Module, student: nn.Module, tmp_path: Path
) -> None:
    center, ball = X[row : row + 1], Ball(0.05)
    random = Randomness(0)
    random.begin(0)
    witness, lower = emp_lb(Pair(teacher, student), center, ball, GapAttack(), random)
    upper = PairBounds(teacher, student, TINY_SHAPE).bound(center, ball)[0].upper
    assert float(lower) <= upper < 0.9
    forms: tuple[Form, ...] = ("softmax", "margins")
    for form in forms:
        below = ask(
            teacher, student, tmp_path / f"{form}-a", row=row, form=form, threshold=float(lower) - 1e-5
        )
        assert below.inside(witness)
        assert below.inside(center)
        assert below.satisfied(witness).all()
        above = ask(teacher, student, tmp_path / f"{form}-b", row=row, form="softmax", threshold=upper + 1e-5)
        assert not above.satisfied(above.samples(400)).any()


def test_the_record(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    ask(teacher, student, tmp_path / "q", threshold=0.25, chosen=1, sign="-")
    content = json.loads((tmp_path / "q" / "query.json").read_text())
    assert content["files"] == {"query.vnnlib": [1, "-"]}
    assert content["threshold"] == 0.25
    assert content["outputs"] == CLASSES
    assert content["onnx_sha256"] == sha256((tmp_path / "q" / "pair.onnx").read_bytes()).hexdigest()
    assert "differ by less than 0.25" in content["unsat"]
    head = (tmp_path / "q" / "query.vnnlib").read_text().splitlines()[:5]
    assert all(line.startswith("; ") for line in head)
    assert "class 1, student above teacher; l_inf radius 0.05 around row 2" in head[1]


def test_margins_conditions_by_hand() -> None:
    """Two classes, C = 1/2: the raised margin is at least 0, the difference at least 4 artanh(1/2) = ln 9."""
    found = cases("margins", 2, 0.5)
    assert len(found) == 4
    raised, apart = found[0]
    assert (raised.output, apart.output) == (0, 4)
    assert float(raised.right) == pytest.approx(0.0, abs=2e-12)
    assert float(apart.right) == pytest.approx(math.log(9), abs=1e-11)
    assert float(apart.right) <= math.log(9)
    raised, apart = found[3]
    assert (raised.output, apart.output, apart.at_least) == (3, 5, False)
    assert float(apart.right) >= -math.log(9)


def test_bad_questions(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    for more, said in [
        ({}, "needs a threshold between 0 and 1, found None"),
        ({"threshold": 0.0}, "between 0 and 1, found 0"),
        ({"threshold": 1.0, "form": "margins"}, "between 0 and 1"),
        ({"threshold": math.nan}, "between 0 and 1"),
        ({"form": "top1", "threshold": 0.2}, "takes no threshold"),
        ({"form": "top1", "sign": "+"}, "takes no threshold and no sign"),
        ({"threshold": 0.2, "chosen": CLASSES}, "class must be one of"),
        ({"threshold": 0.2, "row": 8}, r"row must be one of 0\.\.7"),
        ({"threshold": 0.2, "row": -1}, "row must be"),
        ({"threshold": 0.2, "eps": -0.1}, "eps must be"),
        ({"threshold": 0.2, "eps": 1.5}, "larger than the whole input range"),
    ]:
        with pytest.raises(InputError, match=said):
            ask(teacher, student, tmp_path / "q", **more)
        assert not (tmp_path / "q").exists()


def marabou(folder: Path, seconds: int = 20) -> tuple[str, Tensor | None]:
    """Marabou's answer, and the input that it found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of file formats that it would also read
        pytest.importorskip("maraboupy", reason="maraboupy is not installed: pip install maraboupy")
        from maraboupy import Marabou, MarabouCore

        network = Marabou.read_onnx(str(folder / "pair.onnx"))
        query = network.getInputQuery()
    MarabouCore.loadProperty(query, str(folder / "query.vnnlib"))
    options = Marabou.createOptions(verbosity=0, timeoutInSeconds=seconds)
    answer, values, _ = MarabouCore.solve(query, options, "")
    if answer != "sat":
        return answer, None
    found = [values[v] for v in network.inputVars[0].flatten()]
    return answer, torch.tensor(found, dtype=torch.float64).view(1, *TINY_SHAPE)


def test_a_verifier_from_elsewhere(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    for row in (0, 2):
        center, ball = X[row : row + 1], Ball(0.05)
        upper = PairBounds(teacher, student, TINY_SHAPE).bound(center, ball)[0].upper
        ask(teacher, student, tmp_path / f"top1-{row}", row=row, form="top1")
        answer, found = marabou(tmp_path / f"top1-{row}")
        assert answer == "sat"
        assert found is not None
        t, s = (model(found.float())[0] for model in (teacher, student))
        assert s.max() - s[t.argmax()] > -1e-4  # another class, or a tie
        assert (found - center).abs().max() < 0.05 + 1e-6
        asked: list[tuple[Form, float]] = [("softmax", upper + 0.02), ("margins", 0.6)]
        for form, threshold in asked:
            ask(teacher, student, tmp_path / f"{form}-{row}", row=row, form=form, threshold=threshold)
            assert marabou(tmp_path / f"{form}-{row}")[0] == "unsat"
        low, _ = differences(teacher, student, center)
        ask(teacher, student, tmp_path / f"low-{row}", row=row, threshold=float(low.abs().max()) - 1e-4)
        assert marabou(tmp_path / f"low-{row}")[0] != "unsat"
