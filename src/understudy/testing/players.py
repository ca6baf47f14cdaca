"""The check on players: each learns in its turn, and moves nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.testing.case import Case
from understudy.testing.scene import hold
from understudy.testing.stage import ROWS, make_batch, make_player, make_random
from understudy.training.player import Player


def check_players(case: Case) -> str:
    """Every partner's weights move in its first turn; the student's move as if there were no optimiser but its own."""
    partners = case.objective.partners
    if not partners:
        return "one player"
    player = make_player(case, case.objective)
    with player:
        player.contribute(make_batch(case), ROWS, make_random())
        networks = player.partners.networks
        hold(set(networks) == set(partners), f"players {sorted(networks)} were built, not {sorted(partners)}")
        gradients = {n: p.grad.clone() for n, p in player.student.named_parameters() if p.grad is not None}
        early = {name for name, partner in partners.items() if not partner.after}
        _moved(case, player, early)
        before = {name: _weights(net) for name, net in networks.items()}
        student = _weights(player.student)
        player.step(0.0)
        moved = _moves(student, _weights(player.student))
        hold(
            moved <= set(gradients),
            f"without a gradient of the student's own, {sorted(moved - set(gradients))} moved",
        )
        for name in set(partners) - early:
            hold(
                bool(_moves(before[name], _weights(networks[name]))),
                f"the player {name!r} did not learn in its turn",
            )
    stray = [n for n, p in player.student.named_parameters() if p.grad is not None and p.grad.any()]
    hold(not stray, f"a player's turn left gradients at the student's {stray}")
    try:
        make_player(case, case.objective, accumulate=2)
    except InputError:
        return f"{', '.join(partners)} learn in turn; micro-batches refused"
    raise AssertionError("players take turns on whole batches, but micro-batches are accepted")


def _moved(case: Case, player: Player, names: set[str]) -> None:
    """AssertionError unless the named players differ from what they are when first built."""
    fresh = make_player(case, case.objective)
    with fresh:
        fresh.partners.ready(make_batch(case), fresh.cast())
    for name in names:
        start, now = _weights(fresh.partners.networks[name]), _weights(player.partners.networks[name])
        hold(bool(_moves(start, now)), f"the player {name!r} did not learn in its turn")


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def _moves(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}
