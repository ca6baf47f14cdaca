"""A comparison of models' maps over a whole data set: per example, with means, intervals and what chance would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError, unknown
from understudy.fidelity.attention_compare import (
    THRESHOLD,
    map_divergence,
    overlap,
    rank_correlation,
    rescaled,
)
from understudy.fidelity.intervals import bootstrap_mean

RANK, KL = "spearman", "kl"


@dataclass(frozen=True)
class MapEstimate:
    """A mean over examples with its interval; None where no example has a value.

    Attributes:
        mean, low, high: by `bootstrap_mean`.
        examples: how many have a value.
        undefined: how many have none, and are left out: a map that is the same everywhere has no ranks.
    """

    mean: float | None
    low: float | None
    high: float | None
    examples: int
    undefined: int


@dataclass(frozen=True, eq=False)
class MapPair:
    """Two models' maps held against each other.

    Attributes:
        one, other: the models' names; the divergence is from the first.
        values: measure -> (n,) per example: "iou@0.4", "spearman", "kl".
        chance: the same between maps of different examples: what is alike in the maps of any two images. Empty where
            every batch had one example.
    """

    one: str
    other: str
    values: Mapping[str, Float[Tensor, " n"]]
    chance: Mapping[str, Float[Tensor, " m"]]

    def estimate(self, measure: str, *, by_chance: bool = False, confidence: float = 0.95) -> MapEstimate:
        """The mean of a measure, or of what chance gives, with its interval.

        Raises:
            InputError: an unknown measure, or a confidence outside (0, 1).
        """
        if measure not in self.values:
            raise unknown("measure", measure, self.values)
        if by_chance:
            return _estimate(self.chance.get(measure, torch.empty(0)), confidence)
        return _estimate(self.values[measure], confidence)


class MapComparison:
    """Takes in maps batch by batch and keeps a few numbers an example.

    Args:
        names: of the models, two or more.
        thresholds: of the overlap, in [0, 1).
        size: (H, W) that all maps are enlarged to first, such as the input's, as the paper does; if not given, maps
            must be of one size. Ranks and divergences of enlarged maps count made-up places.
        smoothing: of `map_divergence`.
        seed: of which examples are held against one another for chance.
        leave_out_even: no value (NaN) where one of two maps is the same everywhere: it points nowhere, and `overlap`
            and `map_divergence` would count two such as fully alike. `together` keeps them.

    Raises:
        InputError: fewer than two names or one twice, no threshold or one twice.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        thresholds: Sequence[float] = (THRESHOLD,),
        size: tuple[int, int] | None = None,
        smoothing: float = 0.01,
        seed: int = 0,
        leave_out_even: bool = False,
    ) -> None:
        for given, what, fewest in ((names, "models", 2), (thresholds, "thresholds", 1)):
            if len(given) < fewest or len(set(given)) < len(given):
                raise InputError(
                    f"a comparison needs {fewest} {what} at least, each once, found {list(given)}"
                )
        self.names, self.thresholds, self.size = tuple(names), tuple(thresholds), size
        self.smoothing, self.leave_out_even = smoothing, leave_out_even
        self._random = torch.Generator().manual_seed(seed)
        self._pairs = list(combinations(self.names, 2))
        self._values: list[dict[tuple[str, str], dict[str, Tensor]]] = []
        self._chance: list[dict[tuple[str, str], dict[str, Tensor]]] = []
        self._together: list[dict[str, Tensor]] = []

    def update(self, maps: Mapping[str, Float[Tensor, "b h w"]]) -> None:
        """Take in every model's maps (B, h, w) of the same examples.

        Raises:
            InputError: a model is missing, or maps that cannot be compared.
        """
        if missing := [name for name in self.names if name not in maps]:
            raise InputError(f"the batch lacks maps of {missing}; it has those of {list(maps)}")
        ready = {name: rescaled(maps[name], self.size) for name in self.names}
        together = list(ready.values())
        joint = {_iou(t): overlap(together, t).cpu() for t in self.thresholds}
        values = {(a, b): self._measured(ready[a], ready[b]) for a, b in self._pairs}
        self._together.append(joint)
        self._values.append(values)
        many = len(together[0])
        if many > 1:  # each example beside another one, never itself
            order = torch.randperm(many, generator=self._random).to(together[0].device)
            other = order.roll(1)
            self._chance.append(
                {(a, b): self._measured(ready[a][order], ready[b][other]) for a, b in self._pairs}
            )

    def pairs(self) -> list[MapPair]:
        """Every two models, in the order of the names.

        Raises:
            InputError: nothing was taken in.
        """
        self._check_begun()
        return [
            MapPair(*pair, _joined([v[pair] for v in self._values]), _joined([c[pair] for c in self._chance]))
            for pair in self._pairs
        ]

    def together(self) -> dict[str, Float[Tensor, " n"]]:
        """The overlap of all models' maps at once, "iou@..." -> (n,): with three or more, less than any two's.

        Raises:
            InputError: nothing was taken in.
        """
        self._check_begun()
        return _joined(self._together)

    def _measured(self, one: Tensor, other: Tensor) -> dict[str, Tensor]:
        found = {_iou(threshold): overlap((one, other), threshold) for threshold in self.thresholds}
        found[RANK] = rank_correlation(one, other)
        found[KL] = map_divergence(one, other, self.smoothing)
        if self.leave_out_even:
            even = (one.amax((1, 2)) == 0) | (other.amax((1, 2)) == 0)  # as `rescaled` leaves such maps
            found = {name: values.masked_fill(even, torch.nan) for name, values in found.items()}
        return {name: values.cpu() for name, values in found.items()}

    def _check_begun(self) -> None:
        if not self._values:
            raise InputError("a comparison of maps needs one batch at least, and saw none")


def compare_maps(
    maps: Mapping[str, Float[Tensor, "b h w"]],
    *,
    thresholds: Sequence[float] = (THRESHOLD,),
    size: tuple[int, int] | None = None,
    smoothing: float = 0.01,
    seed: int = 0,
    leave_out_even: bool = False,
) -> list[MapPair]:
    """Every two models' maps of the same examples held against each other, as `MapComparison` in one go.

    Raises:
        InputError: as `MapComparison`.
    """
    comparison = MapComparison(
        list(maps),
        thresholds=thresholds,
        size=size,
        smoothing=smoothing,
        seed=seed,
        leave_out_even=leave_out_even,
    )
    comparison.update(maps)
    return comparison.pairs()


def _iou(threshold: float) -> str:
    return f"iou@{threshold:g}"


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _estimate(values: Tensor, confidence: float) -> MapEstimate:
    known = values[~values.isnan()]
    undefined = len(values) - len(known)
    if not len(known):
        return MapEstimate(None, None, None, 0, undefined)
    low, high = bootstrap_mean(known, confidence)
    return MapEstimate(float(known.mean()), low, high, len(known), undefined)
