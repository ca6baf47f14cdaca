"""Made-up text for the battery: rows of tokens with their masks, and the sizes of what is said of them."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.data.token_rows import meeting
from understudy.objectives.base import Needs

LENGTH = 6


def token_views(needs: Needs) -> tuple[str, ...]:
    """The views that are read, the student's first."""
    return tuple(dict.fromkeys((*needs.student, *needs.teacher)))


def token_size(needs: Needs, view: str, classes: int) -> tuple[int, int]:
    """(length, vocabulary) of a view: what the teacher alone reads is longer, in a larger vocabulary of its own."""
    return (LENGTH, classes) if view in needs.student else (LENGTH + 2, classes + 3)


def token_rows(
    needs: Needs, classes: int, rows: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tokens (rows, L) and masks (rows, L) by view: prompts of 1 to 3 tokens, answers that fill some rows."""
    tokens, masks = {}, {}
    for view in token_views(needs):
        length, vocabulary = token_size(needs, view, classes)
        tokens[view] = torch.randint(vocabulary, (rows, length), generator=generator)
        begin = torch.randint(1, 4, (rows, 1), generator=generator)
        stop = begin + 1 + torch.randint(length, (rows, 1), generator=generator) % (length - begin)
        following = torch.arange(1, length + 1)
        masks[view] = (following >= begin) & (following < stop)
    for other in token_views(needs)[1:]:
        both = (needs.student[0], other)
        common = torch.stack([masks[view].sum(1) for view in both]).amin(0)
        for name, view in zip(meeting(*both), both, strict=True):
            masks[name] = masks[view] & (masks[view].cumsum(1) <= common[:, None])
    return tokens, masks
