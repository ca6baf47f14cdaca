"""Checks of the values: at equality, their sign, and that they belong to their own example."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.models.outputs import View
from understudy.objectives.reduction import reduce_terms
from understudy.testing.case import PROGRESS, Case
from understudy.testing.scene import Scene, Views, hold, leaves, map_views, with_gradient

EXACT = {torch.float64: 1e-9, torch.float32: 1e-5}  # what counts as zero, or as the same


def check_values(case: Case) -> str:
    """Terms are named, one finite float an example, also for a single example."""
    for scene in (*case.scenes(), case.scene(rows=1)):
        for name, values in scene.terms(case.objective).items():
            hold(values.isfinite().all(), f"term {name!r} is not finite: {values.tolist()}")
    return "one finite value an example"


def check_arguments(case: Case) -> str:
    """Neither outputs nor labels are written to."""
    for scene in case.scenes():
        given = {f"student's {n}": t for n, t in leaves(scene.student).items()}
        given |= {f"teacher's {n}": t for n, t in leaves(scene.teacher).items()}
        if scene.labels is not None:
            given["labels"] = scene.labels
        before = {name: (value, value.clone(), value._version) for name, value in given.items()}
        scene.terms(case.objective)
        for name, (value, kept, version) in before.items():
            hold(torch.equal(value, kept) and value._version == version, f"the {name} were changed in place")
        now = len(leaves(scene.student)) + len(leaves(scene.teacher))
        hold(now == len(before) - (scene.labels is not None), "views or features were added or removed")
    return "arguments are as they were"


def check_equality(case: Case) -> str:
    """Each term is zero when its trait says so, and only then."""
    said = {}
    for dtype in EXACT:
        for i, progress in enumerate(PROGRESS):
            scene = case.scene(progress, shift=i).to(dtype)
            for term in scene.terms(case.objective):
                said[term] = case.zero_when(term)
                _EQUALITY[said[term]](case, scene, term)
    return ", ".join(f"{term}: {_SAID[trait]}" for term, trait in said.items())


def _equal(case: Case, scene: Scene, term: str) -> None:
    _is_zero(case, scene.equal(), term, "where student and teacher are equal")


def _equal_views(case: Case, scene: Scene, term: str) -> None:
    _is_zero(case, scene.equal_views(), term, "where student, teacher and all views are equal")
    apart = scene.equal().terms(case.objective)[term]
    hold(
        (apart.abs() > EXACT[apart.dtype]).all(),
        f"term {term!r} claims to be zero for equal views only, but is zero for equal models as well: "
        f'declare zero_when "equal"',
    )


def _right_label(case: Case, scene: Scene, term: str) -> None:
    if case.needs.tokens:
        _right_token(case, scene, term)
        return
    hold(scene.labels is not None, f"term {term!r} is zero at the right label, but `needs` names no labels")
    assert scene.labels is not None
    several = case.needs.multi_label
    right = 2 * scene.labels - 1 if several else F.one_hot(scene.labels, case.classes)
    logits = 100 * right.to(next(iter(scene.student.values())).logits)
    sure = replace(scene, student={n: _stating(logits.clone(), v) for n, v in scene.student.items()})
    _is_zero(case, sure, term, "where the student is certain of the true label")
    wrong = replace(scene, labels=1 - scene.labels if several else (scene.labels + 1) % case.classes)
    sure = replace(sure, labels=wrong.labels)
    values = sure.terms(case.objective)[term] * _sign(case, term)
    hold(
        (values > 1e-3).all(), f"term {term!r} stays near zero where the student is certain of a wrong label"
    )


def _sign(case: Case, term: str) -> int:
    """The sign that a term has to have."""
    return -1 if case.zero_when(term) == "right label, turned" else 1


def _stating(logits: Tensor, view: View) -> View:
    """A student that says `logits` (B, C) with every head."""
    return View(logits, view.features, dict.fromkeys(view.heads, logits))


def _right_token(case: Case, scene: Scene, term: str) -> None:
    """The label of a position of text is the token that follows it."""

    def sure(of: int) -> Scene:
        said = {}
        for name, view in scene.student.items():
            following = (scene.tokens[name].roll(-1, 1) + of) % case.classes
            said[name] = View(100 * F.one_hot(following, case.classes).to(view.logits), view.features)
        return replace(scene, student=said)

    _is_zero(case, sure(0), term, "where the student is certain of the next token")
    values = sure(1).terms(case.objective)[term] * _sign(case, term)
    certain = "where the student is certain of a wrong token"
    hold((values > 1e-3).all(), f"term {term!r} stays near zero {certain}")


def _least(case: Case, scene: Scene, term: str) -> None:
    equal = scene.equal()
    lowest = equal.terms(case.objective)[term]
    generator = torch.Generator().manual_seed(0)

    def near(x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)

    for _ in range(8):
        around = replace(equal, student=map_views(equal.student, near)).terms(case.objective)[term]
        hold(
            (around >= lowest - EXACT[around.dtype] * (1 + lowest.abs())).all(),
            f"term {term!r} claims to be least where student and teacher are equal, but is lower beside it",
        )


def _elsewhere(case: Case, scene: Scene, term: str) -> None:
    student, teacher, batch = scene.arguments()
    like = next(iter(scene.student.values())).logits
    logits = case.objective.rest(term, teacher if teacher.views else student, batch).to(like)
    resting = replace(scene, student={n: _stating(logits, v) for n, v in scene.student.items()})
    lowest = resting.terms(case.objective)[term]
    at_teacher = scene.equal().terms(case.objective)[term]
    hold(
        (at_teacher > lowest + EXACT[lowest.dtype]).any(),
        f"term {term!r} claims to be lowest elsewhere, but is as low where student and teacher are equal: "
        f'declare zero_when "least" or "equal"',
    )
    generator = torch.Generator().manual_seed(0)
    for size in (0.1, 0.1, 0.1, 1.0, 1.0, 10.0):
        step = size * torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(logits)
        around = replace(scene, student={n: _stating(logits + step, v) for n, v in scene.student.items()})
        hold(
            (around.terms(case.objective)[term] >= lowest - EXACT[lowest.dtype] * (1 + lowest.abs())).all(),
            f"term {term!r} is lower than where `rest` says that it is lowest",
        )


def _is_zero(case: Case, scene: Scene, term: str, where: str) -> None:
    asked = with_gradient(scene)
    values = asked.terms(case.objective)[term]
    worst = values.detach().abs().max()
    hold(
        worst <= EXACT[values.dtype], f"term {term!r} must be 0 {where}, found {worst:.3g} in {values.dtype}"
    )
    if values.requires_grad:
        inputs = list(leaves(asked.student).values())
        for gradient in torch.autograd.grad(values.sum(), inputs, allow_unused=True):
            finite = gradient is None or gradient.isfinite().all()
            hold(finite, f"the gradient of term {term!r} is not finite {where}")


def _teachers(case: Case, scene: Scene, term: str) -> None:
    values = scene.terms(case.objective)[term]
    other = replace(scene, student=map_views(scene.student, lambda x: x + 1.5 * x.roll(1, -1)))
    hold(
        torch.equal(values, other.terms(case.objective)[term]),
        f"term {term!r} is said to be the teacher's own, but changes with the student",
    )


def _game(case: Case, scene: Scene, term: str) -> None:
    values = scene.terms(case.objective)[term]
    other = replace(scene, student=map_views(scene.student, lambda x: -x)).terms(case.objective)[term]
    hold(
        not torch.equal(values, other),
        f"term {term!r} is said to be a game, but the student has no part in it",
    )
    networks = {**scene.partners, **({} if scene.auxiliary is None else {"auxiliary": scene.auxiliary})}
    hold(bool(networks), f"term {term!r} is said to be a game, but the objective has no networks")
    moved = copy.deepcopy(networks)
    with torch.no_grad():
        for network in moved.values():
            for parameter in network.parameters():
                parameter.add_(0.5)
    scene = replace(scene, auxiliary=moved.pop("auxiliary", None), partners=moved)
    other = scene.terms(case.objective)[term]
    hold(
        not torch.equal(values, other),
        f"term {term!r} is said to be a game, but its networks have no part in it",
    )


_EQUALITY = {
    "equal": _equal, "equal views": _equal_views, "right label": _right_label, "least": _least,
    "right label, turned": _right_label,
    "elsewhere": _elsewhere, "teacher's": _teachers, "game": _game,
}  # fmt: skip
_SAID = {
    "equal": "zero at equality",
    "equal views": "zero at equality where views agree, not zero elsewhere",
    "right label": "zero at the right label, not zero at a wrong one",
    "right label, turned": "zero at the right label, below zero at a wrong one",
    "least": "least at equality",
    "elsewhere": "least where the method says",
    "teacher's": "the teacher's own",
    "game": "a game with networks of its own",
}


def check_sign(case: Case) -> str:
    """No term is negative, near equality or far from it; "least" at equality may be, and "turned" must not be more."""
    for scale in (1e-3, 1.0, 30.0):
        for scene in case.scenes(scale):
            for name, values in scene.to(torch.float32).terms(case.objective).items():
                if case.zero_when(name) != "least":
                    sign, wrong = _sign(case, name), "positive" if _sign(case, name) < 0 else "negative"
                    worst = (sign * values).min()
                    hold(worst >= 0, f"term {name!r} is {wrong}: {sign * worst:.3g}")
    return "not negative"


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal to the precision of their type (an objective may compute in float32 whatever it is given)."""
    return torch.allclose(a, b, rtol=EXACT[a.dtype], atol=EXACT[a.dtype])


def check_permutation(case: Case) -> str:
    """Examples in another order give the same values in that order."""
    for scene in case.scenes():
        order = torch.arange(scene.rows).roll(2).flip(0)
        straight, mixed = scene.terms(case.objective), scene.select(order).terms(case.objective)
        for name, values in straight.items():
            hold(
                _same(values[order], mixed[name]),
                f"term {name!r} depends on the order of the examples",
            )
    return "values follow their examples"


def check_accumulation(case: Case) -> str:
    """Micro-batches add up to the whole; an objective that needs the whole batch says so and is refused."""
    if case.needs.whole_batch:
        return "relates examples to one another: micro-batches are refused (see `teacher is a guest`)"
    for scene in case.scenes():
        whole = scene.terms(case.objective)
        parts = [scene.select(rows) for rows in (slice(0, 1), slice(1, 4), slice(4, None))]
        terms = [part.terms(case.objective) for part in parts]
        for name, values in whole.items():
            hold(
                _same(torch.cat([part[name] for part in terms]), values),
                f"term {name!r} has other values in micro-batches: if it relates examples to one another, "
                f"declare Needs(whole_batch=True)",
            )
        total = torch.stack([reduce_terms(part, scene.rows)[0] for part in terms]).sum()
        hold(
            _same(total, reduce_terms(whole, scene.rows)[0]),
            "the losses of micro-batches do not add up to that of the whole batch",
        )
    return "micro-batches add up to the whole"


def check_padding(case: Case) -> str:
    """Of text: what is said at positions that do not count changes no value, and no gradient reaches them."""
    if not case.needs.tokens:
        return "no padding: one answer an example"
    generator = torch.Generator().manual_seed(0)

    def elsewhere(views: Views, masks: Mapping[str, Tensor]) -> dict[str, View]:
        found = {}
        for name, view in views.items():
            other = 5 * torch.randn(view.logits.shape, generator=generator, dtype=torch.float64)
            found[name] = replace(view, logits=torch.where(masks[name][..., None], view.logits, other))
        return found

    for scene in case.scenes():
        asked = with_gradient(scene)
        moved = replace(
            scene,
            student=elsewhere(scene.student, scene.masks),
            teacher=elsewhere(scene.teacher, scene.masks),
        )
        others = moved.terms(case.objective)
        for name, values in asked.terms(case.objective).items():
            hold(_same(values, others[name]), f"term {name!r} reads positions that do not count")
            inputs = {view: said.logits for view, said in asked.student.items()}
            found = torch.autograd.grad(
                values.sum(), list(inputs.values()), allow_unused=True, retain_graph=True
            )
            for view, gradient in zip(inputs, found, strict=True):
                quiet = gradient is None or not gradient[~scene.masks[view]].any()
                hold(quiet, f"term {name!r} sends a gradient to positions of {view!r} that do not count")
    return "positions that do not count are not read"
