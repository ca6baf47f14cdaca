"""Knowledge points: what a network uses of an image, when it learned to, and how much it learned in vain.

Cheng, Rao, Chen and Zhang, arXiv 2003.03622, from maps H (N, G, G) of `information_map` at one checkpoint or several.
A cell of an image is a knowledge point where the network discards less of it than of the background,
Hbar - H_i > b, Hbar being the mean of H over an image's background cells, averaged over all images of the checkpoint.
Counts depend on b and on the mean entropy of the maps: report several b, and compare networks at one mean only.
Definitions follow the released code, which the paper's tables were made with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.moments import Estimate, Moments


@dataclass(frozen=True)
class PointCounts:
    """Means over images: points in the foreground and in the background, each in 0..G^2, and the foreground's share.

    share: mean of N_fg / (N_fg + N_bg), in [0, 1], over the images that have a point; None if none has. Knowledge that
        is no better than chance has the share of cells that the foreground has.
    """

    foreground: Estimate
    background: Estimate
    share: Estimate | None


@dataclass(frozen=True)
class Learning:
    """When the foreground's points were most, as the length of the weights' path until then; each length >= 0.

    mean: over images (D_mean); smaller is faster. variance: over images, N below (D_var); smaller is more at once.
    peaks: each image's checkpoint, the first where it had most.
    Path lengths depend on learning rate and optimiser: compare trainings that share them.
    """

    mean: float
    variance: float
    peaks: tuple[int, ...]


def foreground_cells(mask: Bool[Tensor, "n h w"], grid: int) -> Bool[Tensor, "n g g"]:
    """Pixel masks (N, H, W) as cells (N, G, G): a cell is foreground where half of its pixels are, or more.

    Pixel i of H lies in cell floor(i G / H), as in the maps. InputError for a grid finer than the pixels.
    """
    if mask.ndim != 3 or not 1 <= grid <= min(mask.shape[1:]):
        raise InputError(
            f"a mask (N, H, W) and 1 to min(H, W) cells are needed, found {tuple(mask.shape)}, {grid}"
        )
    rows, columns = (
        torch.nn.functional.one_hot(torch.arange(size, device=mask.device) * grid // size, grid).double()
        for size in mask.shape[1:]
    )
    inside = torch.einsum("nhw,hi,wj->nij", mask.double(), rows, columns)
    return 2.0 * inside >= torch.outer(rows.sum(0), columns.sum(0))


def knowledge_points(
    maps: Float[Tensor, "n g g"], foreground: Bool[Tensor, "n g g"], threshold: float = 0.2
) -> Bool[Tensor, "n g g"]:
    """Hbar - H > b of one checkpoint's maps; b = `threshold`, in nats.

    One image's points depend on the other images, through Hbar. An image that is all foreground has no part in it.

    Raises:
        InputError: maps that are not finite, a foreground of another shape, or no background in any image.
    """
    _check_cells(maps, foreground)
    if not torch.isfinite(maps).all():
        raise InputError("maps must be finite")
    behind = ~foreground
    sizes = behind.sum((1, 2))
    if not sizes.any():
        raise InputError("knowledge points are told from the background, and no image has any")
    has = sizes > 0
    means = torch.where(behind, maps.double(), 0.0).sum((1, 2))[has] / sizes[has]
    return means.mean() - maps.double() > threshold


def count_points(points: Bool[Tensor, "n g g"], foreground: Bool[Tensor, "n g g"]) -> PointCounts:
    """Points (N, G, G) in the foreground and in the background, with standard errors over images; N >= 1."""
    _check_cells(points, foreground)
    inside, outside = ((points & where).sum((1, 2)).double() for where in (foreground, ~foreground))
    some = (inside + outside) > 0
    share = _mean(inside[some] / (inside + outside)[some]) if some.any() else None
    return PointCounts(_mean(inside), _mean(outside), share)


def learning(
    points: Bool[Tensor, "k n g g"], foreground: Bool[Tensor, "n g g"], path: Float[Tensor, " k"]
) -> Learning:
    """Speed and simultaneity from the points of K checkpoints (K, N, G, G) and the path's lengths (K,) until them.

    Raises:
        InputError: shapes that do not fit, or lengths that are below 0 or fall.
    """
    _check_checkpoints(points, foreground)
    if path.shape != points.shape[:1]:
        raise InputError(f"{len(points)} checkpoints need as many path lengths, found {tuple(path.shape)}")
    if not torch.isfinite(path).all() or float(path[0]) < 0 or (path.diff() < 0).any():
        raise InputError(f"a path's lengths must be finite, 0 or more and never fall, found {path.tolist()}")
    peaks = (points & foreground).sum((2, 3)).argmax(0)  # the first of equal ones
    at = path.double()[peaks.to(path.device)]
    return Learning(float(at.mean()), float(at.var(correction=0)), tuple(peaks.tolist()))


def stability(points: Bool[Tensor, "k n g g"], where: Bool[Tensor, "n g g"] | None = None) -> Estimate | None:
    """Mean over images of rho = |points at the last checkpoint| / |points at any|, in [0, 1]; larger: fewer detours.

    Only cells in `where` count, if it is given (foreground, or background). Images without a point at any checkpoint
    have no rho and are left out; None if all are. InputError for shapes that do not fit.
    """
    _check_checkpoints(points, points[0] if where is None and len(points) else where)
    kept = points if where is None else points & where
    ever, last = kept.any(0).sum((1, 2)).double(), kept[-1].sum((1, 2)).double()
    some = ever > 0
    return _mean(last[some] / ever[some]) if some.any() else None


class PathLength:
    """How far a layer's weights have gone: W_k = sum over j <= k of ||w_j - w_(j-1)|| / ||w_0||, W_0 = 0.

    A path through more checkpoints is longer: compare trainings with checkpoints at the same steps.
    """

    def __init__(self) -> None:
        self.length = 0.0
        self._first = 0.0
        self._last: Tensor | None = None

    def update(self, weights: Float[Tensor, "*shape"]) -> float:
        """The length until this checkpoint, of weights of any one shape; the first call is w_0, and returns 0.

        Raises:
            InputError: weights that are not finite or of another shape than before, or a w_0 of length 0.
        """
        now = weights.detach().double().clone()
        if not torch.isfinite(now).all():
            raise InputError("weights must be finite")
        if self._last is None:
            self._first = float(now.norm())
            if self._first == 0.0:
                raise InputError("a path is measured by the length of the first weights, which are all 0")
        elif now.shape != self._last.shape:
            raise InputError(f"weights had the shape {tuple(self._last.shape)}, found {tuple(now.shape)}")
        else:
            self.length += float((now - self._last).norm()) / self._first
        self._last = now
        return self.length


def _mean(values: Tensor) -> Estimate:
    seen = Moments()
    seen.add(values)
    return seen.estimate()


def _check_cells(cells: Tensor, foreground: Tensor) -> None:
    if cells.ndim != 3 or cells.shape != foreground.shape or cells.numel() == 0:
        raise InputError(
            "cells and foreground must have one shape (N, G, G), nothing empty, "
            f"found {tuple(cells.shape)} and {tuple(foreground.shape)}"
        )


def _check_checkpoints(points: Tensor, where: Tensor | None) -> None:
    if points.ndim != 4 or where is None or points.shape[1:] != where.shape or points.numel() == 0:
        raise InputError(
            "points of checkpoints must be (K, N, G, G) and cells (N, G, G), nothing empty, "
            f"found {tuple(points.shape)} and {None if where is None else tuple(where.shape)}"
        )
