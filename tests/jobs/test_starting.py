"""A student that goes on from a run: the second stage of REDI, and what cannot be gone on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import understudy as us
from understudy.cli.main import run as command
from understudy.errors import InputError
from understudy.methods.language.redi import REDI

pytest.importorskip("transformers")


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of traces, their good halves, and a student of these."""
    place = tmp_path_factory.mktemp("stages")
    rows = [{"prompt": f"{n}+1=", "good": f"{n + 1}", "bad": f"{n + 2}"} for n in range(24)]
    (place / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    right = [{"prompt": row["prompt"], "answer": row["good"]} for row in rows]
    (place / "right.jsonl").write_text("\n".join(map(json.dumps, right)))
    us.train(
        str(place / "right.jsonl"), "lm[1,8,2]", out=place / "first", epochs=2, batch_size=8, device="cpu"
    )
    return place


def second(place: Path, model: Any, data: str = "pairs.jsonl", method: Any = "redi", **more: Any) -> us.Run:
    how: dict[str, Any] = {"epochs": 1, "batch_size": 8, "lr": 1e-3, "device": "cpu", **more}
    return us.distill(None, model, str(place / data), method=method, **how)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_it_goes_on_from_the_runs_weights_and_leaves_the_run_as_it_was(place: Path) -> None:
    before = (place / "first" / "model.safetensors").read_bytes()
    run = second(place, str(place / "first"))
    handed_over = second(place, us.load(place / "first").module)
    assert same(run.student, handed_over.student)
    assert not same(run.student, second(place, "lm[1,8,2]").student)
    assert (place / "first" / "model.safetensors").read_bytes() == before
    still = second(place, str(place / "first"), lr=1e-30)
    first = us.load(place / "first").module
    assert all(
        torch.allclose(x, first.state_dict()[name], atol=1e-20)
        for name, x in still.student.state_dict().items()
    )


def test_the_terms_are_in_the_curves_and_pushing_drives_good_and_bad_apart(place: Path) -> None:
    pulled, pushed = (
        second(place, str(place / "first"), method=REDI(alpha=a), epochs=6, lr=0.02) for a in (0.0, 1.0)
    )
    assert set(pushed.curves[0]) >= {"loss_good", "loss_bad"}
    assert pushed.curves[0]["loss"] == pytest.approx(
        sum(pushed.curves[0][f"loss_{n}"] for n in ("good", "bad"))
    )
    assert pushed.curves[-1]["loss"] < pushed.curves[0]["loss"] - 0.02
    assert all(row["loss_bad"] < 0 for row in pushed.curves)
    assert all(row["loss_bad"] == 0 for row in pulled.curves)


def test_the_run_folder_opens_and_is_resumed_by_the_command_line(place: Path) -> None:
    args = ["--epochs", "1", "--batch-size", "8", "--lr", "0.001", "--device", "cpu", "--quiet"]
    data, out = str(place / "pairs.jsonl"), str(place / "second")
    how = ["--data", data, "--model", str(place / "first"), "--method", "redi", "--set", "alpha=0.5"]
    assert command(["distill", *how, *args, "--out", out]) == 0
    assert same(us.load(out).module, second(place, str(place / "first"), options={"alpha": "0.5"}).student)
    assert command(["distill", "--resume", out, "--device", "cpu", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("model", "data", "method", "says"),
    [
        (
            "first",
            "right.jsonl",
            "redi",
            "REDI reads the views clean, bad, and data set 'right.jsonl' has no bad",
        ),
        ("first", "pairs.jsonl[vocabulary=260]", "redi", "has a tokenizer of its own"),
        ("lm[1,8,2]", "digits", "redi", "REDI reads text"),
    ],
)
def test_what_does_not_fit_is_refused(place: Path, model: str, data: str, method: str, says: str) -> None:
    model = str(place / model) if model == "first" else model
    with pytest.raises(InputError, match=says):
        second(place if data != "digits" else Path(), model, data, method)


def test_a_classifier_is_trained_on_as_well(tmp_path: Path) -> None:
    few: dict[str, Any] = {"epochs": 1, "examples": 64, "device": "cpu", "lr": 1e-3}
    us.train("digits", "mlp[8]", out=tmp_path / "first", **few)
    on = us.train("digits", str(tmp_path / "first"), **few)
    anew = us.train("digits", "mlp[8]", **few)
    assert on.curves[0]["loss"] < anew.curves[0]["loss"]
