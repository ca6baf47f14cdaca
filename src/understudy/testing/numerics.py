"""Checks of the arithmetic: gradients, half precision, confident models, compilation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import config
from torch import Tensor

from understudy.models.outputs import View
from understudy.testing.case import Case
from understudy.testing.scene import Scene, Views, hold, leaves, with_gradient

# Finite differences: step, relative and absolute tolerance. An objective may compute in float32 throughout.
DIFFERENCES = {torch.float64: (1e-6, 1e-5, 1e-7), torch.float32: (1e-2, 1e-2, 1e-3)}
LOGITS_IN_HALF = 1e-4  # relative error that bfloat16 logits may bring, beyond their own rounding
FEATURES_IN_HALF = 0.05  # the same for features, which may be multiplied in bfloat16


def check_gradient(case: Case) -> str:
    """The gradient of each term is that of its values by finite differences; float32's is float64's.

    Views that the trait `held` names are targets: no gradient may reach them, and they stand still here.
    """
    for scene in case.scenes():
        for term in scene.terms(case.objective):
            held = case.objective.held.get(term, ())
            weights = torch.linspace(0.5, 1.5, scene.rows, dtype=torch.float64)
            exact = _gradients(case, scene, term, weights)
            single = _gradients(case, scene.to(torch.float32), term, weights)
            for name, gradient in exact.items():
                if name.partition(".")[0] in held:
                    hold(not gradient.any(), f"term {term!r} sends a gradient to the held view {name}")
                close = torch.allclose(single[name].double(), gradient, rtol=1e-3, atol=1e-4)
                hold(close, f"the gradient of term {term!r} to {name} in float32 is not that in float64")
            if term in case.objective.turned:  # the sign is turned on purpose; the size must be right
                exact = {name: -gradient for name, gradient in exact.items()}
            _finite_differences(case, scene, term, weights, exact, held)
    held_terms = ", ".join(f"{term} holds {' and '.join(v)}" for term, v in case.objective.held.items())
    return "gradients agree with finite differences" + (f" ({held_terms})" if held_terms else "")


def _gradients(case: Case, scene: Scene, term: str, weights: Tensor) -> dict[str, Tensor]:
    asked = with_gradient(scene)
    values = asked.terms(case.objective)[term]
    inputs = leaves(asked.student)
    if not values.requires_grad:
        return {name: torch.zeros_like(x) for name, x in inputs.items()}
    found = torch.autograd.grad((weights.to(values) * values).sum(), list(inputs.values()), allow_unused=True)
    return {
        name: torch.zeros_like(x) if g is None else g
        for (name, x), g in zip(inputs.items(), found, strict=True)
    }


def _finite_differences(
    case: Case, scene: Scene, term: str, weights: Tensor, gradients: dict[str, Tensor], held: tuple[str, ...]
) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(3):
        way = {
            n: torch.randn(x.shape, generator=generator, dtype=torch.float64) for n, x in gradients.items()
        }
        way = {n: torch.zeros_like(x) if n.partition(".")[0] in held else x for n, x in way.items()}

        def value(amount: float, way: dict[str, Tensor] = way) -> Tensor:
            moved = replace(scene, student=_moved(scene.student, way, amount))
            values = moved.terms(case.objective)[term]
            return (weights.to(values) * values).sum().detach()

        step, relative, absolute = DIFFERENCES[value(0.0).dtype]
        found = (value(step) - value(-step)) / (2 * step)
        expected = sum((way[n] * g).sum() for n, g in gradients.items())
        hold(
            torch.isclose(torch.as_tensor(expected).to(found), found, rtol=relative, atol=absolute),
            f"the gradient of term {term!r} along a direction is {float(expected):.8g}, by finite differences "
            f"{float(found):.8g}; a part that is a target on purpose is declared in `held`",
        )


def _moved(views: Views, way: dict[str, Tensor], amount: float) -> dict[str, View]:
    """Each view a step along its direction."""

    def one(name: str, view: View) -> View:
        features = {f: x + amount * way[f"{name}.features[{f!r}]"] for f, x in view.features.items()}
        heads = {h: x + amount * way[f"{name}.heads[{h!r}]"] for h, x in view.heads.items()}
        return View(view.logits + amount * way[f"{name}.logits"], features, heads)

    return {name: one(name, view) for name, view in views.items()}


def check_half(case: Case) -> str:
    """bfloat16 answers give what float64 makes of the same rounded numbers, also under autocast."""
    tolerance = FEATURES_IN_HALF if case.shapes else LOGITS_IN_HALF
    for scene in case.scenes():
        half = scene.to(torch.bfloat16)
        exact = {name: x.detach() for name, x in half.to(torch.float64).terms(case.objective).items()}
        for autocast in (False, True):
            asked = with_gradient(half)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                found = asked.terms(case.objective)
            for name, values in found.items():
                error = ((values.detach().double() - exact[name]).abs() / (1 + exact[name].abs())).max()
                hold(
                    error <= tolerance,
                    f"term {name!r} of bfloat16 answers{' under autocast' if autocast else ''} is off by "
                    f"{float(error):.2g} (at most {tolerance:g}): compute divergences of logits.float()",
                )
            _finite_gradient(found, asked.student, "bfloat16 answers")
    return f"bfloat16 is right to {tolerance:g}"


def check_confident(case: Case) -> str:
    """Logits of +-100, and so far apart that probabilities are exactly 0, give finite values and gradients."""
    for size in (100.0, 1e4):
        for i, scene in enumerate(case.scenes()):
            sure = replace(
                scene,
                student=_confident(scene.student, size, i),
                teacher=_confident(scene.teacher, size, i + 1),
            )
            for dtype in (torch.float32, torch.bfloat16):
                asked = with_gradient(sure.to(dtype))
                terms = asked.terms(case.objective)
                for name, values in terms.items():
                    hold(
                        values.isfinite().all(),
                        f"term {name!r} is not finite for logits of +-{size:g} in {dtype}: {values.tolist()}",
                    )
                _finite_gradient(terms, asked.student, f"logits of +-{size:g} in {dtype}")
    return "finite for logits of +-10000"


def _confident(views: Views, size: float, first: int) -> dict[str, View]:
    """Logits -size, and +size at a class that moves with the example and the view."""
    found = {}
    for offset, (name, view) in enumerate(views.items()):
        said = []
        for number, logits in enumerate((view.logits, *view.heads.values())):
            rows = torch.arange(logits[..., 0].numel()).view(logits.shape[:-1])
            chosen = (rows + first + offset + number) % logits.shape[-1]
            said.append(torch.full_like(logits, -size).scatter(-1, chosen[..., None], size))
        found[name] = View(said[0], view.features, dict(zip(view.heads, said[1:], strict=True)))
    return found


def _finite_gradient(terms: dict[str, Tensor], student: Views, where: str) -> None:
    for term, values in terms.items():
        if not values.requires_grad:
            continue
        inputs = leaves(student)
        found = torch.autograd.grad(values.sum(), list(inputs.values()), allow_unused=True, retain_graph=True)
        for name, gradient in zip(inputs, found, strict=True):
            finite = gradient is None or gradient.isfinite().all()
            hold(finite, f"the gradient of term {term!r} to {name} is not finite for {where}")


def check_compiled(case: Case) -> str:
    """`torch.compile` gives the eager values and gradients."""
    with _traceable():
        whole = not case.objective.second_order  # a gradient inside a graph breaks it in two
        compiled = torch.compile(case.objective.terms, backend=case.backend, fullgraph=whole)
        for scene in (case.scene(), case.scene(shift=5)):
            expected = _run(case.objective.terms, scene.to(torch.float32))
            for name, values in _run(compiled, scene.to(torch.float32)).items():
                hold(
                    torch.allclose(values, expected[name], rtol=1e-4, atol=1e-6),
                    f"compiled by {case.backend}, {name} differs by "
                    f"{float((values - expected[name]).abs().max()):.3g}",
                )
    return f"{case.backend} equals eager" + ("" if whole else ", in several graphs")


@contextmanager
def _traceable() -> Iterator[None]:
    """A fresh compiler, and run-time shape checks (which a test run may have switched on) out of its way."""
    checked = config.jaxtyping_disable
    with warnings.catch_warnings():
        # torch itself instantiates an autograd.Function while it traces one, and warns of it
        warnings.filterwarnings("ignore", "<class 'torch.autograd.function.Function'>", DeprecationWarning)
        # and looks for a gradient at answers that have a graph of their own
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
        config.update("jaxtyping_disable", True)
        try:
            yield
        finally:
            config.update("jaxtyping_disable", checked)
            torch.compiler.reset()  # else the limit on recompilations would make later checks eager ones


def _run(function: Callable[..., Mapping[str, Tensor]], scene: Scene) -> dict[str, Tensor]:
    """Values and gradients by name."""
    asked = with_gradient(scene)
    terms = function(*asked.arguments())
    found = {f"term {name!r}": values.detach() for name, values in terms.items()}
    inputs = leaves(asked.student)
    total = torch.stack([values.sum() for values in terms.values()]).sum()
    gradients = torch.autograd.grad(total, list(inputs.values()), allow_unused=True)
    for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
        found[f"the gradient to {name}"] = torch.zeros_like(x) if gradient is None else gradient
    return found
