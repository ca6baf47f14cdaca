"""`Partners`: the players beside the student, each with its networks and its optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.objectives.partner import Partner, Turn
from understudy.objectives.reduction import reduce_terms
from understudy.sources.base import Cast
from understudy.training.optim import learning_rate, make_optimizer
from understudy.training.settings import TrainingSettings


class Partners:
    """Builds the partners on the first batch, and gives each its turns.

    Args:
        partners: by name; none at all costs nothing.
        settings: of the run: its seed and its schedule.
    """

    def __init__(self, partners: Mapping[str, Partner], settings: TrainingSettings) -> None:
        self.partners = dict(partners)
        if taken := sorted(self.partners.keys() & {"student", "teacher", "auxiliary"}):
            raise InputError(f"players cannot be called {taken}: these are the names of others")
        self.settings = settings
        self.networks: dict[str, nn.Module] = {}
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        self._random = {
            name: Randomness(settings.seed + 7919 * i) for i, name in enumerate(self.partners, start=1)
        }
        self._saved: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.partners)

    def ready(self, batch: Batch, cast: Cast) -> None:
        """Build what is not there yet: from the run's seed, or from the state that is to be continued."""
        for i, (name, partner) in enumerate(self.partners.items(), start=1):
            if name in self.networks:
                continue
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(self.settings.seed + 7919 * i)
                network = partner.build(batch, cast).to(batch.index.device).train()
            learning = [p for p in network.parameters() if p.requires_grad]
            if not learning:
                raise InputError(f"the player {name!r} has no parameter to train")
            self.networks[name] = network
            self._optimizers[name] = make_optimizer(learning, self._own(partner))
            if name in self._saved:
                network.load_state_dict(self._saved[name]["network"])
                self._optimizers[name].load_state_dict(self._saved[name]["optimizer"])

    def play(
        self, step: int, progress: float, after: bool, said: tuple[Batch, Outputs, Outputs], cast: Cast
    ) -> dict[str, Tensor]:
        """The turns that come before (or after) the student's step number `step`; each one's loss, detached."""
        losses: dict[str, Tensor] = {}
        batch, student, teacher = said
        for name, partner in self.partners.items():
            if partner.after != after or step % partner.every:
                continue
            for count in range(partner.steps):
                self._random[name].begin(step * partner.steps + count)
                turn = Turn(batch, student, teacher, cast, self._random[name])
                losses[name] = self._step(name, partner, turn, progress)
        return losses

    def _step(self, name: str, partner: Partner, turn: Turn, progress: float) -> Tensor:
        network, optimizer = self.networks[name], self._optimizers[name]
        terms = partner.terms(network, turn)
        if not terms:  # it rests: a step of 0 would still move what its optimiser remembers
            return torch.zeros((), device=turn.batch.index.device)
        loss, _ = reduce_terms(terms, len(next(iter(terms.values()))))
        learning = [p for p in network.parameters() if p.requires_grad]
        # only its own gradients are asked for, so the student's and the teacher's stay as they are
        gradients = torch.autograd.grad(loss, learning, allow_unused=True)
        if all(g is None for g in gradients):
            raise InputError(f"no gradient reaches the player {name!r}")
        for parameter, gradient in zip(learning, gradients, strict=True):
            parameter.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self._own(partner), progress)
        optimizer.step()
        optimizer.zero_grad()
        torch.clear_autocast_cache()  # else the weights as they were are what everybody sees in half precision
        return loss.detach()

    def _own(self, partner: Partner) -> TrainingSettings:
        return replace(
            self.settings, lr=partner.lr, optimizer=partner.optimizer, weight_decay=partner.weight_decay
        )

    def state(self) -> dict[str, Any]:
        """Networks and optimisers, for a checkpoint."""
        return {
            name: {"network": dict(net.state_dict()), "optimizer": self._optimizers[name].state_dict()}
            for name, net in self.networks.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state` as soon as the networks are built."""
        self._saved = dict(state)
