"""How the data's inputs have to be laid out for an ONNX file's declared input shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError

Sizes = tuple[int | None, ...]


@dataclass(frozen=True)
class Layout:
    """Turns the data's (B, *shape) into the file's layout.

    `same` changes nothing, `channels_last` makes (B, C, H, W) into (B, H, W, C), `reshape` gives each example
    the shape `tail`, in the data's own order (channels first).
    """

    kind: Literal["same", "channels_last", "reshape"]
    tail: tuple[int, ...] = ()

    def __call__(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """The batch in the file's layout."""
        if self.kind == "same":
            return x
        if self.kind == "channels_last":
            return x.permute(0, 2, 3, 1)
        return x.flatten(1) if len(self.tail) == 1 else x.reshape(x.shape[0], *self.tail)


def layouts(declared: Sizes, shape: tuple[int, ...] | None, source: str) -> list[Layout]:
    """Every layout of the data's `shape` (no batch axis) that `declared` (with it) admits, likeliest first.

    Raises:
        InputError: none fits (both shapes are shown), or the data's shape is unknown and the file's open.
    """
    if shape is None:
        if len(declared) < 2 or None in declared[1:]:
            raise InputError(f"{source} declares input {show(declared)}; give the shape of the data's inputs")
        return [Layout("same")]
    tail = declared[1:]
    found = [Layout("same")] if _fits(tail, shape) else []
    if len(shape) == 3 and _fits(tail, (*shape[1:], shape[0])):
        found.append(Layout("channels_last"))
    if not found:
        filled = _filled(tail, shape)
        found = [] if filled is None else [Layout("reshape", filled)]
    if not found:
        given = show(("N", *shape))
        raise InputError(f"{source} takes inputs {show(declared)}; the data's {given} cannot be laid out so")
    return found


def show(sizes: tuple[int | str | None, ...]) -> str:
    """A shape for messages: (N, 3, ?, ?)."""
    return f"({', '.join('?' if size is None else str(size) for size in sizes)})"


def _fits(tail: Sizes, shape: tuple[int, ...]) -> bool:
    return len(tail) == len(shape) and all(
        want in (None, size) for want, size in zip(tail, shape, strict=True)
    )


def _filled(tail: Sizes, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The tail with one open size worked out, if a plain reshape is unambiguous: one side is flat, or both
    differ by axes of size 1 only."""
    total, known = math.prod(shape), math.prod(size for size in tail if size is not None)
    if not tail or tail.count(None) > 1 or known == 0 or total % known:
        return None
    sizes = tuple(total // known if size is None else size for size in tail)
    mine, theirs = [s for s in shape if s != 1], [s for s in sizes if s != 1]
    same = math.prod(sizes) == total and (mine == theirs or len(mine) <= 1 or len(theirs) <= 1)
    return sizes if same else None
