"""Diffusion: the cosine schedule, denoisers in closed form, a small network that is told the time, and DDIM.

A point at time t in [0, 1] is x_t = a_t x_0 + s_t noise with a_t = cos(pi t / 2), s_t = sin(pi t / 2). A denoiser takes
points and times packed by `data.noise.pack`, (B, C + 1, ...), and says the clean point x_0 that it expects, as
(B, D), D numbers in all. A model that predicts the noise must be turned into one that predicts the point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.noise import pack, unpack
from understudy.errors import InputError
from understudy.numbers import check_number

Denoiser = Callable[[Tensor], Tensor]


def rates(time: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """(a_t, s_t): how much of the point and how much of the noise there is at a time in [0, 1]."""
    return (time * (math.pi / 2)).cos(), (time * (math.pi / 2)).sin()


def noised(
    signal: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], time: Float[Tensor, " b"]
) -> Float[Tensor, "b ..."]:
    """a_t signal + s_t noise: (B, ...)."""
    a, s = (rate.reshape(-1, *[1] * (noise.dim() - 1)) for rate in rates(time))
    return a * signal + s * noise


def kept_share(time: Float[Tensor, " b"], earlier: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """w = (a_t s_s) / (s_t a_s) for s <= t: what a DDIM step from t to s keeps of the signal, in [0, 1]."""
    (a_t, s_t), (a_s, s_s) = rates(time), rates(earlier)
    return (a_t * s_s) / (s_t * a_s)


def ddim(
    denoiser: Denoiser, noise: Float[Tensor, "b c *d"], steps: int, start: float = 1.0
) -> Float[Tensor, "b n"]:
    """What DDIM in `steps` equal steps from time `start` to 0 makes of the noise (B, C, ...): (B, D).

    The signal begins as what the denoiser says of the noise itself; each step is
    y_s = w y_t + (1 - w) denoiser(a_t y_t + s_t noise, t). One step from 1 is the denoiser's answer to the noise.

    Raises:
        InputError: no step, or a start that is not in (0, 1].
    """
    if steps < 1:
        raise InputError(f"steps must be 1 or more, found {steps}")
    check_number("start", start, 0.0, 1.0, above=True)
    times = torch.linspace(start, 0.0, steps + 1, dtype=torch.float64).to(noise)
    signal = denoiser(pack(noise, times[:1].expand(len(noise))))
    for one, other in pairwise(times):
        t, s = one.expand(len(noise)), other.expand(len(noise))
        said = denoiser(pack(noised(signal.view_as(noise), noise, t), t))
        w = kept_share(t, s)[:, None]
        signal = w * signal + (1 - w) * said
    return signal


class MixtureDenoiser(nn.Module):
    """The denoiser of a mixture of round Gaussians, exact: (B, D + 1) -> E[x_0 | x_t], (B, D). No weights to train.

    With one component N(m, v I) it is m + v a_t / (a_t^2 v + s_t^2) (x - a_t m).

    Args:
        means: (K, D), one a component.
        variances: K numbers above 0, of every coordinate.
        shares: K numbers above 0, how often each occurs; they are divided by their sum. None: equally often.

    Raises:
        InputError: shapes that do not go together, or a number that is not above 0.
    """

    means: Tensor
    variances: Tensor
    shares: Tensor

    def __init__(
        self,
        means: Sequence[Sequence[float]],
        variances: Sequence[float],
        shares: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(means, dtype=torch.float32))
        self.register_buffer("variances", torch.tensor(variances, dtype=torch.float32))
        weights = torch.tensor([1.0] * len(means) if shares is None else shares, dtype=torch.float32)
        if self.means.dim() != 2 or not len(self.means) == len(self.variances) == len(weights):
            raise InputError(
                f"a mixture needs means (K, D), K variances and K shares, found {tuple(self.means.shape)}, "
                f"{tuple(self.variances.shape)} and {tuple(weights.shape)}"
            )
        if not bool((self.variances > 0).all() and (weights > 0).all()):
            raise InputError(
                f"variances and shares must be above 0, found {list(variances)} and {weights.tolist()}"
            )
        self.register_buffer("shares", weights / weights.sum())

    def forward(self, packed: Tensor) -> Tensor:
        """(B, D + 1) -> (B, D)."""
        point, time = unpack(packed)
        a, s = (rate[:, None] for rate in rates(time))
        spread = a.square() * self.variances + s.square()  # (B, K), of x_t in each component
        apart = point[:, None] - a[..., None] * self.means  # (B, K, D)
        near = self.shares.log() - 0.5 * (apart.square().sum(2) / spread + self.means.shape[1] * spread.log())
        each = self.means + (self.variances * a / spread)[..., None] * apart
        return (near.softmax(1)[..., None] * each).sum(1)


def gaussian_signal(
    noise: Float[Tensor, "b d"], time: Float[Tensor, " b"], mean: Float[Tensor, " d"], variance: float
) -> Float[Tensor, "b d"]:
    """y_t for data N(m, v I) in closed form, where the noise itself is x_1: m + a_t v / (r + s_t) noise, (B, D).

    r is the root of a_t^2 v + s_t^2; the same as m + (r - s_t) / a_t noise, without its cancellation near t = 1.
    """
    a, s = rates(time)
    return mean + (a * variance / ((a.square() * variance + s.square()).sqrt() + s))[:, None] * noise


class Guided(nn.Module):
    """Classifier-free guidance: plain(x) + omega (conditional(x) - plain(x)); omega = 1 is the conditional one."""

    def __init__(self, conditional: nn.Module, plain: nn.Module, omega: float) -> None:
        super().__init__()
        check_number("omega", omega, 0.0)
        self.conditional, self.plain, self.omega = conditional, plain, omega

    def forward(self, packed: Tensor) -> Tensor:
        """(B, C + 1, ...) -> (B, D)."""
        plain = self.plain(packed)
        return plain + self.omega * (self.conditional(packed) - plain)


class TimedMLP(nn.Module):
    """A small network that is told the time: (B, C + 1, ...) -> (B, D), D the numbers of a point.

    The point is flattened; the time enters as itself and as sines and cosines of pi t, 2 pi t, 4 pi t, 8 pi t.

    Args:
        size: D.
        widths: of the hidden layers, with SiLU.

    Raises:
        InputError: a size or a width below 1.
    """

    waves: Tensor

    def __init__(self, size: int, widths: Sequence[int] = (128, 128, 128)) -> None:
        super().__init__()
        if min(size, *widths, 1) < 1:
            raise InputError(f"size and widths must be 1 or more, found {size} and {tuple(widths)}")
        self.register_buffer("waves", math.pi * 2.0 ** torch.arange(4), persistent=False)
        layers: list[nn.Module] = []
        inputs = size + 9
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.SiLU()]
            inputs = width
        self.body = nn.Sequential(*layers, nn.Linear(inputs, size))

    def forward(self, packed: Tensor) -> Tensor:
        """(B, C + 1, ...) -> (B, D)."""
        point, time = unpack(packed)
        turns = time[:, None] * self.waves
        return self.body(torch.cat([point.flatten(1), time[:, None], turns.sin(), turns.cos()], 1))
