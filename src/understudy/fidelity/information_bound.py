"""A lower bound of the mutual information between two models' features, by a critic trained on a part of them; nats.

InfoNCE (van den Oord, Li and Vinyals, arXiv 1807.03748; Poole et al., arXiv 1905.06922): of K pairs (x_i, y_i), how
well can each x_i tell its own y_i from the others'? For any critic f,

    I(X; Y) >= E[1/K sum_i ln(exp f(x_i, y_i) / (1/K sum_j exp f(x_i, y_j)))]

and what is reported is the mean of this and the same with x and y exchanged, on examples that the critic has not
seen. It is at most ln K, whatever the information: near that ceiling it says "at least this much" and no more. Below,
it falls short of the truth by what the critic has not learned, and, K being finite, by a little more; it may lie below
0. It can lie above the truth by chance only, which its standard error tells.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.fidelity.information_features import as_features
from understudy.fidelity.moments import Estimate, Moments
from understudy.numbers import check_number


def info_nce(
    first: Float[Tensor, "n dx"],
    second: Float[Tensor, "n dy"],
    *,
    pairs: int = 128,
    steps: int = 400,
    width: int = 64,
    held_out: float = 0.5,
    seed: int = 0,
) -> Estimate:
    """The bound, at most ln(pairs) nats, of features (N, D_x) and (N, D_y); its error is over the held-out batches.

    Args:
        first, second: features of the same N examples; each coordinate is scaled to deviation 1.
        pairs: K, the pairs of a batch, in training and on the examples held out.
        steps: of Adam, at a rate of 0.002, falling to 0 as a cosine.
        width: of the critic: f(x, y) = <g(x), h(y)>, with g and h of one hidden layer each.
        held_out: the share of examples that the critic is judged on and does not learn from, in (0, 1).
        seed: of the split, the critic's first weights and the batches; no other randomness is touched.

    Raises:
        InputError: features that are not finite or of different N; fewer than two held-out batches of `pairs`, or fewer
            than `pairs` examples to learn from; a number out of range.
    """
    check_number("the share held out", held_out, 0.0, 1.0, above=True)
    for name, value, low in (("pairs", pairs, 2), ("steps", steps, 0), ("the critic's width", width, 1)):
        check_number(name, value, low)
    x, y = (torch.from_numpy(z).to(first.device, torch.float32) for z in as_features(first, second))
    judged = math.floor(len(x) * held_out)
    if judged < 2 * pairs or len(x) - judged < pairs:
        raise InputError(
            f"a bound from {pairs} pairs a batch needs twice as many examples held out and as many to learn from, "
            f"found {judged} and {len(x) - judged}: give fewer pairs, or more examples"
        )
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=draw).to(x.device)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        critic = nn.ModuleList([_tower(z.shape[1], width) for z in (x, y)]).to(x.device)
        _learn(critic, x[order[judged:]], y[order[judged:]], pairs, steps, draw)
    seen = Moments()
    with torch.no_grad():
        values = [
            _bound(critic, x[rows], y[rows]) for rows in order[:judged].split(pairs) if len(rows) == pairs
        ]
        seen.add(torch.stack(values))
    return seen.estimate()


def _learn(
    critic: nn.ModuleList, x: Tensor, y: Tensor, pairs: int, steps: int, draw: torch.Generator
) -> None:
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.002)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.001 * (1.0 + math.cos(math.pi * step / steps))
        rows = torch.randperm(len(x), generator=draw)[:pairs].to(x.device)
        optimiser.zero_grad()
        (-_bound(critic, x[rows], y[rows])).backward()
        optimiser.step()


def _bound(critic: nn.ModuleList, x: Tensor, y: Tensor) -> Tensor:
    """The mean of both directions' bounds of one batch of K pairs: a number, at most ln K."""
    scores = critic[0](x) @ critic[1](y).t()
    own = torch.arange(len(x), device=x.device)
    loss = F.cross_entropy(scores, own) + F.cross_entropy(scores.t(), own)
    return math.log(len(x)) - 0.5 * loss


def _tower(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width // 2 + 1))
