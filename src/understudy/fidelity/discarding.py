"""Which pixels' information a network discards on its way to a layer: a map of entropies, in nats.

Cheng, Rao, Chen and Zhang, Explaining knowledge distillation by quantifying the knowledge, CVPR 2020, arXiv
2003.03622. Noise of deviation sigma_i is added to all pixels of cell i of a grid, x' = x + sigma * n. Sought is the
sigma that moves the feature f least at a given mean entropy H of the noise:

    minimise E ||f(x') - f(x)||^2 over sigma, mean_i H_i = target, H_i = ln sigma_i + ln(2 pi e) / 2

Where H_i is low the network uses the cell. Every network is given the same mean, so that maps compare. For a linear f
with columns a_i, sigma_i is proportional to 1 / ||a_i||.

Reconstructed: the paper weighs the entropy against the feature's movement, descends by SGD at 1e-4 for 80 steps,
re-weighs where the target is far, and keeps the step that came nearest to it. Here the target is a constraint that
every step satisfies (the weight is its multiplier), and Adam descends on ln sigma, whose steps have no scale of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.look import frozen
from understudy.models.taps import Tapped
from understudy.numbers import check_number

ENTROPY_OF_ONE = 0.5 * math.log(2.0 * math.pi * math.e)  # of a Gaussian of deviation 1, nats
_PROBE = 0.01  # a deviation, everywhere, by which the feature must move
_TINY = 1e-12  # of that movement: a feature behind a ReLU may not move at all


def information_map(
    model: nn.Module, layer: str, inputs: Float[Tensor, "n c h w"], *, rectified: bool = True, **how: object
) -> Float[Tensor, "n g g"]:
    """The entropies (N, G, G) discarded on the way to one layer; the model is asked in eval mode and left as it was.

    Args:
        layer: its name, wildcards allowed; its first tensor is the feature.
        inputs: images (N, C, H, W).
        rectified: the feature is ReLU of the layer's output, as in the paper.
        how: as `discarded_entropy` takes it.

    Raises:
        InputError: no such layer, and as `discarded_entropy`.
    """
    with frozen(model), Tapped(model, {"feature": layer}, inputs[:1]) as look:

        def feature(images: Tensor) -> Tensor:
            found = look(images)[1]["feature"]
            return found.relu() if rectified else found

        return discarded_entropy(feature, inputs, **how)  # type: ignore[arg-type]  # checked there


def discarded_entropy(
    feature: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "n c h w"],
    *,
    grid: int = 16,
    target: float = -2.8,
    steps: int = 80,
    samples: int = 96,
    low: float = 0.001,
    high: float = 1.0,
    rate: float = 0.1,
    seed: int = 0,
) -> Float[Tensor, "n g g"]:
    """H (N, G, G) of the noise that moves `feature` least, each image's of mean `target` nats, in float64.

    Args:
        feature: images (S, C, H, W) -> (S, ...), differentiable, each image on its own (eval mode).
        inputs: images (N, C, H, W), taken one by one.
        grid: G, cells a side, at most H and W.
        target: the mean entropy, between those of `low` and `high` everywhere.
        steps, rate: of Adam on ln sigma; the rate falls to 0 as a cosine.
        samples: S, draws of noise a step.
        low, high: bounds of sigma, in the inputs' units.
        seed: of the noise, the same for every image.

    Raises:
        InputError: inputs that are not finite images, a number out of range, or an image whose feature does not move
            with any pixel: nothing is used, and there is no map.
    """
    if inputs.ndim != 4 or len(inputs) == 0 or not torch.isfinite(inputs).all():
        raise InputError(f"a map needs finite images (N, C, H, W), found the shape {tuple(inputs.shape)}")
    if not 1 <= grid <= min(inputs.shape[2:]):
        raise InputError(f"a grid must have 1 to {min(inputs.shape[2:])} cells a side, found {grid}")
    for name, value, least in (("steps", steps, 0), ("samples", samples, 1)):
        check_number(name, value, least)
    check_number("the rate", rate, 0.0, above=True)
    check_number("the least deviation", low, 0.0, above=True)
    check_number("the greatest deviation", high, low, above=True)
    bounds = math.log(low), math.log(high)
    check_number("the mean entropy", target, *(b + ENTROPY_OF_ONE for b in bounds))
    maps = []
    with torch.inference_mode(False), torch.enable_grad():
        for i, image in enumerate(inputs.detach().clone()):
            noise = torch.Generator().manual_seed(seed)
            move = _movement(feature, image.unsqueeze(0), grid, samples, noise)
            flat = torch.full((grid, grid), math.log(_PROBE), dtype=torch.float64, device=image.device)
            scale = float(move(flat).detach())
            if not (math.isfinite(scale) and scale > 0.0):
                raise InputError(
                    f"noise of {_PROBE} moves image {i}'s feature by {scale}: there is no map of it"
                )
            log_sigma = torch.full_like(flat, target - ENTROPY_OF_ONE)
            # Of its logarithm, which has the same least: gradients stay of one size while the movement falls.
            maps.append(_least(lambda at: (move(at) / scale + _TINY).log(), log_sigma, steps, rate, bounds))  # noqa: B023
    return torch.stack(maps) + ENTROPY_OF_ONE


def _movement(
    feature: Callable[[Tensor], Tensor], image: Tensor, grid: int, samples: int, draw: torch.Generator
) -> Callable[[Tensor], Tensor]:
    """ln sigma (G, G) -> the mean square by which new noise moves the feature."""
    with torch.no_grad():
        still = feature(image)

    rows, columns = (torch.arange(size, device=image.device) * grid // size for size in image.shape[2:])

    def move(log_sigma: Tensor) -> Tensor:
        sigma = log_sigma.exp()[rows][:, columns].to(image.dtype)
        noise = torch.randn(samples, *image.shape[1:], generator=draw, dtype=image.dtype).to(image.device)
        return (feature(image + sigma * noise) - still).square().mean()

    return move


def _least(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    rate: float,
    bounds: tuple[float, float],
) -> Tensor:
    """Where `loss` is least within bounds among the points of the same mean as `start`: Adam, projected."""
    at, mean = start.clone().requires_grad_(), float(start.mean())
    optimiser = torch.optim.Adam([at], lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.5 * rate * (1.0 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        loss(at).backward()
        assert at.grad is not None
        free = (at > bounds[0]) & (at < bounds[1])
        # Along the constraint only: at the optimum nothing is left for Adam to scale up.
        at.grad -= at.grad[free].mean() if free.any() else at.grad.mean()
        optimiser.step()
        with torch.no_grad():
            at.copy_(_with_mean(at, mean, bounds))
    return at.detach()


def _with_mean(values: Tensor, mean: float, bounds: tuple[float, float]) -> Tensor:
    """The nearest point within bounds that has this mean: clamp(values + c), c by bisection."""
    low, high = bounds[0] - float(values.max()), bounds[1] - float(values.min())
    for _ in range(60):
        middle = 0.5 * (low + high)
        if float((values + middle).clamp(*bounds).mean()) < mean:
            low = middle
        else:
            high = middle
    return (values + high).clamp(*bounds)
