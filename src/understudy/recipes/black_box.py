"""The audit of a black box's scores: how well they are imitated, term by term against outcomes, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as log_loss

from understudy.errors import InputError
from understudy.models.estimators.additive import Additive
from understudy.recipes.term_comparison import Scale, auc, permutation_test, scale_factor, scaled_difference

GRID = 24  # values of a feature at which its terms are compared, at most
Fit = Callable[[Tensor, Tensor, bool, int], Additive]  # rows, targets, whether they are outcomes, seed
Calibrate = Callable[
    [Tensor, Tensor], Callable[[Tensor], Tensor]
]  # scores, outcomes -> the map of scores to logits


@dataclass(frozen=True, eq=False)
class Scored:
    """What is known of a black box: rows (N, D), its scores (N,), the outcomes (N,) 0 or 1, the columns' names."""

    rows: Float[Tensor, "n d"]
    scores: Float[Tensor, " n"]
    outcome: Float[Tensor, " n"]
    names: Sequence[str]


def held_out(
    table: Scored, fit: Fit, calibrate: Calibrate, *, folds: int, permutations: int, seed: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """(fidelity, missing): how both models do on rows they were not fitted to, and the missing-feature test there.

    Fidelity: R^2 and RMSE of the student on S', in logits; AUC of outcome model, student and score on the outcome.
    Missing: T, its permuted standard deviation and p; the outcome model's log-loss, without and with S' as a feature.

    Raises:
        InputError: fewer rows than folds, or a fold whose other rows lack an outcome.
    """
    count = len(table.rows)
    if count < folds:
        raise InputError(f"{folds} folds need as many rows, found {count}")
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % folds
    target, imitated, logit, informed = (torch.zeros(count, dtype=torch.float64) for _ in range(4))
    for number in range(folds):
        rest, out = fold != number, fold == number
        scores = calibrate(table.scores[rest], table.outcome[rest])(table.scores).double()
        both = torch.cat([table.rows, scores[:, None].to(table.rows)], 1)
        target[out] = scores[out]
        imitated[out] = fit(table.rows[rest], scores[rest], False, seed).margin(table.rows[out]).double()
        logit[out] = fit(table.rows[rest], table.outcome[rest], True, seed).margin(table.rows[out]).double()
        informed[out] = fit(both[rest], table.outcome[rest], True, seed).margin(both[out]).double()
    outcome = table.outcome.double()
    off = target - imitated
    correlated, null_sd, p = permutation_test(off, outcome - logit.sigmoid(), permutations, seed)
    fidelity = {
        "r2": 1 - float(off.square().sum() / (target - target.mean()).square().sum()),
        "rmse": float(off.square().mean().sqrt()),
        "auc_outcome": auc(logit, outcome),
        "auc_student": auc(imitated, outcome),
        "auc_score": auc(table.scores.double(), outcome),
    }
    missing = {
        "correlation": correlated,
        "null_sd": null_sd,
        "p": p,
        "log_loss": float(log_loss(logit, outcome)),
        "log_loss_with_score": float(log_loss(informed, outcome)),
    }
    return fidelity, missing


def grid_of(rows: Float[Tensor, "n d"], most: int = GRID) -> list[Float[Tensor, " g"]]:
    """Each column's distinct values, or at most so many of them at even ranks."""
    found = []
    for column in rows.T:
        values = column.unique()
        kept = torch.linspace(0, len(values) - 1, min(most, len(values))).round().long()
        found.append(values[kept])
    return found


def compare_terms(
    table: Scored, target: Float[Tensor, " n"], fit: Fit, *, bags: int, spread: Scale, seed: int = 0
) -> tuple[float, list[dict[str, Any]]]:
    """(scale factor, one entry a column): the terms of both models, and their difference with its interval.

    Both models of a bag see the same resample; the factor is the bags' mean. An entry holds, at each of `values`, the
    scaled term of the score, that of the outcome, and d_j with mean +- 1.96 sd over bags; and each side's `weight`,
    the signed standard deviation of its term's linear part over the rows.
    """
    draw = torch.Generator().manual_seed(seed)
    grids = grid_of(table.rows)
    probe = torch.stack([grid[torch.arange(GRID).clamp_max(len(grid) - 1)] for grid in grids], 1)  # (G, D)
    count = len(table.rows)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    weights, factors = [], []
    for bag in range(bags):
        pick = torch.randint(count, (count,), generator=draw)
        pair = [
            fit(table.rows[pick], side[pick], is_outcome, seed + bag).centred(table.rows)
            for side, is_outcome in ((target, False), (table.outcome, True))
        ]
        sides = (
            (target, table.outcome) if spread.endswith("targets") else [m.margin(table.rows) for m in pair]
        )
        factors.append(scale_factor(sides[0], sides[1], spread))
        score, outcome = (model.terms(table.rows).double() for model in pair)
        weights.append(torch.stack([factors[-1] * _signed(score, table.rows), _signed(outcome, table.rows)]))
        at, beside = (model.terms(probe).double() for model in pair)
        seen.append((factors[-1] * at, beside, scaled_difference(at, beside, factors[-1])))
    score, outcome, apart = (torch.stack([bag[side] for bag in seen]) for side in range(3))  # (bags, G, D)
    middle, half = apart.mean(0), 1.96 * apart.std(0)
    weight = torch.stack(weights).mean(0)
    entries = []
    for column, (name, grid) in enumerate(zip(table.names, grids, strict=True)):
        here = slice(len(grid)), column
        low, high = (middle - half)[here], (middle + half)[here]
        entries.append(
            {
                "feature": name,
                "weight_score": float(weight[0, column]),
                "weight_outcome": float(weight[1, column]),
                "values": grid.tolist(),
                "score": score.mean(0)[here].tolist(),
                "outcome": outcome.mean(0)[here].tolist(),
                "difference": middle[here].tolist(),
                "low": low.tolist(),
                "high": high.tolist(),
                "differs": ((low > 0) | (high < 0)).tolist(),
            }
        )
    return sum(factors) / bags, entries


def _signed(terms: Tensor, rows: Tensor) -> Tensor:
    """(D,) covariance of each term with its column over the column's standard deviation: beta sd(x) if linear."""
    columns = rows.double() - rows.double().mean(0)
    size = columns.square().mean(0).sqrt()
    return (terms * columns).mean(0) / size.clamp_min(1e-12)
