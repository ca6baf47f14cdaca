"""`Identity`: what a store of a teacher's answers belongs to, and in what two of them differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jaxtyping import Int
from torch import Tensor

from understudy.errors import InputError
from understudy.numbers import check_number

PLAIN = "clean"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose answers they are, and to what.

    Attributes:
        teacher: SHA-256 of the teacher's weights.
        data: name of the data, for messages.
        fingerprint: SHA-256 of the data (`DataSet.fingerprint`, `token_fingerprint`).
        units: how many units one view has.
        classes: C, the length of the teacher's logits.
        unit: what a unit is: "example", "token", ...
        view: what the teacher was shown: "clean", or an augmentation in words (`Replay.view`).
        seed: the augmentation's; 0 for clean data.
        views: how many views were stored; a run may ask for fewer.
        temperature: T of the stored probabilities; None where raw logits are stored, which serve every T.
        precision: in which the teacher computed.

    Raises:
        InputError: a number out of its range.
    """

    teacher: str
    data: str
    fingerprint: str
    units: int
    classes: int
    unit: str = "example"
    view: str = PLAIN
    seed: int = 0
    views: int = 1
    temperature: float | None = 1.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("units", "classes", "views"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, found {getattr(self, name)}")
        if self.temperature is not None:
            check_number("temperature", self.temperature, 0.0, above=True)

    def refuse_unless_served_by(self, stored: Identity, place: str) -> None:
        """InputError that names each field in which the answers at `place` are not the ones asked for."""
        wrong = []
        for name in (field.name for field in fields(self)):
            asked, found = getattr(self, name), getattr(stored, name)
            if name == "views":
                fits = asked <= found
            elif name == "temperature":
                fits = found is None or asked == found
            else:
                fits = asked == found
            if not fits:
                wrong.append(f"{name} is {found}, asked for {asked}")
        if wrong:
            raise InputError(f"the teacher's answers in {place} belong to something else: {'; '.join(wrong)}")


def identity_from(values: Mapping[str, Any], place: str) -> Identity:
    """The identity in a manifest. Raises InputError if it is not one."""
    try:
        return Identity(**values)
    except TypeError as error:
        raise InputError(f"{place} does not say what it belongs to: {error}") from error


def token_fingerprint(ids: Int[Tensor, " n"]) -> str:
    """SHA-256 of token ids as they were packed, in order: (N,) as int64, little-endian."""
    return hashlib.sha256(ids.cpu().numpy().astype("<i8").tobytes()).hexdigest()


def digest(content: Any) -> str:
    """SHA-256 of plain data, as JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def plain(identity: Identity) -> dict[str, Any]:
    """The identity as plain data."""
    return asdict(identity)
