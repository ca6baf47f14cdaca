"""Mutual information between continuous features of two models, (N, D_x) and (N, D_y), in nats: bins, and neighbours.

Two estimators with opposite faults; the third, a bound by a trained critic, is in `information_bound`. For Gaussians
with D pairs of coordinates of correlation rho the truth is -D/2 ln(1 - rho^2).

`binned`: every feature becomes a code, and the codes' table is counted. Codes tell no more than what they code, so
    their information is below that of the features, the more so the fewer the bins; the plug-in's bias goes the other
    way, up with the square of the bins' number over N. See `information`.
`ksg`: estimator 1 of Kraskov, Stoegbauer and Grassberger (2004), from distances to the k nearest neighbours. Nearly
    unbiased for independent features and for moderate information in few dimensions; below the truth where it is
    large (it cannot see more than psi(N) - psi(k), and in D dimensions needs N to grow exponentially with it).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.information import Information, JointCounts
from understudy.numbers import check_number


def binned(
    first: Float[Tensor, "n dx"], second: Float[Tensor, "n dy"], bins: int = 12, seed: int = 0
) -> Information:
    """Mutual information of the codes of both features, (N, D_x) and (N, D_y), in [0, ln bins] nats before correction.

    Features of one dimension are cut into `bins` of equally many examples (equal values stay together); of several,
    into the cells of `bins` centres (k-means, seeded), each coordinate scaled to deviation 1.

    Raises:
        InputError: fewer than 2 bins or more than examples, features that are not finite or of different N.
    """
    if not 2 <= bins <= len(first):
        raise InputError(f"bins must number 2 to {len(first)}, the examples, found {bins}")
    x, y = as_features(first, second)
    counts = JointCounts(bins, bins)
    counts.update(_codes(x, bins, seed), _codes(y, bins, seed))
    return counts.result()


def ksg(
    first: Float[Tensor, "n dx"], second: Float[Tensor, "n dy"], k: int = 3, jitter: float = 0.0
) -> float:
    """psi(k) + psi(N) - mean(psi(n_x + 1) + psi(n_y + 1)), at most psi(N) - psi(k) nats; may lie below 0.

    n_x is the number of other examples nearer in x, strictly, than the k-th neighbour is in (x, y), all by the maximum
    norm with each coordinate scaled to deviation 1. The information does not change with the scale; the estimate does,
    a little. Larger k: less variance, more bias. Needs features with a density: where more than k examples coincide,
    as behind a ReLU, there is no neighbourhood. `jitter`, in standard deviations, adds that much seeded Gaussian noise,
    and then it is the noisy features' information that is estimated, which is less than that of the features.

    Raises:
        InputError: k not in 1..N-1, a jitter below 0, features that are not finite, of different N, or coinciding.
    """
    if not 1 <= k < len(first):
        raise InputError(f"neighbours must number 1 to {len(first) - 1}, the other examples, found {k}")
    check_number("jitter", jitter, 0.0)
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    noise = np.random.default_rng(0)
    x, y = (z + jitter * noise.standard_normal(z.shape) for z in as_features(first, second))
    joint = np.concatenate([x, y], 1)
    radius = cKDTree(joint).query(joint, k=[k + 1], p=math.inf)[0][:, 0]
    if (stuck := np.flatnonzero(radius == 0)).size:
        raise InputError(
            f"{stuck.size} examples (number {stuck[0]} is one) coincide with {k} others or more, where neighbours say "
            "nothing: give a jitter such as 1e-6, or use `binned`"
        )
    inside = np.nextafter(radius, 0.0)
    near = [cKDTree(z).query_ball_point(z, inside, p=math.inf, return_length=True) for z in (x, y)]
    # a point is in its own neighbourhood: `near` is n_x + 1
    return float(digamma(k) + digamma(len(x)) - np.mean(digamma(near[0]) + digamma(near[1])))


def gaussian_information(correlation: float, dimensions: int = 1) -> float:
    """-D/2 ln(1 - rho^2) nats: the truth for Gaussians with D independent pairs of correlation rho in (-1, 1)."""
    if not -1.0 < correlation < 1.0 or dimensions < 1:
        raise InputError(
            f"a correlation must lie between -1 and 1 and dimensions number 1 or more, "
            f"found {correlation} and {dimensions}"
        )
    return abs(0.5 * dimensions * math.log1p(-correlation * correlation))


def as_features(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, each coordinate of deviation 1; a constant coordinate, which tells nothing, becomes 0."""
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or 0 in (*first.shape, *second.shape):
        raise InputError(
            "features must be (N, D_x) and (N, D_y), nothing empty, "
            f"found {tuple(first.shape)} and {tuple(second.shape)}"
        )
    scaled = []
    for features, which in ((first, "first"), (second, "second")):
        values = features.detach().double().cpu().numpy()
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
            raise InputError(f"the {which} features must be finite; row {row} is not")
        constant = np.ptp(values, axis=0) == 0.0
        centred = values - values.mean(0)
        scaled.append(np.where(constant, 0.0, centred / np.where(constant, 1.0, centred.std(0))))
    return scaled[0], scaled[1]


def _codes(values: np.ndarray, bins: int, seed: int) -> Int[Tensor, " n"]:
    if values.shape[1] == 1:
        column = values[:, 0]
        inner = np.quantile(column, np.arange(1, bins) / bins)
        return torch.from_numpy(np.searchsorted(inner, column, side="left"))
    from sklearn.cluster import KMeans

    cells = min(bins, len(np.unique(values, axis=0)))
    labels = KMeans(cells, n_init=1, random_state=seed).fit_predict(values)
    return torch.from_numpy(labels.astype(np.int64))
