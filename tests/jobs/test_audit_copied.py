"""What the student copied as part of an audit: in its files, on its page, and left out when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import understudy as us
from understudy.auditing.files import read_audit, read_maps
from understudy.errors import InputError
from understudy.models.config import ModelConfig
from understudy.models.zoo import build


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(ModelConfig("resnet8[4]", (1, 8, 8), 10))


def audited(out: Path, **more: Any) -> us.Audit:
    return us.audit(
        net(0), net(1), "digits", **{"eps": 0, "points": 3, "certify": "none", "out": out, **more}
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("copied") / "audit"
    audited(out)
    return out


def test_it_is_in_the_files_and_read_back(place: Path) -> None:
    content = json.loads((place / "audit.json").read_text())
    assert content["settings"]["copied"] is True
    copied = content["copied"]
    assert (copied["start"], copied["examples"], copied["skipped"]) == (
        0,
        450,
        {},
    )  # more than the three points
    maps = load_file(place / "maps.safetensors")
    assert len(maps["maps"]) == len(copied["attention"]["shown"])
    assert torch.equal(
        maps["inputs"],
        us.load_data("digits", "test").inputs(
            torch.tensor([one["index"] for one in copied["attention"]["shown"]])
        ),
    )
    record = read_audit(place)
    assert record.copied is not None
    assert record.copied.answers.agreement.count == 450


def test_its_page_is_small_and_drawn_again_alike(place: Path, cli_report: Any) -> None:
    page = (place / "report.html").read_bytes()
    assert len(page) < 500_000
    assert page.count(b"<article") >= 6
    cli_report(place)
    assert (place / "report.html").read_bytes() == page


@pytest.fixture
def cli_report() -> Any:
    from understudy.cli.report import report

    return lambda folder: report(folder, quiet=True)


def test_left_out_it_leaves_nothing(tmp_path: Path) -> None:
    done = audited(tmp_path / "a", copied=False)
    assert done.record.copied is None
    assert not (tmp_path / "a" / "maps.safetensors").exists()
    assert read_maps(tmp_path / "a") == {}
    assert "Not measured: this audit left it out" in (tmp_path / "a" / "report.html").read_text()


def test_it_changes_nothing_else(tmp_path: Path) -> None:
    with_it, without = (audited(tmp_path / str(c), copied=c, eps=0.02).record for c in (True, False))
    assert with_it.summary == without.summary
    assert with_it.calibration == without.calibration


def test_an_older_audit_is_still_drawn(place: Path, tmp_path: Path, cli_report: Any) -> None:
    content = json.loads((place / "audit.json").read_text())
    del content["copied"], content["settings"]["copied"]
    (tmp_path / "audit.json").write_text(json.dumps(content))
    (tmp_path / "worst.safetensors").write_bytes((place / "worst.safetensors").read_bytes())
    cli_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "What the student copied" not in page
    assert "Agreement by the teacher’s confidence" in page


def test_a_damaged_part_is_named(place: Path, tmp_path: Path) -> None:
    content = json.loads((place / "audit.json").read_text())
    del content["copied"]["answers"]["kl"]
    (tmp_path / "audit.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"not an audit\.json of schema 1: .*kl"):
        read_audit(tmp_path)
