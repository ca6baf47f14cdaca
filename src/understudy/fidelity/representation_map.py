"""Minibatch CKA between every tap of one model and every tap of another: a heat map, at constant memory.

Nguyen, Raghu and Kornblith, arXiv 2010.15327: unbiased HSICs are summed over batches, and only then divided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.fidelity.representation import FEWEST, centred_gram, features_of
from understudy.models.look import frozen
from understudy.models.taps import Tapped, resolve_all


@dataclass(frozen=True, eq=False)
class CKAMap:
    """CKA of every pair of taps, in [-1, 1]: 1 for alike, about 0 by chance.

    Attributes:
        one, other: the taps' names, of the rows and of the columns.
        values: (rows, columns); NaN where a tap says the same of all examples, so that there is nothing to compare.
        chance: (draws, rows, columns) the same with the examples of `other` in random orders within each batch.
        examples, batches: how many were looked at.
        left_out: examples of batches with fewer than four, which tell nothing.
    """

    one: tuple[str, ...]
    other: tuple[str, ...]
    values: Float[Tensor, "a b"]
    chance: Float[Tensor, "p a b"]
    examples: int
    batches: int
    left_out: int = 0

    def p_values(self) -> Float[Tensor, "a b"]:
        """(1 + draws that reach the value) / (1 + draws): chance alone does as well so often, at most. NaN as values.

        Raises:
            InputError: there are no draws.
        """
        if not len(self.chance):
            raise InputError("there is no baseline to compare with: ask for `permutations`")
        reached = (self.chance >= self.values).sum(0)
        return torch.where(self.values.isnan(), self.values, (1 + reached) / (1 + len(self.chance)))


class MinibatchCKA:
    """Sums of the unbiased HSIC over batches, for all pairs of taps: memory does not grow with the examples.

    Each batch counts by its examples, which with batches of one size is the paper's mean over batches. Every HSIC_1 is
    unbiased at any batch size of four or more, so that the size matters to the noise only.

    Args:
        one, other: names of the taps of the two models.
        permutations: random orders to measure chance by; each costs as much as the comparison itself.
        seed: of those orders.

    Raises:
        InputError: no tap, the same twice, or permutations below 0.
    """

    def __init__(
        self, one: Sequence[str], other: Sequence[str], *, permutations: int = 0, seed: int = 0
    ) -> None:
        for names in (one, other):
            if not names or len(set(names)) < len(names):
                raise InputError(
                    f"CKA needs the names of taps, one at least and each once, found {list(names)}"
                )
        if permutations < 0:
            raise InputError(f"permutations must be 0 or more, found {permutations}")
        self.one, self.other = tuple(one), tuple(other)
        self._random = torch.Generator().manual_seed(seed)
        sizes = len(self.one), len(self.other)
        self._cross = torch.zeros(1 + permutations, *sizes, dtype=torch.float64)  # first as they are
        self._own = [torch.zeros(size, dtype=torch.float64) for size in sizes]
        self._examples = self._batches = 0

    def update(self, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
        """Take in the features (n, ...) of a batch of n >= 4 examples, which both models saw in the same order.

        Raises:
            InputError: a tap is missing, not finite, of other examples than the rest, or of fewer than four.
        """
        rows, columns = self._grams(one, self.one), self._grams(other, self.other)
        if rows.shape[1:] != columns.shape[1:]:
            raise InputError(
                f"both models must see the same examples, found {rows.shape[1]} and {columns.shape[1]}"
            )
        n = rows.shape[1]
        flat = rows.flatten(1)
        for draw in range(len(self._cross)):
            shown = columns
            if draw:
                order = torch.randperm(n, generator=self._random).to(columns.device)
                shown = columns[:, order][:, :, order]
            self._cross[draw] += (flat @ shown.flatten(1).T).cpu() / (n - 3)  # n times HSIC_1
        for total, grams in zip(self._own, (rows, columns), strict=True):
            total += grams.flatten(1).square().sum(1).cpu() / (n - 3)
        self._examples += n
        self._batches += 1

    def result(self, left_out: int = 0) -> CKAMap:
        """The map so far; `left_out` is noted in it.

        Raises:
            InputError: nothing was taken in.
        """
        if not self._batches:
            raise InputError(f"CKA needs one batch of {FEWEST} examples at least, and saw none")
        values = self._cross / (self._own[0][:, None] * self._own[1]).sqrt()  # 0 / 0 is NaN
        return CKAMap(self.one, self.other, values[0], values[1:], self._examples, self._batches, left_out)

    def _grams(self, features: Mapping[str, Tensor], names: tuple[str, ...]) -> Float[Tensor, "a n n"]:
        if missing := [name for name in names if name not in features]:
            raise InputError(f"the batch lacks the taps {missing}; it has {list(features)}")
        sizes = {len(features[name]) for name in names}
        if len(sizes) > 1:
            raise InputError(f"the taps of a batch must be of the same examples, found {sorted(sizes)}")
        return torch.stack([centred_gram(features_of(features[name], repr(name))) for name in names])


def representation_map(
    one: nn.Module,
    other: nn.Module,
    inputs: Iterable[Tensor | tuple[Tensor, Tensor]],
    taps: Sequence[str],
    other_taps: Sequence[str] | None = None,
    *,
    permutations: int = 0,
    seed: int = 0,
) -> CKAMap:
    """The heat map of two models over batches of inputs, each seen in eval mode and left as it was.

    Args:
        one, other: inputs -> logits; they may be the same model.
        inputs: batches (B, ...), or pairs (for `one`, for `other`) where the models' inputs differ.
        taps: layers of `one`, wildcards allowed; the layers that fit are the rows, in the model's order.
        other_taps: layers of `other`; those of `taps` if not given.
        permutations, seed: of the baseline.

    A batch of fewer than four examples, as the last one may be, is left out and counted.

    Raises:
        InputError: a layer that does not exist or did not run, and as `MinibatchCKA`.
    """
    rows = _layers(one, taps)
    columns = _layers(other, taps if other_taps is None else other_taps)
    sums, left_out = MinibatchCKA(rows, columns, permutations=permutations, seed=seed), 0
    with (
        torch.no_grad(),
        frozen(one),
        frozen(other),
        Tapped(one, {name: name for name in rows}) as first,
        Tapped(other, {name: name for name in columns}) as second,
    ):
        for batch in inputs:
            mine, theirs = batch if isinstance(batch, tuple) else (batch, batch)
            if len(mine) < FEWEST:
                left_out += len(mine)
                continue
            sums.update(first(mine)[1], second(theirs)[1])
    return sums.result(left_out)


def _layers(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Every layer that one of the patterns fits, once."""
    return list(dict.fromkeys(name for pattern in patterns for name in resolve_all(model, pattern)))
