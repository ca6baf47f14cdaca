"""`understudy check`: what it says, and the exit codes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reference_certificates as reference
from understudy.bounds.certificate import Certificate

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return reference.random_certificate(2, splits=4)


def lowered(certificate: Certificate) -> Certificate:
    return dataclasses.replace(certificate, upper=certificate.upper / 2)


def test_one_that_holds(cli: Cli, certificate: Certificate, tmp_path: Path) -> None:
    certificate.save(tmp_path / "a.npz")
    for options in ((), ("--exact",)):
        done = cli("check", tmp_path / "a.npz", *options)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(
            f"{tmp_path / 'a.npz'}: proved: on no input within 0.3 of its own with values from 0.0"
        )
        assert f"differ by more than {certificate.upper:.3f}" in done.out
        assert " MB)" in done.out


def test_the_printed_bound_is_not_below_the_proved_one(
    cli: Cli, certificate: Certificate, tmp_path: Path
) -> None:
    certificate.save(tmp_path / "a.npz")
    printed = float(cli("check", tmp_path / "a.npz").out.split("differ by more than ")[1].split()[0])
    assert certificate.upper - 1e-9 <= printed <= certificate.upper + 1e-6


def test_one_that_does_not_hold(cli: Cli, certificate: Certificate, tmp_path: Path) -> None:
    lowered(certificate).save(tmp_path / "a.npz")
    done = cli("check", tmp_path / "a.npz")
    assert done.code == 1
    assert f"REFUSED: it claims {certificate.upper / 2!r}, proved is" in done.out
    assert done.err == f"understudy: 1 of 1 certificates refused: {tmp_path / 'a.npz'}\n"


def test_a_folder(cli: Cli, certificate: Certificate, tmp_path: Path) -> None:
    certificate.save(tmp_path / "a.npz")
    certificate.save(tmp_path / "b.npz")
    done = cli("check", tmp_path)
    assert done.code == 0
    assert done.out.endswith("2 of 2 certificates are proved\n")
    lowered(certificate).save(tmp_path / "b.npz")
    done = cli("check", tmp_path)
    assert done.code == 1
    assert done.out.endswith("1 of 2 certificates are proved\n")
    (tmp_path / "a.npz").write_text("no archive")
    done = cli("check", tmp_path)
    assert done.code == 2
    assert f"{tmp_path / 'a.npz'} is no certificate" in done.err


def test_what_is_no_certificate(cli: Cli, tmp_path: Path) -> None:
    done = cli("check", tmp_path)
    assert done.code == 2
    assert "holds no certificates: no file in it ends in .npz" in done.err
    done = cli("check", tmp_path / "a.npz")
    assert done.code == 2
    assert "does not exist" in done.err


def test_the_models_are_compared(cli: Cli, certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    models = {"teacher": tmp_path / "t.onnx", "student": tmp_path / "run" / "model.safetensors"}
    for name, path in models.items():
        path.write_bytes(name.encode())
    networks = {
        name: dataclasses.replace(part, file=hashlib.sha256(name.encode()).hexdigest())
        for name, part in certificate.networks.items()
    }
    dataclasses.replace(certificate, networks=networks).save(tmp_path / "a.npz")
    done = cli("check", tmp_path / "a.npz", "--teacher", models["teacher"], "--student", tmp_path / "run")
    assert done.code == 0
    assert "it speaks of the given student and teacher" in done.out
    done = cli("check", tmp_path / "a.npz", "--teacher", models["student"])
    assert done.code == 1
    assert "REFUSED: it speaks of another teacher: SHA-256" in done.out
    done = cli("check", tmp_path / "a.npz", "--student", tmp_path / "missing")
    assert done.code == 2
    assert "cannot read" in done.err


def test_an_uncheckable_one(cli: Cli, certificate: Certificate, tmp_path: Path) -> None:
    dataclasses.replace(certificate, proof=None).save(tmp_path / "a.npz")
    done = cli("check", tmp_path / "a.npz")
    assert done.code == 1
    assert "REFUSED: it says of itself that it cannot be checked: no proof was kept" in done.out


def test_too_large_for_rational_numbers(cli: Cli, tmp_path: Path) -> None:
    wide = reference.random_certificate(0, lambda rng: reference.mlp(rng, hidden=(90,)), splits=0)
    wide.save(tmp_path / "a.npz")
    done = cli("check", tmp_path / "a.npz", "--exact")
    assert done.code == 1
    assert "too large for rational numbers" in done.out
