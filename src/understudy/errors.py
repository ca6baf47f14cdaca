"""The errors a user can meet. Each carries the exit status that the command line ends with."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UnderstudyError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 70


class InputError(UnderstudyError, ValueError):
    """Something the caller gave cannot be used. The message names it, what was found and what would be right."""

    exit_code = 2


class GateFailed(UnderstudyError):
    """An audit's gate (`fail_above`) found upper bounds above the limit; the message names the points."""

    exit_code = 1


class CertificateRefused(UnderstudyError):
    """A certificate does not prove its claim, or is about other models; the message says where it fails."""

    exit_code = 1


class SoundnessError(UnderstudyError):
    """A lower bound lies above an upper bound: one of the two is wrong. The case has been saved."""

    exit_code = 3


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An InputError for a name that does not exist, with the nearest names that do."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return InputError(f"unknown {kind} {name!r}: {hint}known: {', '.join(names) or 'none'}")
