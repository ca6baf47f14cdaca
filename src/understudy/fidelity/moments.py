"""Mean and standard error of values that come in pieces: three numbers are kept, whatever their number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from understudy.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` examples, in the values' units, and its standard error s / sqrt(count).

    s has count - 1 below, so that s^2 is unbiased for independent examples. `error` is None of one example. It
    tells how the mean would move with other examples, and nothing about other seeds of training: for those, see
    `mean_over_seeds`.
    """

    mean: float
    error: float | None
    count: int


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of the values seen, in float64 (Chan, Golub and LeVeque, 1979).

    Joined piece by piece without a difference of large numbers: the digits hold where the mean is a million times
    the deviation.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Shaped[Tensor, " n"]) -> None:
        """Takes in values (n,), n >= 0; InputError, and nothing taken in, if one is not finite."""
        if len(values) == 0:
            return
        wide = values.detach().double()
        if not bool(torch.isfinite(wide).all()):
            raise InputError("values to average must be finite")
        mean = wide.mean()
        self.merge(Moments(len(values), float(mean), float((wide - mean).square().sum())))

    def merge(self, other: Moments) -> None:
        """Takes in what `other` has seen; `other` stays as it is."""
        if other.count == 0:
            return
        total = self.count + other.count
        step = other.mean - self.mean
        self.squares += other.squares + step * step * (self.count * other.count / total)
        self.mean += step * (other.count / total)
        self.count = total

    def estimate(self) -> Estimate:
        """The mean and its standard error; InputError before any value."""
        if self.count == 0:
            raise InputError("a mean needs one value at least, and none has been seen")
        if self.count == 1:
            return Estimate(self.mean, None, 1)
        return Estimate(self.mean, math.sqrt(self.squares / (self.count - 1) / self.count), self.count)


def moments_of(rows: Float[Tensor, "k n"]) -> list[Moments]:
    """The `Moments` of each row of (k, n) finite values, n >= 1, with one transfer from the device."""
    wide = rows.detach().double()
    mean = wide.mean(1, keepdim=True)
    both = torch.stack([mean.squeeze(1), (wide - mean).square().sum(1)]).tolist()
    return [Moments(rows.shape[1], centre, squares) for centre, squares in zip(*both, strict=True)]
