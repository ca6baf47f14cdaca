"""`understudy audit` with a search: options, the live line, certificates named at the end."""

from __future__ import annotations

import functools
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from torch import Tensor

from understudy.bounds.certificate import Certificate
from understudy.bounds.description import network
from understudy.bounds.engine import PairBound, PairBounds, Step


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Cli(Protocol):
    def __call__(self, *arguments: object) -> Ended: ...


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A search that ends at once with linear bounds; the keyword arguments it was called with."""
    calls: list[dict[str, Any]] = []
    init, bound = PairBounds.__init__, PairBounds.bound

    def quick_init(self: PairBounds, *models: Any, mode: str, **more: Any) -> None:
        init(self, *models, mode="crown", **more)

    def quick_bound(
        self: PairBounds, inputs: Tensor, ball: Any, *, watch: Any = None, witness: Any = None, **more: Any
    ) -> list[PairBound]:
        calls.append({"watch": watch, **more})
        found = bound(self, inputs, ball, **more)
        nets = {"teacher": network(self.teacher, ""), "student": network(self.student, "")}
        for i, one in enumerate(found):
            if watch is not None:
                watch(Step(i, len(found), 0.1, one.upper, 5, 0, 0.3, True))
        return [
            replace(
                one,
                nodes=5,
                history=((0.1, 0.0, one.upper, 5),),
                certificate=Certificate(
                    nets, x.double().numpy(), ball.eps, 0.0, 1.0, 10, one.upper, "exact", None
                ),
            )
            for one, x in zip(found, inputs, strict=True)
        ]

    monkeypatch.setattr(PairBounds, "__init__", quick_init)
    monkeypatch.setattr(PairBounds, "bound", quick_bound)
    return calls


@pytest.fixture
def audit(cli: Cli, teacher: Path, student: Path) -> Any:
    pair = ("--teacher", teacher, "--student", student, "--data", "digits", "--points", 3, "--all-points")
    return functools.partial(cli, "audit", *pair, "--eps", ".02", "--device", "cpu")


def test_certificates_are_counted_and_weighed_at_the_end(
    audit: Any, searching: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "a"
    done = audit("--certify", "exact", "--certificates", "--out", out)
    assert done.code == 0
    assert done.err == ""  # no terminal, no lines
    files = sorted((out / "certificates").iterdir())
    assert [f.name for f in files if "eps-0.02" in f.name] == [f"point-{i}-eps-0.02.npz" for i in range(3)]
    total = sum(f.stat().st_size for f in files)
    assert f"certificates: {len(files)}, {total / 1e6:.2f} MB, the largest" in " ".join(done.out.split())
    assert json.loads((out / "audit.json").read_text())["settings"]["time_limit"] == 30.0
    assert all(call["time_limit"] == 30.0 for call in searching)
    silent = audit("--certify", "exact", "--certificates", "--quiet", "--out", tmp_path / "b")
    assert (silent.code, silent.out, silent.err) == (0, "", "")


def test_what_was_copied_can_be_left_out(audit: Any, tmp_path: Path) -> None:
    for more, there in (((), True), (("--no-copied",), False)):
        out = tmp_path / str(there)
        assert audit("--certify", "none", *more, "--out", out).code == 0
        content = json.loads((out / "audit.json").read_text())
        assert (content["copied"] is not None, content["settings"]["copied"]) == (there, there)
        if there:
            assert "neither attention" in content["copied"]["skipped"]["attention"]  # two perceptrons


def test_a_terminal_gets_a_line_a_point(
    audit: Any, searching: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert audit("--certify", "exact", "--time-limit", 2, "--out", tmp_path / "a").code == 0
    for point in range(1, 4):
        assert f"point {point} of 3, eps .02: lower .1000 upper" in screen.getvalue()
    assert all(call["time_limit"] == 2.0 for call in searching)
    before = len(screen.getvalue())
    assert audit("--certify", "exact", "--quiet", "--out", tmp_path / "b").code == 0
    assert len(screen.getvalue()) == before


def test_an_interrupted_search_exits_with_130(
    audit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PairBounds, "bound", interrupted)
    done = audit("--certify", "crown", "--out", tmp_path / "a")
    assert done.code == 130
    assert "interrupted" in done.err
    assert not list(tmp_path.iterdir())


def test_help_names_the_default_limit(cli: Cli) -> None:
    told = " ".join(cli("audit", "--help").out.split())
    for word in ("30 for exact and milp", "--certificates", "alpha", "milp", "exact"):
        assert word in told
