"""Linear CKA: how alike two layers' features are, whatever their widths, axes and scale.

Kornblith et al., arXiv 1905.00414 (the exact form); Nguyen, Raghu and Kornblith, arXiv 2010.15327 (unbiased, for
batches); Song et al., JMLR 2012 (the unbiased HSIC). Computed in float64.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError

FEWEST = 4  # examples that the unbiased HSIC needs: it divides by n - 3
_NOTHING = 1e-10  # a Gram matrix this small beside what it was made from is rounding


def cka(x: Float[Tensor, "n ..."], y: Float[Tensor, "n ..."]) -> float:
    """||Yc' Xc||^2 / (||Xc' Xc|| ||Yc' Yc||), of features flattened to (n, d) and centred: in [0, 1], 1 for alike.

    Unchanged by orthogonal transforms, shifts and one scale for all axes. Biased upwards (HSIC_0): features that have
    nothing to do with each other get about `cka_by_chance`, near 1 where they have more axes than there are examples.

    Raises:
        InputError: fewer than two examples, as many in `y` as in `x` missing, a number that is not finite, or
            features that are the same for all examples.
    """
    a, b = _pair(x, y, 2)
    return float(_inner(a, b) / (_inner(a, a) * _inner(b, b)).sqrt())


def cka_by_chance(x: Float[Tensor, "n ..."], y: Float[Tensor, "n ..."]) -> float:
    """Mean of `cka` over all ways of pairing the examples wrongly or rightly: what its bias alone gives, in (0, 1].

    tr K tr L / ((n - 1) ||K|| ||L||), with K = Xc Xc' and L = Yc Yc'. The unbiased form has 0 here.

    Raises:
        InputError: as `cka`.
    """
    a, b = _pair(x, y, 2)
    scale = (_inner(a, a) * _inner(b, b)).sqrt()
    return float(a.square().sum() * b.square().sum() / ((len(a) - 1) * scale))


def unbiased_cka(x: Float[Tensor, "n ..."], y: Float[Tensor, "n ..."]) -> float:
    """HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)), K = X X', L = Y Y': in [-1, 1], 1 for alike, 0 by chance.

    Each HSIC_1 is unbiased; their ratio has a bias that falls as 1/n. As invariant as `cka`.

    Raises:
        InputError: as `cka`, but fewer than four examples; or features whose examples are all equally far apart.
    """
    k, m = _comparable_grams(*_pair(x, y, FEWEST))
    return float((k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt())


def hsic_1(x: Float[Tensor, "n ..."], y: Float[Tensor, "n ..."]) -> float:
    """The unbiased HSIC of Song et al. with linear kernels: 0 in the mean for independent features, any sign else.

    [tr(K L) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'K L1] / (n(n-3)), K and L without their diagonals.

    Raises:
        InputError: as `unbiased_cka`, but features that do not vary give 0.
    """
    a, b = (centred_gram(part) for part in (features_of(x, "x"), features_of(y, "y")))
    if len(a) != len(b):
        raise InputError(f"features must be of the same examples, found {len(a)} and {len(b)}")
    return float((a * b).sum() / (len(a) * (len(a) - 3)))


def permuted_cka(
    x: Float[Tensor, "n ..."],
    y: Float[Tensor, "n ..."],
    draws: int = 100,
    seed: int = 0,
    *,
    unbiased: bool = True,
) -> Float[Tensor, " draws"]:
    """What CKA says of the same features with the examples of `y` in `draws` random orders: a baseline.

    A CKA is more than chance where few of these reach it: p = (1 + how many do) / (1 + draws).

    Raises:
        InputError: as the CKA asked for, or no draw.
    """
    if draws < 1:
        raise InputError(f"a baseline needs one draw at least, found {draws}")
    random = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(y), generator=random).to(y.device) for _ in range(draws)]
    a, b = _pair(x, y, FEWEST if unbiased else 2)
    if unbiased:
        k, m = _comparable_grams(a, b)
        found = [(k * m[order][:, order]).sum() for order in orders]
        scale = ((k * k).sum() * (m * m).sum()).sqrt()
    else:
        found = [_inner(a, b[order]) for order in orders]
        scale = (_inner(a, a) * _inner(b, b)).sqrt()
    return (torch.stack(found) / scale).cpu()


def features_of(x: Tensor, whose: str) -> Float[Tensor, "n d"]:
    """A layer's output, flattened to (n, d), centred over the examples, in float64.

    Raises:
        InputError: no axis besides the examples', no number, or one that is not finite.
    """
    if x.dim() < 2 or x.numel() == 0 or not x.is_floating_point():
        raise InputError(f"features of {whose} must be floats (n, ...), found {x.dtype} {tuple(x.shape)}")
    flat = x.detach().flatten(1).double()
    if not flat.isfinite().all():
        raise InputError(f"features of {whose} must be finite, and there is one that is not")
    centred = flat - flat.mean(0)
    # one number computed in two rows of a batch may differ in its last digit, in the precision of the layer
    least = max(_NOTHING, 2 * torch.finfo(x.dtype).eps)
    return torch.zeros_like(flat) if centred.norm() <= least * flat.norm() else centred


def centred_gram(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """X X' without its diagonal, its rows made to sum to 0 so that <K, L> / (n(n-3)) of two is HSIC_1.

    The U-centring of Székely and Rizzo (Annals of Statistics 2014). All 0 where it is nothing but rounding.

    Raises:
        InputError: fewer than four examples.
    """
    n = len(x)
    if n < FEWEST:
        raise InputError(f"the unbiased HSIC needs {FEWEST} examples at least, found {n}")
    gram = x @ x.T
    size = gram.norm()
    gram.fill_diagonal_(0)
    rows = gram.sum(1) / (n - 2)
    gram = gram - rows[:, None] - rows[None, :] + rows.sum() / (n - 1)
    gram.fill_diagonal_(0)
    return torch.zeros_like(gram) if gram.norm() <= _NOTHING * size else gram


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """<X X', Y Y'> = ||X' Y||^2, by whichever of the two is smaller."""
    if x.shape[1] * y.shape[1] <= len(x) ** 2:
        return (x.T @ y).square().sum()
    return ((x @ x.T) * (y @ y.T)).sum()


def _comparable_grams(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    k, m = centred_gram(a), centred_gram(b)
    if not (k.any() and m.any()):
        raise InputError("unbiased CKA is undefined for features whose examples are all equally far apart")
    return k, m


def _pair(x: Tensor, y: Tensor, fewest: int) -> tuple[Tensor, Tensor]:
    if len(x) != len(y):
        raise InputError(f"features must be of the same examples, found {len(x)} and {len(y)}")
    if len(x) < fewest:
        raise InputError(f"this form of CKA needs {fewest} examples at least, found {len(x)}")
    a, b = features_of(x, "x"), features_of(y, "y")
    for part, whose in ((a, "x"), (b, "y")):
        if not part.any():
            raise InputError(f"CKA is undefined: the features {whose} are the same for all {len(x)} examples")
    return a, b
