"""Checks on a stage: tiny models, the method's own source, and the player that training uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.noise import unpack
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.models.ensemble import Team
from understudy.models.look import frozen
from understudy.models.memo import Memo
from understudy.models.outputs import Outputs
from understudy.objectives.base import Needs, Objective, describe
from understudy.objectives.partner import Partner
from understudy.sources.attacked import Attacked
from understudy.sources.base import Cast, Source
from understudy.testing.case import Case
from understudy.testing.models import TINY_SHAPE, tiny_mlp
from understudy.testing.scene import draw_labels, hold, ring
from understudy.testing.tokens import token_rows
from understudy.training.player import Player
from understudy.training.settings import TrainingSettings

ROWS = 6


class _Stop(Exception):
    """Raised on purpose, to see what an exception leaves behind."""


class _Raising(Objective):
    """An objective that looks at what another looks at, and raises."""

    def __init__(self, inner: Objective) -> None:
        self.inner = inner

    @property
    def needs(self) -> Needs:
        return self.inner.needs

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        raise _Stop

    def source(self, low: float, high: float) -> Source:
        return self.inner.source(low, high)

    def build(self, student: Outputs, teacher: Outputs) -> nn.Module:
        return self.inner.build(student, teacher)

    def ahead(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return self.inner.ahead(student, teacher, batch)

    @property
    def partners(self) -> Mapping[str, Partner]:
        return self.inner.partners


def make_batch(case: Case, dtype: torch.dtype = torch.float32) -> Batch:
    """Examples in the valid range, labelled as the objective needs them."""
    generator = torch.Generator().manual_seed(case.seed)
    inputs = torch.rand(ROWS, *TINY_SHAPE, generator=generator).to(dtype)
    labels = draw_labels(case.needs, case.classes, ROWS, generator)
    if case.needs.tokens:
        tokens, masks = token_rows(case.needs, case.classes, ROWS, generator)
        return Batch(tokens, torch.arange(ROWS) + 100, None, 0.9, masks=masks)
    if case.needs.timed:
        inputs = torch.rand(ROWS, case.classes + 1, generator=generator).to(dtype)
    edges = ring(ROWS) if case.needs.edges else None
    batch = Batch({"clean": inputs}, torch.arange(ROWS) + 100, labels, 0.9, edges=edges)
    if not case.needs.validation:
        return batch
    held = torch.rand(ROWS, *TINY_SHAPE, generator=generator).to(dtype)
    known = torch.randint(case.classes, (ROWS,), generator=generator)
    return replace(batch, parts={"validation": Batch({"clean": held}, torch.arange(ROWS), known)})


def make_player(case: Case, objective: Objective, **settings: Any) -> Player:
    """A student and a teacher with batch norm; the teacher's flags are as odd as a user's may be."""
    teacher = case.tiny_teacher() if case.needs.teacher or case.objective.partners else None
    for part in () if teacher is None else getattr(teacher, "members", [teacher]):
        part.get_submodule(
            "mid"
        ).eval()  # the rest in train mode: an unfrozen teacher's statistics would move
        part.get_submodule("head").requires_grad_(False)
    return Player(
        case.tiny_student(),
        teacher,
        objective,
        objective.source(0.0, 1.0),
        TrainingSettings(optimizer="sgd", lr=0.1, **settings),
        {name: (layer, layer) for name, layer in case.taps.items()},
    )


def _cast(case: Case, student: nn.Module, teacher: nn.Module, batch: Batch) -> Cast:
    """The models on stage, with the other players' networks as they are first built."""
    cast = Cast(student, Memo(teacher))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(case.seed)
        built = {name: partner.build(batch, cast) for name, partner in case.objective.partners.items()}
    return replace(cast, partners={name: net.to(batch.clean.dtype) for name, net in built.items()})


def make_random(step: int = 0, rows: slice = slice(None), total: int | None = None) -> Randomness:
    """The randomness of a step, for some of its rows."""
    random = Randomness(3)
    random.begin(step, rows, total)
    return random


def _snapshot(module: nn.Module) -> dict[str, Any]:
    """All that a guest could have changed: values, modes, flags, gradients, hooks."""
    found: dict[str, Any] = {name: value.clone() for name, value in module.state_dict().items()}
    for name, part in module.named_modules():
        found[f"mode of {name or 'the model'}"] = part.training
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        found[f"hooks of {name or 'the model'}"] = sum(len(h) for h in hooks)
    for name, parameter in module.named_parameters():
        found[f"requires_grad of {name}"] = parameter.requires_grad
        found[f"gradient of {name}"] = None if parameter.grad is None else parameter.grad.clone()
    return found


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    def same(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or a == b

    return [n for n in {**before, **after} if not (n in before and n in after and same(before[n], after[n]))]


@contextmanager
def _unchanged(who: str, module: nn.Module | None, *only: str) -> Iterator[None]:
    """AssertionError if the block leaves the module otherwise than it was (or the kinds of things in `only`)."""
    before = {} if module is None else _snapshot(module)
    yield
    changed = [] if module is None else _differences(before, _snapshot(module))
    changed = [n for n in changed if not only or n.startswith(only)]
    hold(not changed, f"{who} was changed: {', '.join(changed)}")


def check_guest(case: Case) -> str:
    """A training step leaves the teacher as it was and no hook on either model, also if something raises."""
    player = make_player(case, case.objective)
    with (
        _unchanged("the teacher", player.teacher),
        _unchanged("the student", player.student, "hooks"),
        player,
    ):
        player.contribute(make_batch(case), ROWS, make_random())
        player.step(0.0)
    for where in ("the objective", "the student's forward"):
        player = make_player(case, _Raising(case.objective) if where == "the objective" else case.objective)
        with (
            _unchanged(f"the teacher, after {where} raised,", player.teacher),
            _unchanged(f"the student, after {where} raised,", player.student, "hooks"),
        ):
            _raises(where, player, case)
    if not case.needs.whole_batch:
        return "teacher as it was, no hook left"
    hold(_refuses_parts(case), "needs the whole batch, but a player accepts micro-batches")
    return "teacher as it was, no hook left; micro-batches refused"


def _refuses_parts(case: Case) -> bool:
    try:
        make_player(case, case.objective, accumulate=2)
    except InputError:
        return True
    return False


def _raises(where: str, player: Player, case: Case) -> None:
    """Run into an exception on stage; what is left behind is the caller's to see."""

    def stop(*_: Any) -> None:
        raise _Stop

    with ExitStack() as stack:
        if where == "the student's forward":
            head = [part for part in player.student.modules() if isinstance(part, nn.Linear)][-1]
            stack.callback(head.register_forward_pre_hook(stop).remove)
        try:
            with player:
                player.contribute(make_batch(case), ROWS, make_random())
        except _Stop:
            return
    raise AssertionError(f"{where} raised, and the exception was swallowed")


def check_parameters(case: Case) -> str:
    """A step trains the student and nothing else; the objective hides no parameter in its fields."""
    hidden = [path for path, value in _fields(case.objective) if _trains(value)]
    hold(not hidden, f"fields {hidden} hold parameters: an objective is a frozen set of hyperparameters")
    player = make_player(case, case.objective)
    with player:
        player.contribute(make_batch(case), ROWS, make_random())
    reached = [n for n, p in player.student.named_parameters() if p.grad is not None and p.grad.any()]
    hold(bool(reached), "no gradient reaches the student")
    if player.teacher is not None:
        learning = [n for n, p in player.teacher.named_parameters() if p.grad is not None]
        hold(not learning, f"gradients reach the teacher's {learning}")
    return "only the student learns"


def _fields(objective: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(objective):
        for f in fields(objective):
            yield f.name, getattr(objective, f.name)
    else:
        yield from vars(objective).items()


def _trains(value: Any) -> bool:
    if isinstance(value, dict | list | tuple):
        return any(_trains(v) for v in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, nn.Module) or (isinstance(value, Tensor) and value.requires_grad)


def check_source(case: Case) -> str:
    """The source gives the views that are looked at, keeps rows and labels, and leaves the student alone."""
    source = case.objective.source(0.0, 1.0)
    teacher, student, batch = case.tiny_teacher(), case.tiny_student(), make_batch(case)
    cast = _cast(case, student, teacher, batch)
    modes = isinstance(source, Attacked) and source.train_mode
    watched = ("mode", "hooks", "gradient", "requires_grad", "conv", "head") if modes else ()
    state = torch.random.get_rng_state()
    copy = batch.clean.clone()
    with frozen(teacher), _unchanged("the teacher", teacher), _unchanged("the student", student, *watched):
        shown = source.show(batch, cast, make_random())
    needed = {*case.needs.student, *case.needs.teacher}
    hold(
        needed <= set(shown.views),
        f"needs the views {sorted(needed)}, its source gives {sorted(shown.views)}",
    )
    hold(
        torch.equal(shown.index, batch.index) and shown.labels is batch.labels,
        "the source changed rows or labels",
    )
    hold(torch.equal(batch.clean, copy), "the source wrote into the batch")
    hold(torch.equal(state, torch.random.get_rng_state()), "the source drew from torch's global randomness")
    for name, view in shown.views.items():
        alike, most = batch.views.get(name, copy), case.classes + 2 if case.needs.tokens else 1
        held = unpack(view)[1] if case.needs.timed else view  # noise is unbounded, times are not
        inside = view.shape == alike.shape and bool((held >= 0).all() and (held <= most).all())
        inside = inside and bool(view.isfinite().all())
        hold(inside, f"view {name!r} has another shape or leaves the valid range")
    return "views in range, student untouched" + (" but for batch statistics (train_mode)" if modes else "")


def check_split(case: Case) -> str:
    """However a batch is split, each example is shown the same, and again so at the same step.

    A source that declares `whole_batch` must show a split batch otherwise, and be refused micro-batches.
    """
    source, batch = case.objective.source(0.0, 1.0), make_batch(case, torch.float64)
    teacher: nn.Module = tiny_mlp(case.classes, seed=1).double()
    student: nn.Module = tiny_mlp(case.classes, seed=2).double()
    if case.needs.tokens or case.needs.timed:
        teacher, student = case.tiny_teacher().double(), case.tiny_student().double()
    if case.needs.heads == ("*",):
        teacher = Team([tiny_mlp(case.classes, seed=seed).double() for seed in (1, 3, 4)])

    def show(rows: slice, step: int = 0) -> Mapping[str, Tensor]:
        views = {name: view[rows] for name, view in batch.views.items()}
        labels = None if batch.labels is None else batch.labels[rows]
        masks = {name: mask[rows] for name, mask in batch.masks.items()}
        part = Batch(views, batch.index[rows], labels, batch.progress, masks=masks)
        with frozen(teacher):
            cast = _cast(case, student, teacher, batch)
            shown = source.show(part, cast, make_random(step, rows, ROWS))
            masks = {f"mask of {name}": mask for name, mask in shown.masks.items()}
            return {**shown.views, **masks, **{f"note {name}": note for name, note in shown.notes.items()}}

    differs = []
    for step in range(4):
        whole, again = show(slice(0, ROWS), step), show(slice(0, ROWS), step)
        parts = [show(slice(0, 2), step), show(slice(2, ROWS), step)]
        for name, view in whole.items():
            hold(torch.equal(view, again[name]), f"view {name!r} differs between two showings of one step")
            split = torch.cat([part[name] for part in parts])
            if not torch.allclose(split.double(), view.double(), atol=1e-9):
                differs.append(name)
    if not source.whole_batch:
        hold(not differs, f"view {', '.join(map(repr, differs[:1]))} depends on how the batch is split")
        return "one view an example, however the batch is split"
    hold(bool(differs), "the source declares whole_batch, but splitting the batch changes no view")
    hold(_refuses_parts(case), "the source declares whole_batch, but a player accepts micro-batches")
    return "examples are shown together: micro-batches are refused"


def check_record(case: Case) -> str:
    """The objective can be written to config.json, and its fields cannot be changed."""
    try:
        json.dumps(describe(case.objective), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"cannot be saved in config.json: {error}") from error
    frozen_class = is_dataclass(case.objective) and case.objective.__dataclass_params__.frozen
    hold(frozen_class, "must be a frozen dataclass: @dataclass(frozen=True)")
    return "configuration can be saved"
