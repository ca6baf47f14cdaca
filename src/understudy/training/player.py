"""`Player`: parameters with their own optimiser and loss. Most methods have one, the student."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.memory import Memory
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.models.functional import learning, one_step, said_at
from understudy.models.look import answer_of, frozen, heads_of
from understudy.models.memo import Memo
from understudy.models.outputs import Outputs, View
from understudy.models.stages import find_stages, named_stages
from understudy.models.taps import Tapped
from understudy.objectives.base import EMBEDDING, MAP, Objective
from understudy.objectives.reduction import reduce_terms
from understudy.sources.base import Cast, Source
from understudy.training.answers import StoredAnswers
from understudy.training.averaging import Average
from understudy.training.embedding import TappedBeforeHead, map_of
from understudy.training.optim import learning_rate, make_optimizer
from understudy.training.partners import Partners
from understudy.training.settings import TrainingSettings

Taps = Mapping[str, tuple[str, str]]


@dataclass(eq=False)
class Player:
    """A student, its teacher (or none) and what is asked of it.

    Attributes:
        student, teacher: modules on the right device; the teacher is frozen while the player is on stage.
        objective: gives the terms; its source gives the views.
        answers: the teacher's, where they are stored and it is not asked.
        taps: name -> (teacher's layer, student's layer), for objectives that read features; "embedding" has a
            place of its own without.
    """

    student: nn.Module
    teacher: nn.Module | None
    objective: Objective
    source: Source
    settings: TrainingSettings
    taps: Taps = field(default_factory=dict)
    name: str = "student"
    answers: StoredAnswers | None = None

    def __post_init__(self) -> None:
        needs = self.objective.needs
        if needs.teacher and self.teacher is None:
            raise InputError(f"{type(self.objective).__name__} needs a teacher, and none was given")
        if needs.ahead and (needs.features or needs.stages):
            raise InputError("views that are answered one step ahead have no features to be tapped")
        related = needs.whole_batch or self.source.whole_batch or needs.ahead
        if related and (self.settings.accumulate > 1 or self.settings.devices > 1):
            raise InputError(
                "this objective relates examples to one another: use accumulate=1 and one device"
            )
        if needs.memory and self.settings.devices > 1:
            raise InputError("this objective remembers every example, on one device: use devices=1")
        if self.objective.partners and (self.settings.accumulate > 1 or self.settings.devices > 1):
            raise InputError("players take turns on whole batches: use accumulate=1 and one device")
        self.taps = {**needs.places, **self.taps}
        if missing := [n for n in needs.features if n not in self.taps and n not in (EMBEDDING, MAP)]:
            raise InputError(f"the objective reads features {missing}; name their layers in `taps`")
        self.parameters = [p for p in self.student.parameters() if p.requires_grad]
        if not self.parameters:
            raise InputError("the student has no parameter to train")
        taught = set(self.parameters)
        if self.teacher is not None and not taught.isdisjoint(self.teacher.parameters()):
            raise InputError("teacher and student share parameters: the teacher must stay as it is")
        self._learner = self._copy_of_teacher() if needs.trains_teacher else None
        self.optimizer = make_optimizer(self.parameters, self.settings)
        self._memo = None if self.teacher is None else Memo(self.teacher)
        if needs.features and (needs.heads or needs.own_heads):
            raise InputError(
                "an objective reads either features or heads: a tapped model's heads are not there"
            )
        self._tapped: dict[str, Tapped] = {}  # made here: a layer that does not exist is refused early
        self._layers: dict[str, str | None] = {}  # the student's
        stages = named_stages(self.taps) if needs.stages else {}
        self._seeks_stages = bool(needs.stages) and not stages
        for who, module, side in (("teacher", self.teacher, 0), ("student", self.student, 1)):
            if module is not None and (needs.features or (stages and side)):
                known = {n: taps[side] for n, taps in self.taps.items() if n in needs.features}
                if MAP in needs.features and MAP not in known:
                    known[MAP] = map_of(module)
                layers = {n: known.get(n) for n in needs.features} | (stages if side else {})
                self._tapped[who] = TappedBeforeHead(module, layers)
                self._layers = layers
        self._views: dict[str, Tapped] = {}
        self._memory = Memory()
        self._auxiliary: nn.Module | None = None
        self._saved: dict[str, Any] | None = None  # a state that waits for the auxiliary networks to be there
        self.partners = Partners(self.objective.partners, self.settings)
        self._average = Average(self.student, self.objective.average_from)
        self._steps = 0
        self._last: tuple[Batch, Outputs, Outputs] | None = None

    def _copy_of_teacher(self) -> nn.Module:
        """The teacher that learns along, in train mode; its weights join those that the optimiser moves."""
        assert self.teacher is not None
        if self.objective.needs.features:
            raise InputError("an objective that trains the teacher cannot read features")
        with torch.random.fork_rng():
            torch.manual_seed(
                self.settings.seed + 15485863
            )  # the seed itself has drawn the student's weights
            learner = self.objective.learner(self.teacher).train().requires_grad_(True)
        self.parameters = [*self.parameters, *learner.parameters()]
        return learner

    def __enter__(self) -> Player:
        """Freeze the teacher, set the student to train mode and hang up the taps, until the block ends."""
        self._stack = ExitStack()
        try:
            if self.teacher is not None:
                self._stack.enter_context(frozen(self.teacher))
            self.student.train()
            for who, tapped in self._tapped.items():
                self._views[who] = self._stack.enter_context(tapped)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._views.clear()

    def contribute(self, batch: Batch, denominator: int, random: Randomness) -> dict[str, Tensor]:
        """Add this batch's share of the gradient; the terms' shares of the loss, detached."""
        cast, needs = self.cast(), self.objective.needs
        if self.partners:
            self.partners.ready(batch, cast)
        batch = self.source.show(batch, cast, random)
        if needs.memory:
            batch = replace(batch, past=self._memory.recall(batch.index))
        now = [name for name in needs.student if name not in needs.ahead]
        student = Outputs({name: self._student_view(batch.views[name]) for name in now})
        teacher, kept = self._teacher_says(batch)
        if needs.auxiliary:
            batch = replace(batch, auxiliary=self._own_networks(student, teacher, batch.index.device))
        if self.partners:
            batch = replace(batch, partners=self.partners.networks)
            self._last = (batch, _without_graph(student), _without_graph(teacher))
            self.partners.play(self._steps, batch.progress, False, self._last, cast)
        if kept:
            batch = replace(batch, notes={**batch.notes, **kept})
        elif needs.settled:
            settled = self.objective.settle(_without_graph(student), _without_graph(teacher), batch)
            batch = replace(batch, notes={**batch.notes, **settled})
        if needs.ahead:
            student = self._step_ahead(student, teacher, batch)
        if self._last is not None:
            self._last = (batch, _without_graph(student), self._last[2])
        loss, shares = reduce_terms(self.objective.terms(student, teacher, batch), denominator)
        torch.autograd.backward(loss, inputs=self.parameters)
        if needs.memory:
            self._memory.note(batch.index, self.objective.remember(student, batch))
        if self._memo is not None and not self.partners:
            self._memo.forget()
        return {name: share.detach() for name, share in shares.items()}

    def cast(self) -> Cast:
        """The models on stage."""
        return Cast(self.student, self._memo, self.partners.networks)

    def _teacher_says(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        """(its answers, notes of those that a sparse store has)."""
        if self.answers is not None:
            return self.answers.read(batch)
        return Outputs(
            {name: self._teacher_view(batch.views[name]) for name in self.objective.needs.teacher}
        ), {}

    def _student_view(self, inputs: Tensor) -> View:
        if self._seeks_stages:
            self._tap_stages(inputs[:2])
        if (tapped := self._views.get("student")) is not None:
            return View(*tapped(inputs))
        said = self.student(inputs)
        return View(answer_of(said), heads=heads_of(said))

    def _tap_stages(self, probe: Tensor) -> None:
        """Tap the student's stages beside what is tapped already: found once, where nobody named them."""
        if (before := self._views.get("student")) is not None:
            before.__exit__(None, None, None)
        self._layers |= find_stages(self.student, probe, self.objective.needs.stages)
        self._tapped["student"] = TappedBeforeHead(self.student, self._layers)
        self._views["student"] = self._stack.enter_context(self._tapped["student"])
        self._seeks_stages = False

    def _step_ahead(self, student: Outputs, teacher: Outputs, batch: Batch) -> Outputs:
        """The student's answers, with those to the views that it answers one step ahead."""
        needs = self.objective.needs
        loss, _ = reduce_terms(self.objective.ahead(student, teacher, batch), len(batch))
        weights = one_step(loss, learning(self.student), 1.0, second_order=not needs.first_order)
        found = dict(student.views)
        for name in needs.ahead:
            said = said_at(self.student, weights, batch.views[name])
            found[name] = View(answer_of(said), heads=heads_of(said))
        return Outputs(found)

    def _teacher_view(self, inputs: Tensor) -> View:
        assert self._memo is not None
        if self._learner is not None:
            said = self._learner(inputs)
            return View(answer_of(said), heads=heads_of(said))
        wanted = self.objective.needs.teacher_grad
        if wanted:  # the teacher's weights ask for none, so the graph starts at a fresh leaf
            inputs = inputs.detach().requires_grad_()
        view = self._ask_teacher(inputs, wanted)
        asked = self.objective.needs.heads
        if missing := [name for name in asked if name != "*" and name not in view.heads]:
            raise InputError(
                f"the teacher has no head {missing}, it has {sorted(view.heads) or 'one answer only'}"
            )
        if "*" in asked and not view.heads:
            raise InputError("this objective reads several teachers: name two of them at least")
        return view

    def _ask_teacher(self, inputs: Tensor, wanted: bool) -> View:
        assert self._memo is not None
        if (tapped := self._views.get("teacher")) is not None:
            with torch.set_grad_enabled(wanted):
                return View(*tapped(inputs))
        return self._memo.view(inputs)

    def _own_networks(self, student: Outputs, teacher: Outputs, device: torch.device) -> nn.Module:
        """The objective's networks, made of the seed when first asked for, and trained from then on."""
        if self._auxiliary is None:
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(self.settings.seed)
                built = self.objective.build(*(_two_examples(said) for said in (student, teacher)))
            self._auxiliary = built.to(device)
            own = [p for p in built.parameters() if p.requires_grad]
            if own:
                self.parameters = [*self.parameters, *own]
                self.optimizer.add_param_group({"params": own})
            if self._saved is not None:
                self._auxiliary.load_state_dict(self._saved["auxiliary"])
                self.optimizer.load_state_dict(self._saved["optimizer"])
                self._saved = None
        return self._auxiliary

    def step(self, progress: float) -> None:
        """One step of the optimiser at the schedule's learning rate; gradients are cleared."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, progress)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._average.note(progress)
        if self._last is not None:
            self.partners.play(self._steps, progress, True, self._last, self.cast())
            self._last = None
            if self._memo is not None:
                self._memo.forget()
        self._steps += 1

    def settle(self, data: Iterable[Tensor]) -> None:
        """At the end: the student gets the average of its weights where one was asked for, and keeps them otherwise.

        Batch norm's statistics are those of the last weights; an average's are measured anew on `data`, inputs
        (B, ...).
        """
        if self._average.count:
            self._average.settle(data)

    def others(self) -> dict[str, nn.Module]:
        """The networks that learned beside the student: "teacher" its copy, "auxiliary" the objective's own."""
        own = {"teacher": self._learner, "auxiliary": self._auxiliary}
        return {**{n: net for n, net in own.items() if net is not None}, **self.partners.networks}

    def state(self) -> dict[str, Any]:
        """All that must survive: the student's weights, the optimiser; memory and networks of the objective's."""
        state: dict[str, Any] = {
            "student": dict(self.student.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "steps": self._steps,
        }
        if self._learner is not None:
            state["learner"] = dict(self._learner.state_dict())
        if self.partners:
            state["partners"] = self.partners.state()
        if self._average.count:
            state["average"] = self._average.state()
        if self.objective.needs.memory:
            state["memory"] = self._memory.state()
        if self._auxiliary is not None:
            state["auxiliary"] = dict(self._auxiliary.state_dict())
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.student.load_state_dict(state["student"])
        self._steps = state["steps"]
        if self._learner is not None:
            self._learner.load_state_dict(state["learner"])
        self.partners.restore(state.get("partners", {}))
        self._average.restore(state.get("average"))
        if "auxiliary" in state:
            self._saved = state  # the optimiser's too: it knows the networks by their place in its list
        else:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.objective.needs.memory:
            self._memory.restore(state["memory"])


def _two_examples(said: Outputs) -> Outputs:
    """The answers to the first two examples: enough to see shapes."""

    return _each(said, lambda x: x[:2].detach())


def _without_graph(said: Outputs) -> Outputs:
    return _each(said, lambda x: x.detach())


def _each(said: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """The answers with every tensor changed."""

    def one(view: View) -> View:
        parts = ({name: change(x) for name, x in part.items()} for part in (view.features, view.heads))
        return View(change(view.logits), *parts)

    return Outputs({name: one(view) for name, view in said.views.items()})
