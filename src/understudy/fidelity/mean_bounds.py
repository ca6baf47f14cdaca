"""Upper confidence bounds of a mean, from a fixed number of independent draws in [0, 1].

Each bound fails, that is lies below the mean, with probability at most `delta`, whatever the distribution and for
any number of draws. Which bound, how many draws and `delta` must be settled before the draws are looked at. SciPy is
imported when it is needed.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown

Bound = Literal["betting", "bernstein", "clopper-pearson"]
FINENESS = 2.0  # ratio of neighbouring bets; between 1.5 and 3 it hardly matters
SLACK = 1e-9  # what a capital's logarithm must exceed its target by: far more than float64 sums can err


def bernstein_upper(
    mean: Float[np.ndarray, " k"], variance: Float[np.ndarray, " k"], draws: int, delta: float
) -> Float[np.ndarray, " k"]:
    """mean + sqrt(2 V L / n) + 7 L / (3 (n - 1)), L = ln(2 / delta) (Maurer and Pontil, arXiv 0907.3740, theorem 4).

    `variance` is the sample variance V, with n - 1 in the denominator; n >= 2. At most 1.
    """
    log = math.log(2.0 / delta)
    return _up(mean + np.sqrt(2.0 * variance * log / draws) + 7.0 * log / (3.0 * (draws - 1)))


def binomial_upper(successes: Float[np.ndarray, " k"], draws: int, delta: float) -> Float[np.ndarray, " k"]:
    """The p with P(Binomial(n, p) <= successes) = delta: the upper end of Clopper and Pearson (1934), one-sided."""
    from scipy.special import betainccinv

    failures = draws - successes
    inner = betainccinv(successes + 1.0, np.maximum(failures, 1.0), delta)
    return _up(np.where(failures > 0, inner, 1.0))


def bets(draws: int, delta: float) -> Float[np.ndarray, " g"]:
    """The bets that are mixed, in (0, 1]: a geometric grid from that which suits the largest variance up to 1."""
    smallest = min(0.5, math.sqrt(2.0 * math.log(1.0 / delta) / draws))
    steps = math.ceil(math.log(1.0 / smallest) / math.log(FINENESS))
    return np.append(np.geomspace(smallest, 1.0, steps + 1)[:-1], 1.0)


def betting_upper(
    log_products: Float[np.ndarray, "g k"], grid: Float[np.ndarray, " g"], draws: int, delta: float
) -> Float[np.ndarray, " k"]:
    """The smallest m at which the capital W(m) of betting that the mean is below m reaches 1 / delta.

    W(m) = mean over bets q of prod_i (1 - q X_i) / (1 - q m), and `log_products` hold sum_i ln(1 - q X_i). If the
    mean is m, every factor has mean 1, and so has W(m): by Markov's inequality it reaches 1 / delta with probability
    at most delta. W rises in m, so that every mean above the result is refuted. These are the test martingales of
    Waudby-Smith and Ramdas (arXiv 2010.09686) with bets that are constant and mixed, so that no order of the draws
    matters and one number a bet is all that is kept. Draws that are all 0 give 1 - delta**(1/n), nearly, as
    Clopper and Pearson do; a small variance is used as Bernstein's bound uses it, with smaller constants.
    """
    target = math.log(1.0 / delta) + SLACK
    low, high = np.zeros(log_products.shape[1]), np.ones(log_products.shape[1])
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            capital = log_products - draws * np.log1p(-grid[:, None] * middle) - math.log(len(grid))
            reached = np.logaddexp.reduce(capital, axis=0) >= target  # not for NaN
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return _up(high)


def _up(bound: np.ndarray) -> np.ndarray:
    """Rounded up and cut at 1; NaN, which proves nothing, counts as 1."""
    return np.nan_to_num(np.minimum(bound * (1 + 1e-12), 1.0), nan=1.0)


class Tally:
    """What is kept of draws in [0, 1], K a time, until their means are bounded; memory does not grow with them.

    Args:
        columns: K, the means that are bounded together.
        draws: how many there will be.
        failure: the probability with which any of the K bounds may fail: each is given failure / K.
        bound: "betting" (the tightest, see `betting_upper`), "bernstein", or "clopper-pearson": each draw h is
            replaced by a coin that shows 1 with probability h, so that the coins have a binomial sum.
        coins: for "clopper-pearson", where they come from.

    Raises:
        InputError: no column, fewer than two draws, a failure outside (0, 1), a bound that does not exist.
    """

    def __init__(
        self, columns: int, draws: int, failure: float, bound: Bound, coins: Randomness | None = None
    ) -> None:
        if bound not in get_args(Bound):
            raise unknown("confidence bound", str(bound), get_args(Bound))
        if columns < 1 or draws < 2:
            raise InputError(
                f"means are bounded from 1 column and 2 draws upward, found {columns} and {draws}"
            )
        if not 0.0 < failure < 1.0:
            raise InputError(
                f"the probability of failing must lie between 0 and 1 (0.001 is 0.1 %), found {failure}"
            )
        if (coins is None) == (bound == "clopper-pearson"):
            raise InputError("coins are what the bound 'clopper-pearson' needs, and no other")
        self.draws, self.delta, self.bound = draws, failure / columns, bound
        self.seen = 0
        self._coins = coins
        self._grid = bets(draws, self.delta)
        self._mean, self._squares, self._successes = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        self._log_products = np.zeros((len(self._grid), columns))

    @property
    def mean(self) -> Float[np.ndarray, " k"]:
        """The draws' mean so far, of each column: an unbiased estimate, no bound."""
        return self._mean

    def add(self, values: Float[Tensor, "n k"]) -> None:
        """Take n draws of each column.

        Raises:
            InputError: another number of columns, or a value that is not in [0, 1].
        """
        if values.ndim != 2 or values.shape[1] != len(self._mean) or len(values) == 0:
            raise InputError(f"draws must be (n, {len(self._mean)}), found {tuple(values.shape)}")
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise InputError("a draw is NaN or lies outside [0, 1]")
        self.seen += len(values)
        drawn = values.detach().double()
        part = drawn.mean(0)
        shift = part.cpu().numpy() - self._mean
        before = (self.seen - len(values)) / self.seen  # the parts' means and squares are pooled
        self._mean = self._mean + shift * (1 - before)
        squares = (drawn - part).square().sum(0).cpu().numpy()
        self._squares = self._squares + squares + shift**2 * before * len(values)
        if self.bound == "betting":
            logs = [torch.log1p(-float(bet) * drawn).sum(0) for bet in self._grid]
            self._log_products += torch.stack(logs).cpu().numpy()
        if self._coins is not None:
            # float64, so that a coin's bias is 2**-53; <=, so that it is upward
            coins = torch.rand(drawn.shape, generator=self._coins.generator, dtype=torch.float64)
            self._successes += (coins.to(drawn.device) <= drawn).sum(0).cpu().numpy()

    def upper(self) -> Float[np.ndarray, " k"]:
        """Upper bounds of the K means, in (0, 1]; with probability 1 - failure all of them hold.

        Raises:
            InputError: there were not as many draws as announced.
        """
        if self.seen != self.draws:
            raise InputError(f"{self.draws} draws were announced, {self.seen} were made")
        if self.bound == "betting":
            return betting_upper(self._log_products, self._grid, self.draws, self.delta)
        if self.bound == "clopper-pearson":
            return binomial_upper(self._successes, self.draws, self.delta)
        return bernstein_upper(self._mean, self._squares / (self.draws - 1), self.draws, self.delta)
