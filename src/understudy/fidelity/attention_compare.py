"""How far two or more models look at the same places: overlap, rank correlation and divergence of their maps.

The overlap at a threshold is that of Guo et al., arXiv 2405.00739; `overlap_in_batches` counts as their code does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError

THRESHOLD = 0.4  # of the paper's code


def rescaled(maps: Float[Tensor, "b h w"], size: tuple[int, int] | None = None) -> Float[Tensor, "b v u"]:
    """(m - min) / (max - min) of each map, in [0, 1], enlarged before by bilinear interpolation if a size is given.

    Unchanged by positive scales and shifts of a map. One that is the same everywhere becomes 0. (The paper's code adds
    1e-8 to the range, which makes maps of tiny values darker; here no map depends on its unit.)

    Raises:
        InputError: no map, no place, or a number that is not finite.
    """
    if maps.numel() == 0 or not maps.is_floating_point():
        raise InputError(f"maps must be floats (B, h, w), found {maps.dtype} {tuple(maps.shape)}")
    if not maps.isfinite().all():
        raise InputError("maps must be finite, and there is a value that is not")
    wide = maps.detach().double()
    if size is not None and size != tuple(maps.shape[1:]):
        wide = F.interpolate(wide[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    low, high = wide.amin((1, 2), keepdim=True), wide.amax((1, 2), keepdim=True)
    noise = 4 * torch.finfo(maps.dtype).eps * torch.maximum(low.abs(), high.abs())
    flat = high - low <= noise
    return torch.where(flat, 0.0, (wide - low) / torch.where(flat, 1.0, high - low))


def overlap(maps: Sequence[Float[Tensor, "b h w"]], threshold: float = THRESHOLD) -> Float[Tensor, " b"]:
    """Places where all maps exceed the threshold, beside those where one does: in [0, 1], per example.

    Two maps or more, rescaled to [0, 1] first. Symmetric, 1 for maps that are alike and for maps that nowhere exceed
    the threshold. Depends on the threshold, and on the size that the maps were enlarged to.

    Raises:
        InputError: fewer than two maps, sizes that differ, or a threshold outside [0, 1).
    """
    shared, covered = _counts(maps, threshold)
    return torch.where(covered == 0, 1.0, shared / covered.clamp(min=1))


def overlap_in_batches(
    maps: Sequence[Float[Tensor, "b h w"]], threshold: float = THRESHOLD, batch: int = 128
) -> float:
    """As the paper's code: shared / covered places of a batch, as one fraction, averaged over batches by their size.

    Examples with large maps count for more, so that it is not the mean of `overlap`. Nothing covered counts as 1.

    Raises:
        InputError: as `overlap`, or a batch below 1.
    """
    if batch < 1:
        raise InputError(f"a batch must have 1 example at least, found {batch}")
    shared, covered = _counts(maps, threshold)
    total = 0.0
    for inside, either in zip(shared.split(batch), covered.split(batch), strict=True):
        total += len(inside) * (float(inside.sum() / either.sum()) if either.any() else 1.0)
    return total / len(shared)


def rank_correlation(one: Float[Tensor, "b h w"], other: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Spearman's coefficient of each example's two maps, in [-1, 1]; ties share their mean rank.

    Unchanged by any increasing function of either map. NaN where a map is the same everywhere. Values that
    interpolation made count as places of their own: compare maps at the size they were made at where they agree.

    Raises:
        InputError: sizes that differ, or a number that is not finite.
    """
    _check_alike([one, other])
    a, b = (_centred_ranks(rescaled(maps).flatten(1)) for maps in (one, other))
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def map_divergence(
    one: Float[Tensor, "b h w"], other: Float[Tensor, "b h w"], smoothing: float = 0.01
) -> Float[Tensor, " b"]:
    """KL(p || q) in nats, p and q the two maps as shares of attention: 0 for alike, at most ln(places / smoothing).

    Each map is rescaled to [0, 1], divided by its sum, and mixed with `smoothing` of the even distribution, without
    which a place that one model ignores would make the value infinite. Not symmetric: the reference comes first.

    Raises:
        InputError: sizes that differ, a number that is not finite, or a smoothing outside (0, 1).
    """
    if not 0 < smoothing < 1:
        raise InputError(f"the smoothing must lie between 0 and 1, found {smoothing}")
    _check_alike([one, other])
    p, q = (_shares(rescaled(maps).flatten(1), smoothing) for maps in (one, other))
    return (p * (p.log() - q.log())).sum(1).clamp(min=0.0)


def _shares(maps: Float[Tensor, "b n"], smoothing: float) -> Float[Tensor, "b n"]:
    total = maps.sum(1, keepdim=True)
    even = 1.0 / maps.shape[1]
    share = torch.where(total > 0, maps / torch.where(total > 0, total, 1.0), even)
    return (1 - smoothing) * share + smoothing * even


def _centred_ranks(values: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    values = values.contiguous()
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    reached = torch.searchsorted(ordered, values, right=True)
    return (below + reached).double() / 2 - values.shape[1] / 2


def _counts(maps: Sequence[Tensor], threshold: float) -> tuple[Tensor, Tensor]:
    """(places that all maps have, places that one has) of each example, above the threshold."""
    if not 0 <= threshold < 1:
        raise InputError(f"a threshold of maps in [0, 1] must lie in [0, 1), found {threshold}")
    _check_alike(maps)
    above = torch.stack([rescaled(part) > threshold for part in maps])
    return above.all(0).flatten(1).sum(1).double(), above.any(0).flatten(1).sum(1).double()


def _check_alike(maps: Sequence[Tensor]) -> None:
    if len(maps) < 2:
        raise InputError(f"a comparison needs two maps at least, found {len(maps)}")
    if len(shapes := {tuple(part.shape) for part in maps}) > 1:
        raise InputError(f"maps that are compared must have one shape, found {sorted(shapes)}: rescale them")
