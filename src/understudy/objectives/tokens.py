"""What language models are compared by: means over the positions that count, one value a sequence.

Logits (B, L, V), tokens and masks (B, L), where position i says what token i + 1 is. A sequence's value is the mean
over its own positions, 1/L_y sum over n, so each sequence weighs the same however long it is; one without any is 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from understudy.data.batch import CLEAN, Batch
from understudy.errors import InputError
from understudy.objectives.divergences import cross_entropy
from understudy.objectives.divergences_family import divergence
from understudy.objectives.divergences_terms import Kind


def mask_of(batch: Batch, view: str = CLEAN) -> Bool[Tensor, "b l"]:
    """Which positions of a view count. Raises InputError if the batch holds no text."""
    if view not in batch.masks:
        raise InputError(f"this objective reads text, and the batch has no mask for its view {view!r}")
    return batch.masks[view]


def sequence_mean(values: Float[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> Float[Tensor, " b"]:
    """The mean of each row over the positions that count; 0 for a row without one."""
    return values.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp_min(1)


def sequence_divergence(
    teacher_logits: Float[Tensor, "b l v_t"],
    student_logits: Float[Tensor, "b l v_s"],
    mask: Bool[Tensor, "b l"],
    kind: Kind = "forward_kl",
    weight: float | None = None,
    *,
    temperature: float = 1.0,
    classes: int | None = None,
) -> Float[Tensor, " b"]:
    """The mean of `divergences_family.divergence` over a sequence's positions, in nats; no factor T^2.

    Positions that do not count are replaced by zeros first: whatever they hold, no value and no gradient depends
    on it. `classes` is the vocabulary where the two heads are padded to different widths.
    """
    out = ~mask[..., None]
    t, s = teacher_logits.masked_fill(out, 0.0), student_logits.masked_fill(out, 0.0)
    return sequence_mean(divergence(t, s, kind, weight, temperature=temperature, classes=classes), mask)


def next_token_loss(
    logits: Float[Tensor, "b l v"], tokens: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"]
) -> Float[Tensor, " b"]:
    """-ln softmax(logits_i)_(token i + 1), the mean over a sequence's positions, in nats.

    Raises:
        InputError: the last position of a row counts: there is no token behind it.
    """
    if logits.shape[1] < 2:
        raise InputError(f"rows of 2 tokens or more are needed, found shape {tuple(logits.shape[:2])}")
    _check_last(mask)
    said, following = logits[:, :-1], tokens[:, 1:]
    said = said.masked_fill(~mask[:, :-1, None], 0.0)
    values = cross_entropy(said.flatten(0, 1), following.flatten()).view(following.shape)
    return sequence_mean(values, mask[:, :-1])


def _check_last(mask: Tensor) -> None:
    if not torch.compiler.is_compiling() and bool(mask[:, -1].any()):
        raise InputError("the last position of a row cannot count: no token follows it")
