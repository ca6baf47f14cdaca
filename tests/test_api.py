"""The calls of `understudy` on a user's own modules and tensors: what a Python program relies on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import understudy as us
from understudy import api
from understudy.errors import InputError


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


@dataclass(frozen=True)
class GramMatch(us.Method):
    """Match the batch's similarity matrix. Features: (N, ...) -> (N, D)."""

    needs = us.Needs(features=("mid",), whole_batch=True)

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        s = F.normalize(student.features["mid"].flatten(1), dim=1)
        t = F.normalize(teacher.features["mid"].flatten(1), dim=1)
        return {"gram": (s @ s.T - t @ t.T).square().mean(1)}


def test_a_whole_job_on_ones_own_modules_and_tensors(tmp_path: Path) -> None:
    x, y = torch.rand(60, 16), torch.randint(0, 3, (60,))
    teacher = us.train((x, y), net(1), epochs=20, lr=0.02).student
    teacher.train()
    run = us.distill(
        teacher,
        net(2),
        (x, y),
        method=us.SoftTargets(temperature=4.0) + 0.5 * GramMatch(),
        taps={"mid": ("1", "1")},
        epochs=20,
        lr=0.02,
        out=tmp_path / "run",
    )
    assert run.curves[-1]["loss"] < run.curves[0]["loss"]
    assert {"loss_soft", "loss_gram"} <= set(run.curves[0])
    done = us.audit(
        teacher, run.student, (x, y), eps=[0.02], points=5, valid_range=(0.0, 1.0), out=tmp_path / "a"
    )
    assert done.summary[-1].counted == sum(p.counted for p in done.record.points)
    assert (tmp_path / "a" / "report.html").stat().st_size > 10_000
    assert teacher.training
    assert not any(part._forward_hooks for m in (teacher, run.student) for part in m.modules())


def test_certify_gives_a_sound_bound_for_ones_own_inputs() -> None:
    teacher, student, x = net(1), net(2), torch.rand(4, 16)
    clean = [(m.double()(x.double()).softmax(1)) for m in (net(1), net(2))]
    gap = (clean[0] - clean[1]).abs().amax(1)
    exact = us.certify(teacher, student, x, 0.0)
    assert [b.upper for b in exact] == pytest.approx(gap.tolist(), abs=1e-9)
    for norm in ("linf", "l2"):
        small, large = (us.certify(teacher, student, x, eps, norm=norm) for eps in (0.01, 0.1))  # type: ignore[arg-type]
        for g, a, b in zip(gap.tolist(), small, large, strict=True):
            assert g <= a.upper <= b.upper <= 1
    for bad, said in [(x - 1, "valid range"), (x * float("nan"), "valid range")]:
        with pytest.raises(InputError, match=said):
            us.certify(teacher, student, bad, 0.1)
    with pytest.raises(InputError, match="use ibp or crown"):
        us.certify(teacher, student, x, 0.1, mode="none")
    loose = us.certify(teacher, student, x, 0.02)
    for g, a, b in zip(gap.tolist(), us.certify(teacher, student, x, 0.02, mode="exact"), loose, strict=True):
        assert a.lower is not None
        assert g - 1e-9 <= a.lower <= a.upper <= min(b.upper, a.lower + 1e-4) + 1e-12
        assert a.status == "exact"


def test_load_says_what_it_opened(tmp_path: Path) -> None:
    run = us.train("digits", "mlp[8]", epochs=1, examples=40, out=tmp_path / "t")
    opened = us.load(tmp_path / "t", data="digits")
    assert opened.source == str(tmp_path / "t")
    assert opened.parameters == 64 * 8 + 8 + 80 + 10
    assert opened.config is not None
    assert opened.config.spec == "mlp[8]"
    assert opened.curves == run.curves
    assert not opened.module.training
    with pytest.raises(InputError, match=r"\(1, 8, 8\)"):
        us.load(tmp_path / "t", data=(torch.rand(3, 5), None))
    with pytest.raises(InputError, match="there is no file or folder"):
        us.load(tmp_path / "nowhere.safetensors")


def test_unknown_words_are_answered_with_known_ones() -> None:
    with pytest.raises(InputError, match="unknown robust training 'pdg': did you mean pgd"):
        us.train("digits", "mlp", robust="pdg")
    with pytest.raises(InputError, match="unknown training setting 'epoch': did you mean epochs"):
        us.train("digits", "mlp", epoch=3)


def test_every_call_is_documented_and_exported() -> None:
    for name in ("train", "distill", "audit", "certify", "compare", "smooth", "export_query", "load"):
        function = getattr(us, name)
        assert function is getattr(api, name)
        assert "Raises:" in (inspect.getdoc(function) or "")
        assert name in us.__all__
    for name in ("distill", "audit", "compare", "smooth"):
        keywords = inspect.signature(getattr(us, name)).parameters
        assert {"out", "data_root", "device", "quiet"} <= set(keywords)
