"""How a student's embeddings serve where the teacher's did: search, its own place in the index, short vectors.

Scores are cosines. The asymmetric mode is a student's questions to a teacher's documents: give those as `documents`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError


def scores(queries: Float[Tensor, "q d"], documents: Float[Tensor, "n d"]) -> Float[Tensor, "q n"]:
    """Cosines of every query with every document, in at least float32."""
    wide = torch.promote_types(torch.promote_types(queries.dtype, documents.dtype), torch.float32)
    return F.normalize(queries.to(wide), dim=1) @ F.normalize(documents.to(wide), dim=1).T


def nearest(queries: Float[Tensor, "q d"], documents: Float[Tensor, "n d"]) -> Int[Tensor, " q"]:
    """The document with the highest score for each query, the first of equals."""
    return scores(queries, documents).argmax(1)


def place_among(
    queries: Float[Tensor, "q d"], documents: Float[Tensor, "n d"], own: Int[Tensor, " k"]
) -> Int[Tensor, " k"]:
    """How many documents score above the query's own one, number `own`: 0 where it comes first. Equals count half.

    With a student's vectors as queries and its teacher's vectors of the same inputs as documents: whether it means that
    input, and not just the middle of the space. Halves are rounded down.

    Raises:
        InputError: not one number a query, or one that is no document's.
    """
    if own.shape != queries.shape[:1] or not bool(((own >= 0) & (own < len(documents))).all()):
        raise InputError(
            f"own must give a document 0..{len(documents) - 1} for each of {len(queries)} queries"
        )
    found = scores(queries, documents)
    mine = found.gather(1, own[:, None])
    above, equal = (found > mine).sum(1), (found == mine).sum(1) - 1
    return above + equal // 2


def shortened(vectors: Float[Tensor, "n d"], kept: int) -> Float[Tensor, "n k"]:
    """The first `kept` coordinates, divided by their length again.

    Raises:
        InputError: not 1..D.
    """
    if not 1 <= kept <= vectors.shape[1]:
        raise InputError(f"kept must be 1..{vectors.shape[1]}, found {kept}")
    return F.normalize(vectors[:, :kept], dim=1)


def signs(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """One bit a coordinate: 1 where it is 0 or more, else -1."""
    return torch.where(vectors >= 0, 1.0, -1.0).to(vectors)
