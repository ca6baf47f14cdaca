"""Everything a user can get wrong: exit 2, one clear message on the error stream, nothing half written."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

Cli = Callable[..., Any]
TRAIN = ("train", "--data", "digits", "--model", "mlp[4]", "--epochs", 1, "--examples", 40)


def distill(teacher: object, *more: object) -> tuple[object, ...]:
    return ("distill", "--teacher", teacher, "--model", "mlp[4]", "--data", "digits", "--method", "fd",
            "--epochs", 1, "--examples", 40, *more)  # fmt: skip


def audit(teacher: object, student: object, *more: object) -> tuple[object, ...]:
    return ("audit", "--teacher", teacher, "--student", student, "--data", "digits", "--points", 2, *more)


def compare(teacher: object, *more: object) -> tuple[object, ...]:
    return ("compare", "--teacher", teacher, "--model", "mlp", "--data", "digits", "--methods", "sd",
            "--epochs", 1, *more)  # fmt: skip


def assert_refused(cli: Cli, out: Path, arguments: tuple[object, ...], *said: str) -> str:
    """The one message; checks that nothing was left at `out` or beside it."""
    before = sorted(out.parent.rglob("*"))
    done = cli(*arguments, "--out", out)
    assert done.code == 2, done
    assert done.out == ""
    assert "Traceback" not in done.err
    for text in said:
        assert text in done.err, done.err
    assert sorted(out.parent.rglob("*")) == before
    return done.err


def test_names_that_do_not_exist(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for changed, said in [
        (("--data", "digit"), "digits"),
        (("--data", "no/such/folder"), "no/such/folder"),
        (("--model", "mpl"), "did you mean mlp"),
        (("--model", "resnet19"), "resnet20"),
        (("--model", "mlp[x]"), "mlp"),
    ]:
        message = assert_refused(cli, out, (*TRAIN, *changed), said)
        assert message.startswith("understudy: ")
    assert_refused(
        cli, out, (*distill(teacher), "--method", "fdd"), "unknown method 'fdd'", "did you mean fd"
    )
    assert_refused(cli, out, (*distill(teacher), "--method", "nomodule:X"), "nomodule")
    assert_refused(cli, out, (*distill(teacher), "--method", "os:getcwd"), "not a subclass")
    assert_refused(
        cli, out, distill(teacher, "--set", "step=3"), "unknown option of fd 'step': did you mean steps"
    )
    assert_refused(cli, out, distill(teacher, "--set", "steps=many"), "fd.steps must be a int, found 'many'")
    assert_refused(cli, out, distill(teacher, "--set", "steps"), "field=value")
    assert_refused(cli, out, audit(teacher, tmp_path / "none"), "there is no file or folder")
    assert_refused(cli, out, audit(teacher, "mlp"), "is an architecture without weights")
    assert_refused(cli, out, audit(teacher, student, "--split", "tset"), "unknown split", "test")
    assert_refused(
        cli, out, (*TRAIN, "--data", "mnist", "--data-root", tmp_path / "no"), "data_root must be a folder"
    )


def test_options_that_the_parser_itself_refuses(
    cli: Cli, teacher: Path, student: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert_refused(cli, out, (*TRAIN, "--epoch", 3), "No such option")
    assert_refused(cli, out, (*TRAIN, "--epochs", "many"), "'--epochs'", "integer")
    assert_refused(cli, out, (*TRAIN, "--robust", "pdg"), "robust", "pgd")
    assert_refused(cli, out, (*TRAIN, "--device", "tpu"), "device", "cpu")
    assert_refused(cli, out, audit(teacher, student, "--certify", "crwon"), "certify", "crown")
    assert_refused(cli, out, audit(teacher, student, "--norm", "l1"), "norm", "linf")
    assert cli("tarin").code == 2
    assert cli("audit").code == 2


def test_options_that_are_missing_or_exclude_each_other(cli: Cli, teacher: Path, tmp_path: Path) -> None:
    for arguments, said in [
        (("train", "--data", "digits", "--out", tmp_path / "o"), "understudy train needs --model"),
        (("distill", "--data", "digits", "--method", "fd", "--out", tmp_path / "o"), "distill needs --teacher"),
        (TRAIN, "give --out DIR for a new run, or --resume DIR"),
        ((*TRAIN, "--resume", tmp_path / "none"), "not a run that can be resumed"),
        ((*TRAIN, "--out", tmp_path / "o", "--resume", teacher), "give --out DIR for a new run, or --resume DIR"),
        (("compare", "--teacher", teacher, "--model", "mlp", "--data", "digits", "--methods", "sd", "--resume",
          tmp_path, "--out", tmp_path / "o"), "compare continues its own folder"),
    ]:  # fmt: skip
        done = cli(*arguments)
        assert done.code == 2
        assert said in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("eps", "said"),
    [("-0.1", "0 or more"), ("nan", "finite"), ("inf", "finite"), ("1.5", "larger than the whole input range"),
     ("x", "a number or a fraction"), ("1/0", "a number or a fraction"), ("", "a number")],
)  # fmt: skip
def test_radii_that_cannot_be(
    cli: Cli, teacher: Path, student: Path, tmp_path: Path, eps: str, said: str
) -> None:
    out = tmp_path / "out"
    assert_refused(cli, out, (*TRAIN, f"--eps={eps}"), said)  # also where nothing is attacked
    assert_refused(cli, out, (*TRAIN, "--robust", "pgd", f"--eps={eps}"), said)
    assert_refused(cli, out, distill(teacher, f"--eps={eps}"), said)
    assert_refused(cli, out, audit(teacher, student, f"--eps=0,{eps}"), said)
    assert_refused(cli, out, compare(teacher, f"--train-eps={eps}"), said)
    assert_refused(cli, out, compare(teacher, f"--eps={eps}"), said)


def test_numbers_that_cannot_be(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for option in ("--epochs", "--batch-size", "--examples", "--devices"):
        assert_refused(cli, out, (*TRAIN, option, 0))
    assert_refused(cli, out, (*TRAIN, "--seed", -1), "seed")
    assert_refused(cli, out, (*TRAIN, "--lr", "nan"), "lr must be")
    assert_refused(cli, out, (*TRAIN, "--eps", "0.1,0.2"), "one radius, found 2")
    assert_refused(cli, out, (*TRAIN, "--devices", 2, "--batch-size", 1), "2 devices need a batch")
    for more, said in [
        (("--points", 0), "points must be 1 or more"),
        (("--points", 99999), "the split has 450 rows"),
        (("--start", 99999), "past the last row"),
        (("--tolerance", "nan"), "tolerance"),
        (("--time-limit", "0"), "time_limit"),
        (("--fail-above", "2"), "fail_above"),
        (("--fail-above", "nan"), "fail_above"),
        (("--fail-above", ".5", "--certify", "none"), "a gate over none never passes"),
        (("--certificates",), "certificates come from --certify alpha or exact"),
        (("--teacher-normalize", "1"), "MEAN:STD"),
        (("--student-normalize", "0.5:0"), "std must be above 0"),
        (("--teacher-normalize", ".5:.5,.5"), "equally long"),
    ]:
        assert_refused(cli, out, audit(teacher, student, *more), said)
    assert_refused(cli, out, compare(teacher, "--seeds", "a"), "whole numbers separated by commas, found 'a'")
    assert_refused(cli, out, compare(teacher, "--seeds", "1,1"), "different numbers")


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("exploded",))


def test_checkpoints_that_are_none(
    cli: Cli, teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, out = tmp_path / "files", tmp_path / "out"
    place.mkdir()
    monkeypatch.chdir(place)
    whole = (student / "model.safetensors").read_bytes()
    for name in ("bomb.pt", "bomb.safetensors"):
        (place / name).write_bytes(pickle.dumps(Bomb()))
    torch.save({"w": torch.ones(2)}, place / "zip.safetensors")
    (place / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (place / "header.safetensors").write_bytes(whole[:30])
    (place / "empty.safetensors").write_bytes(b"")
    save_file({"weird": torch.ones(3)}, place / "bare.safetensors")
    save_file(nn.Sequential(nn.Linear(64, 7)).state_dict(), place / "other.safetensors")
    for name, said in [
        ("bomb.pt", "is a pickle, which could run code"),
        ("bomb.safetensors", "is a pickle, which could run code"),
        ("zip.safetensors", "is a pickle, which could run code"),
        ("cut.safetensors", "truncated"),
        ("header.safetensors", "truncated"),
        ("empty.safetensors", "truncated"),
        ("bare.safetensors", "holds weights but no configuration"),
        ("mlp[8]@other.safetensors", "does not fit the architecture"),
        ("mlp[8]@nothere.safetensors", "there is no file"),
    ]:
        assert_refused(cli, out, audit(teacher, name), said, name.split("@")[-1])
        assert_refused(cli, out, audit(name, student), said)
        assert_refused(cli, out, distill(name), said)
    assert not (place / "exploded").exists()


def test_pairs_that_do_not_match(
    cli: Cli, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs_own.py").write_text(
        "from torch import nn\n"
        "def seven(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))\n"
        "def narrow(): return nn.Linear(3, 10)\n"
        "def number(): return 3\n"
        "def broken(): raise RuntimeError('broken inside')\n"
    )
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    for name, *said in [
        ("seven", "(2, 7)", "(2, 10)"),
        ("narrow", "3 values", "(1, 8, 8)"),
        ("number", "must return an nn.Module, it returned int"),
        ("broken", "broken inside"),
        ("sevn", "seven"),
    ]:
        assert_refused(cli, out, audit(teacher, f"pairs_own:{name}"), *said)
        assert_refused(cli, out, audit(f"pairs_own:{name}", teacher), *said)
        assert_refused(cli, out, distill(f"pairs_own:{name}"), *said)
    for name in ("number", "broken", "sevn"):
        assert_refused(cli, out, (*TRAIN, "--model", f"pairs_own:{name}"))


def test_data_that_cannot_be(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    out = tmp_path / "out"
    for name in ("a", "b"):
        (tmp_path / "images" / "test" / name).mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "images" / "test" / "a" / "0.png")
    (tmp_path / "images" / "test" / "b" / "1.png").write_bytes(b"not an image")
    (tmp_path / "text.txt").write_text("hello")
    for name in ("images", "empty", "text.txt"):
        assert_refused(cli, out, audit(teacher, student, "--data", tmp_path / name), str(tmp_path / name))


def test_folders_that_cannot_be_written(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, said in [
        ("used", "is not empty"),
        ("file", "cannot be made"),
        ("file/below", "cannot be made"),
    ]:
        for arguments in (TRAIN, distill(teacher), audit(teacher, student, "--eps", 0)):
            done = cli(*arguments, "--out", tmp_path / name)
            assert done.code == 2
            assert said in done.err
            assert "Traceback" not in done.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "thesis.tex", "used"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full(cli: Cli, teacher: Path, student: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        big = ("--model", "mlp[64,64]")
        for arguments in ((*TRAIN, *big), (*distill(teacher), *big), audit(teacher, student, "--eps", 0)):
            assert_refused(cli, disk / "out", arguments, "No space left")
        assert_refused(cli, disk / "new" / "out", (*TRAIN, *big), "No space left")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up_while_the_model_is_written(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def full(source: object, target: object) -> None:
        if str(target).endswith("model.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        done = cli(*TRAIN, "--out", tmp_path / "t")
    assert done.code == 2
    assert "No space left" in done.err
    assert cli("train", "--resume", tmp_path / "t").code == 0


def test_reports_and_exports_of_nothing(cli: Cli, student: Path, tmp_path: Path) -> None:
    for arguments, said in [
        (("report", tmp_path), "holds neither audit.json nor compare.json"),
        (("report", tmp_path / "no"), "holds neither"),
        (("export", tmp_path / "no", "--onnx", tmp_path / "s.onnx"), "there is no file or folder"),
        (("export", student, "--onnx", tmp_path / "no" / "s.onnx"), "cannot write"),
        (("export", student, "--onnx", tmp_path), str(tmp_path)),
    ]:
        done = cli(*arguments)
        assert done.code == 2, done
        assert said in done.err
    (tmp_path / "audit.json").write_text("{")
    done = cli("report", tmp_path)
    assert done.code == 2
    assert "audit.json cannot be read" in done.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["audit.json"]
