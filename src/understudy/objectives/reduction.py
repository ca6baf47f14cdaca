"""The one place where per-example values become a loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError


def reduce_terms(
    terms: Mapping[str, Float[Tensor, " b"]], denominator: int
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """(loss, contribution of each term): sums of the values over `denominator`.

    The denominator is the number of examples in the *global* batch: over micro-batches and processes the
    contributions then add up to the mean over that batch, however it was split.

    Raises:
        InputError: no terms, or one whose values are not one an example (a mean taken too early).
    """
    if not terms:
        raise InputError("the objective gave no terms: a loss needs at least one, such as {'soft': values}")
    counts = {len(values) if values.dim() == 1 else None for values in terms.values()}
    if None in counts or len(counts) > 1:
        found = ", ".join(f"{name} {tuple(values.shape)}" for name, values in terms.items())
        raise InputError(f"terms must hold one value an example (B,), without reduction; found {found}")
    shares = {name: values.sum() / denominator for name, values in terms.items()}
    return torch.stack(tuple(shares.values())).sum() if len(shares) > 1 else next(
        iter(shares.values())
    ), shares
