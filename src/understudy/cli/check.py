"""`understudy check`: prove certificates again, with a program that shares nothing with the engine."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.errors import CertificateRefused, InputError

if TYPE_CHECKING:
    from understudy.bounds.checker.verify import Verified


def check(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERT", help="A certificate (.npz), or a folder of certificates.")
    ],
    exact: Annotated[
        bool, typer.Option("--exact", help="In rational numbers instead of float64; for tiny networks.")
    ] = False,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="T", help="The teacher's file or run folder.")
    ] = None,
    student: Annotated[
        Path | None, typer.Option("--student", metavar="S", help="The student's file or run folder.")
    ] = None,
) -> None:
    """Prove certificates again; with --teacher and --student, that they speak of these models."""
    from understudy.bounds.checker.network import Refused
    from understudy.bounds.checker.verify import Unreadable, verify

    if exact:
        from understudy.bounds.checker.exact import verify as in_rationals
    hashes = {
        name: _sha256(path) for name, path in (("teacher", teacher), ("student", student)) if path is not None
    }
    files = _files(certificate)
    refused, unreadable = [], []
    for file in files:
        start = time.perf_counter()
        try:
            done = (in_rationals if exact else verify)(str(file))
            _compare(done, hashes)
        except Refused as error:
            refused.append(str(file))
            typer.echo(f"{file}: REFUSED: {error}")
        except Unreadable as error:
            unreadable.append(str(error))
            typer.echo(f"{file}: UNREADABLE")
        else:
            spent = f"{time.perf_counter() - start:.1f} s, {file.stat().st_size / 1e6:.1f} MB"
            typer.echo(f"{file}: {_sentence(done, set(hashes))} ({spent})")
    if len(files) > 1:
        typer.echo(f"{len(files) - len(refused) - len(unreadable)} of {len(files)} certificates are proved")
    if unreadable:
        raise InputError("; ".join(unreadable))
    if refused:
        raise CertificateRefused(f"{len(refused)} of {len(files)} certificates refused: {', '.join(refused)}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path} does not exist: name a certificate (.npz) or a folder of them")
        return [path]
    found = sorted(path.glob("*.npz"))
    if not found:
        raise InputError(f"{path} holds no certificates: no file in it ends in .npz")
    return found


def _sha256(path: Path) -> str:
    from understudy.models.saved import sha256_file

    return sha256_file(path / "model.safetensors" if path.is_dir() else path)


def _compare(done: Verified, hashes: dict[str, str]) -> None:
    from understudy.bounds.checker.network import need

    for name, found in hashes.items():
        said = done.header["networks"][name]["file"]
        need(said == found, f"it speaks of another {name}: SHA-256 {said!r}, not {found!r}")


def _sentence(done: Verified, compared: set[str]) -> str:
    header = done.header
    low, high = (header[end] for end in ("low", "high"))
    values = "" if low is None and high is None else f" with values from {low} to {high}"
    about = f"; it speaks of the given {' and '.join(sorted(compared))}" if compared else ""
    return (
        f"proved: on no input within {header['eps']} of its own{values} do the two networks' confidences in a "
        f"class differ by more than {_up(done.bound)} (claimed: {_up(header['upper'])}), by {done.leaves:,} parts "
        f"that cover all of them{about}"
    )


def _up(bound: float) -> str:
    """Six decimals, never less than the bound."""
    return f"{math.ceil(bound * 1e6) / 1e6:.6f}"
