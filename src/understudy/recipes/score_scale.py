"""A black box's score against the outcome it predicts: the rate at each score, and a monotone smooth map to logits.

    p_v = mean(O | S = v);   g = argmin_theta  - sum_v n_v [p_v theta_v - log(1 + e^theta_v)] + lambda/2 |D theta|^2

with D second divided differences over the scores, and lambda the least (doubled from a small one) at which theta does
not decrease. Where a straight line in v is not refuted, it is that line (lambda = infinity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from understudy.errors import InputError

EPS = 1e-4  # how far a rate of 0 or 1 is pushed inwards
BINS = 40  # scores that take more values than this are put into so many bins of equal size
STRAIGHT = 0.05  # a line is kept unless a test at this level refutes it

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class ScoreScale:
    """What a score says, in logits of the outcome.

    Attributes:
        values: (V,) scores, increasing; counts, rates: (V,) rows there and the share whose outcome is 1.
        logits: (V,) g at these scores, never decreasing; between them g is straight, beyond them constant.
        straight: whether g is a line.
    """

    values: Array
    counts: Array
    rates: Array
    logits: Array
    straight: bool

    def __call__(self, scores: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """g of every score."""
        found = np.interp(scores.double().numpy(), self.values, self.logits)
        return torch.from_numpy(found)

    def to_json(self) -> dict[str, Any]:
        """Lists of numbers."""
        lists = {name: getattr(self, name).tolist() for name in ("values", "counts", "rates", "logits")}
        return {**lists, "straight": self.straight}


def rates_by_score(scores: Float[Tensor, " n"], outcome: Float[Tensor, " n"]) -> tuple[Array, Array, Array]:
    """(V,) distinct scores (or means of equally large bins of them), rows at each, share with outcome 1."""
    score, hit = scores.double().numpy(), outcome.double().numpy()
    values, place = np.unique(score, return_inverse=True)
    if len(values) > BINS:
        ends = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)[1:-1]))
        _, place = np.unique(np.searchsorted(ends, score), return_inverse=True)
    counts = np.bincount(place)
    return np.bincount(place, score) / counts, counts, np.bincount(place, hit) / counts


def pushed(rates: Float64[np.ndarray, " v"], eps: float = EPS) -> Float64[np.ndarray, " v"]:
    """Rates with a finite logit, as the released code pushes them.

    Zeros and ones: 0 becomes eps, 1 becomes 1 - eps. Zeros only: eps is added to all; ones only: taken from all. In
    these two cases no rate is a calibrated probability any longer: for fitting and drawing only.
    """
    zeros, ones = bool((rates == 0).any()), bool((rates == 1).any())
    if zeros and ones:
        return np.where(rates == 0, eps, np.where(rates == 1, 1 - eps, rates))
    return rates + eps if zeros else rates - eps if ones else rates


def score_scale(scores: Float[Tensor, " n"], outcome: Float[Tensor, " n"]) -> ScoreScale:
    """g, fitted to the rates.

    Raises:
        InputError: one score only, or one that does not rise with the outcome.
    """
    values, counts, rates = rates_by_score(scores, outcome)
    if len(values) < 2:
        raise InputError(f"a score that takes one value says nothing: it is {values[0]:g} everywhere")
    known = pushed(rates)
    line = np.stack([np.ones(len(values)), (values - values.mean()) / values.std()], 1)
    straight = line @ _newton(line, counts, known, np.zeros((2, 2)))
    if not straight[-1] > straight[0]:
        raise InputError("the score falls where the outcome is more frequent: give it with the other sign")
    if _refuted(straight, counts, known) is False:
        return ScoreScale(values, counts, rates, straight, True)
    bend = _second_differences((values - values[0]) / (values[-1] - values[0]))
    weight = 1e-6
    while weight < 1e12:
        found = _newton(np.eye(len(values)), counts, known, weight * bend.T @ bend)
        if (np.diff(found) >= -1e-9).all():
            return ScoreScale(values, counts, rates, np.maximum.accumulate(found), False)
        weight *= 2
    return ScoreScale(values, counts, rates, straight, True)


def _newton(basis: Array, counts: Array, rates: Array, penalty: Array) -> Array:
    """Weights of a penalised binomial fit; halved steps, so that the loss never rises."""
    from scipy.special import expit

    weights = np.zeros(basis.shape[1])

    def loss(at: Array) -> float:
        logit = basis @ at
        fit = counts * (np.logaddexp(0.0, logit) - rates * logit)
        return float(fit.sum() + at @ penalty @ at / 2)

    for _ in range(200):
        share = expit(basis @ weights)
        slope = basis.T @ (counts * (share - rates)) + penalty @ weights
        curve = (basis * (counts * share * (1 - share))[:, None]).T @ basis + penalty
        step = np.linalg.solve(curve + 1e-9 * np.eye(len(curve)), slope)
        before = loss(weights)
        while loss(weights - step) > before and np.abs(step).max() > 1e-12:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    return weights


def _refuted(logits: Array, counts: Array, rates: Array) -> bool:
    """Whether the deviance from the rates themselves is too large for a line."""
    from scipy.stats import chi2

    if len(rates) == 2:
        return False
    log_share, log_rest = -np.logaddexp(0.0, -logits), -np.logaddexp(0.0, logits)
    off = rates * (np.log(rates) - log_share) + (1 - rates) * (np.log1p(-rates) - log_rest)
    deviance = 2 * float((counts * off).sum())
    return bool(chi2.sf(deviance, len(rates) - 2) < STRAIGHT)


def _second_differences(places: Array) -> Array:
    """(V - 2, V): second divided differences of a function known at `places`."""
    rows = np.zeros((len(places) - 2, len(places)))
    for i in range(len(places) - 2):
        near, far = places[i + 1] - places[i], places[i + 2] - places[i + 1]
        rows[i, i : i + 3] = 2 / near / (near + far), -2 / near / far, 2 / far / (near + far)
    return rows
