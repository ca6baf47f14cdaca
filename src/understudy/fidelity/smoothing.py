"""Randomised smoothing of a pair: how far teacher and student differ under Gaussian noise, around a point.

For h_k(x) = |softmax(t(x))_k - softmax(s(x))_k|, in [0, 1], and noise Z ~ N(0, sigma^2 I), let H_k(x) = E h_k(x + Z).
Whatever the networks are, Phi^-1(H_k) is 1/sigma-Lipschitz in the Euclidean norm (Salman et al., arXiv 1906.04584,
lemma 2; Levine et al., arXiv 1905.12105). So from H_k(x) <= m follows, at every distance rho at once,

    H_k(x + d) <= Phi(Phi^-1(m) + rho / sigma)     for ||d||_2 <= rho,

and for ||d||_inf <= eps on n values with rho = eps sqrt(n). m is an upper confidence bound from draws of the noise:
the certificate is statistical. It speaks of the pair averaged over noise, which leaves the valid range: the networks
are run on what the noise makes, without clipping. It also bounds |E p_t,k(x + d + Z) - E p_s,k(x + d + Z)|, the
difference of the two smoothed classifiers, which is at most H_k(x + d).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.attacks import Norm
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.fidelity.mean_bounds import Bound, Tally
from understudy.models.look import logits_of
from understudy.numbers import check_number

AT_ONCE = 2**21  # numbers in a batch of noisy inputs, so that memory does not grow with the draws
ROWS = 1024  # noisy inputs in a batch, at most


@dataclass(frozen=True)
class Noise:
    """What is drawn, and how sure the bound shall be.

    Attributes:
        sigma: standard deviation of the noise on every input value, in the data's units.
        samples: noisy inputs a point.
        confidence: with which a point's bound holds for all of its classes at once.
        bound: which upper confidence bound: "betting", "bernstein" or "clopper-pearson" (see `Tally`).
        seed: of the noise.

    Raises:
        InputError: a sigma that is not above 0, fewer than 2 samples, a confidence outside (0, 1), an unknown bound.
    """

    sigma: float
    samples: int = 10_000
    confidence: float = 0.999
    bound: Bound = "betting"
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, 0.0, above=True)
        if not 0.0 < self.confidence < 1.0:
            raise InputError(
                f"confidence must lie between 0 and 1 (0.999 is 99.9 %), found {self.confidence}"
            )
        if self.samples < 2:
            raise InputError(f"samples must be 2 or more, found {self.samples}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be 0 or more, below 2**63, found {self.seed}")
        self.tally(1, 0)

    def tally(self, classes: int, index: int) -> Tally:
        """An empty tally for a point's draws; the coins of a point depend on the seed and its index alone."""
        coins = None
        if self.bound == "clopper-pearson":
            coins = Randomness(self.seed)
            coins.begin(2 * index + 1)
        return Tally(classes, self.samples, 1.0 - self.confidence, self.bound, coins)


@dataclass(frozen=True)
class Smoothed:
    """What was found at one point, by class: `mean` estimates H_k, `upper` bounds it; both in [0, 1].

    `undefined`: of how many noisy inputs a network's answer was not finite. There the difference counts as 1.
    """

    mean: list[float]
    upper: list[float]
    undefined: int

    @property
    def worst(self) -> int:
        """The class whose bound is largest."""
        return max(range(len(self.upper)), key=self.upper.__getitem__)


def smoothed_difference(
    teacher: nn.Module, student: nn.Module, point: Float[Tensor, "*shape"], noise: Noise, index: int = 0
) -> Smoothed:
    """Draw `noise.samples` noisy copies of one input (*shape) and bound H_k there for every class k.

    Both networks see the same noisy inputs, in the point's precision and on its device, and in their present mode
    (which should be eval). The noise is drawn on the CPU and depends on the seed and `index` alone.

    Raises:
        InputError: the networks' logits differ in shape.
    """
    rows = max(1, min(ROWS, AT_ONCE // max(1, point.numel())))
    random = Randomness(noise.seed)
    random.begin(2 * index)
    tally: Tally | None = None
    undefined = 0
    with torch.no_grad():
        for start in range(0, noise.samples, rows):
            inputs = point.expand(min(rows, noise.samples - start), *point.shape)
            noisy = inputs + noise.sigma * random.normal(inputs)
            ours, theirs = (logits_of(model(noisy)).double().softmax(1) for model in (teacher, student))
            if ours.shape != theirs.shape:
                raise InputError(
                    f"teacher and student must have the same classes, found logits of shape "
                    f"{tuple(ours.shape)} and {tuple(theirs.shape)}"
                )
            gap = (ours - theirs).abs()
            known = gap.isfinite().all(1, keepdim=True)
            undefined += int((~known).sum())
            tally = tally or noise.tally(gap.shape[1], index)
            tally.add(torch.where(known, gap, 1.0).clamp_max(1.0))
    assert tally is not None
    return Smoothed(tally.mean.tolist(), tally.upper().tolist(), undefined)


def at_distance(bound: float, ratio: float) -> float:
    """Phi(Phi^-1(bound) + ratio), rounded up: the bound at a distance of `ratio` = rho / sigma, in [0, 1].

    A bound of 0 stays 0 and one of 1 stays 1 at any distance; NaN counts as 1.

    Raises:
        InputError: a ratio that is negative or not finite, a bound outside [0, 1].
    """
    check_number("rho / sigma", ratio, 0.0)
    if math.isnan(bound):
        return 1.0
    check_number("the bound", bound, 0.0, 1.0)
    from scipy.special import ndtr, ndtri

    moved = float(ndtr(ndtri(bound) + ratio)) * (1 + 1e-9)
    return min(1.0, max(bound, moved))


def euclidean_radius(eps: float, norm: Norm, values: int) -> float:
    """The l_2 radius of a ball that holds the ball of radius eps: eps itself, or eps sqrt(values) for l_inf."""
    return eps if norm == "l2" else eps * math.sqrt(values) * (1 + 1e-15)
