"""Small embedders: tokens pooled by their mean and mapped to a vector, and the pieces to end or share a row by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import InputError


class Unit(nn.Module):
    """Vectors divided by their lengths: (B, D) -> (B, D). A vector of zeros stays one."""

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return F.normalize(vectors, dim=1)


class Embedder(nn.Module):
    """Token numbers (B, L), 0 for none, floats or integers -> vectors (B, D).

    Each token has a vector; those of a row are averaged, go through the hidden layers (GELU) and one linear map.

    Args:
        tokens: the largest token number.
        width: of a token's vector.
        size: D; None leaves out the hidden layers and the map, and the mean itself is the answer.
        hidden: widths of the layers between the mean and the map.
        normalize: whether the answer is divided by its length.

    Raises:
        InputError: a number below 1; hidden layers without a size. When called: a token beyond the largest.
    """

    def __init__(
        self,
        tokens: int,
        width: int,
        size: int | None,
        *,
        hidden: Sequence[int] = (),
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if min(tokens, width, 1 if size is None else size, *hidden, 1) < 1:
            raise InputError(f"sizes must be 1 or more, found {tokens}, {width}, {size}, {tuple(hidden)}")
        if size is None and hidden:
            raise InputError("hidden layers need a size to end in")
        self.tokens = nn.Embedding(tokens + 1, width, padding_idx=0)
        layers: list[nn.Module] = []
        for after in hidden:
            layers += [nn.Linear(width, after), nn.GELU()]
            width = after
        if size is not None:
            layers.append(nn.Linear(width, size))
        self.out = nn.Sequential(*layers, *[Unit()] * normalize)

    def pooled(self, rows: Tensor) -> Tensor:
        """The mean of each row's token vectors: (B, L) -> (B, width), 0 for a row without tokens."""
        numbers = rows.long()
        if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < self.tokens.num_embeddings:
            raise InputError(
                f"tokens must be 0..{self.tokens.num_embeddings - 1}, found {int(numbers.min())}.."
                f"{int(numbers.max())}"
            )
        there = (numbers != 0).sum(1, keepdim=True).clamp(min=1)
        return self.tokens(numbers).sum(1) / there

    def forward(self, rows: Tensor) -> Tensor:
        """(B, L) -> (B, D)."""
        return self.out(self.pooled(rows))


class Columns(nn.Module):
    """A model of some of a row's columns, start..stop-1: so teacher and student read encodings of their own.

    Raises:
        InputError: not 0 <= start < stop. When called: a row that ends before.
    """

    def __init__(self, body: nn.Module, start: int, stop: int) -> None:
        super().__init__()
        if not 0 <= start < stop:
            raise InputError(f"columns must be 0 <= start < stop, found {start} and {stop}")
        self.body, self.start, self.stop = body, start, stop

    def forward(self, rows: Tensor) -> Tensor:
        """(B, L, ...) -> what the body says of (B, stop - start, ...)."""
        if rows.shape[1] < self.stop:
            raise InputError(f"a row must have {self.stop} columns, found {rows.shape[1]}")
        return self.body(rows[:, self.start : self.stop])


def linear_bag(vectors: Tensor) -> Embedder:
    """The embedder of fixed token vectors (V, D): the mean of a row's, over its length. Token k + 1 has row k.

    With idf * the components of a truncated SVD it is latent semantic analysis, up to the length of the mean.
    """
    made = Embedder(len(vectors), vectors.shape[1], None)
    with torch.no_grad():
        made.tokens.weight[1:] = vectors
    return made
