"""The fused head against full logits and autograd, in value, gradients, precision and what it keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from understudy.errors import InputError
from understudy.objectives.divergences_family import divergence, mean_divergence
from understudy.objectives.fused_head import Head, head_divergence, mean_head_divergence

FAMILY = [
    ("forward_kl", None),
    ("reverse_kl", None),
    ("jsd", 0.1),
    ("jsd", 0.5),
    ("jsd", 0.9),
    ("skew_forward_kl", 0.1),
    ("skew_reverse_kl", 0.1),
    ("total_variation", None),
]
each = pytest.mark.parametrize(("kind", "weight"), FAMILY)
TOKENS, CLASSES, WIDTH, TEACHER_WIDTH = 23, 40, 8, 5


@pytest.fixture
def plain_types() -> Iterator[None]:
    """What a user sees: annotations that nobody checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def student(padding: int = 0, tokens: tuple[int, ...] = (TOKENS,)) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, weight and bias, in float64, that want gradients."""
    parts = (
        random(*tokens, WIDTH),
        random(CLASSES + padding, WIDTH, seed=1),
        random(CLASSES + padding, seed=2),
    )
    for part in parts:
        part.requires_grad_()
    return parts


def teacher(tokens: tuple[int, ...] = (TOKENS,)) -> Head:
    return Head(random(*tokens, TEACHER_WIDTH, seed=3), random(CLASSES, TEACHER_WIDTH, seed=4))


def logits(head: Head) -> Tensor:
    return nn.functional.linear(head.hidden, head.weight, head.bias)


def assert_close_all(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@each
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_mean_against_full_logits(kind: str, weight: float | None, chunk: int) -> None:
    """Padded student, temperature, mask, teacher as a head and as logits: the same as by autograd."""
    parts, held = student(padding=3), teacher()
    mask = random(TOKENS, seed=5) > -0.5
    options = {"denominator": 31, "mask": mask, "temperature": 1.3, "classes": CLASSES - 1}
    plain = mean_divergence(logits(held), logits(Head(*parts)), kind, weight, **options)
    expected = torch.autograd.grad(2.5 * plain, parts)
    for side in (held, logits(held)):
        value = mean_head_divergence(side, Head(*parts), kind, weight, chunk=chunk, **options)
        torch.testing.assert_close(value, plain)
        found = torch.autograd.grad(2.5 * value, parts)
        assert_close_all(found, expected)
        assert (found[1][CLASSES - 1 :] == 0).all()


@each
def test_rows_against_full_logits(kind: str, weight: float | None) -> None:
    """One value a token, in the tokens' own shape, each weighing something else."""
    parts, held = student(tokens=(3, 4)), teacher((3, 4))
    upstream = random(3, 4, seed=6)
    plain = divergence(logits(held), logits(Head(*parts)), kind, weight, temperature=0.7)
    value = head_divergence(held, Head(*parts), kind, weight, temperature=0.7, chunk=5)
    torch.testing.assert_close(value, plain)
    assert_close_all(
        torch.autograd.grad((upstream * value).sum(), parts),
        torch.autograd.grad((upstream * plain).sum(), parts),
    )


@each
def test_gradient_against_differences(kind: str, weight: float | None) -> None:
    parts, held = (random(5, 2), random(6, 2, seed=1), random(6, seed=2)), Head(random(5, 3), random(6, 3))
    for part in parts:
        part.requires_grad_()

    def mean(*parts: Tensor) -> Tensor:
        return mean_head_divergence(held, Head(*parts), kind, weight, denominator=4, chunk=2)

    def rows(*parts: Tensor) -> Tensor:
        return head_divergence(held, Head(*parts), kind, weight, chunk=2, temperature=2.0)

    assert torch.autograd.gradcheck(mean, parts)
    assert torch.autograd.gradcheck(rows, parts)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zero_at_equality(kind: str, weight: float | None, dtype: torch.dtype) -> None:
    parts = [part.detach().to(dtype).requires_grad_() for part in student()]
    held = Head(*(part.detach().clone() for part in parts))
    value = mean_head_divergence(held, Head(*parts), kind, weight, denominator=TOKENS, chunk=6)
    assert value.item() == 0.0
    for gradient in torch.autograd.grad(value, parts):
        assert (gradient == 0).all()


@each
def test_half_precision_gradient(kind: str, weight: float | None) -> None:
    """bfloat16 in and out, within 0.3 % of float64 on the same numbers, for a student close to its teacher."""
    hidden, matrix = random(64, 32), random(2000, 32, seed=1, scale=0.5)
    held = Head(hidden.bfloat16(), matrix.bfloat16())
    near = (
        (hidden + 0.1 * random(64, 32, seed=7)).bfloat16(),
        (matrix + 0.05 * random(2000, 32, seed=8)).bfloat16(),
    )
    parts = [part.requires_grad_() for part in near]
    value = mean_head_divergence(held, Head(*parts), kind, weight, denominator=64, chunk=10)
    assert value.dtype == torch.float32
    found = torch.autograd.grad(value, parts)
    exact = [part.detach().double().requires_grad_() for part in parts]
    plain = mean_divergence(
        logits(Head(held.hidden.double(), held.weight.double())),
        logits(Head(*exact)),
        kind,
        weight,
        denominator=64,
    )
    assert value.item() == pytest.approx(plain.item(), rel=1e-4)
    for ours, right in zip(found, torch.autograd.grad(plain, exact), strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - right).norm() / right.norm() < 0.003


def test_autocast_changes_nothing_on_a_cpu() -> None:
    parts = tuple(part.detach().float().requires_grad_() for part in student())
    held = Head(teacher().hidden.float(), teacher().weight.float())
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = mean_head_divergence(held, Head(*parts), denominator=TOKENS)
            rows = head_divergence(held, Head(*parts), chunk=4)
            results.append(torch.autograd.grad(value + rows.sum(), parts))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    head = nn.Linear(WIDTH, CLASSES, dtype=torch.float64)
    hidden, held = random(TOKENS, WIDTH), teacher()
    whole = mean_head_divergence(held, Head(hidden, head.weight, head.bias), denominator=TOKENS)
    whole.backward()
    expected = head.weight.grad.clone(), head.bias.grad.clone()
    head.zero_grad()
    for rows in (slice(0, 9), slice(9, 10), slice(10, None)):
        side = Head(hidden[rows], head.weight, head.bias)
        part = Head(held.hidden[rows], held.weight)
        mean_head_divergence(part, side, denominator=TOKENS, chunk=4).backward()
    assert_close_all((head.weight.grad, head.bias.grad), expected)


def test_a_graph_kept_gives_the_same_gradient_twice() -> None:
    parts = student()
    value = mean_head_divergence(teacher(), Head(*parts), "jsd", 0.5, denominator=TOKENS)
    first = torch.autograd.grad(3 * value, parts, retain_graph=True)
    second = torch.autograd.grad(3 * value, parts)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    hidden, matrix, bias = (part.detach() for part in student())
    held = Head(teacher().hidden.requires_grad_(), teacher().weight.requires_grad_())
    for wanted in ("hidden", "weight", "bias"):
        parts = {"hidden": hidden.clone(), "weight": matrix.clone(), "bias": bias.clone()}
        parts[wanted].requires_grad_()
        for value in (
            mean_head_divergence(held, Head(**parts), denominator=TOKENS),
            head_divergence(held, Head(**parts)).sum(),
        ):
            value.backward()
    assert held.hidden.grad is None
    assert held.weight.grad is None
    with torch.no_grad():
        assert not mean_head_divergence(held, Head(*student()), denominator=1).requires_grad


class Largest(TorchDispatchMode):
    """The most memory, in elements of 8 bytes, that any one tensor made meanwhile stands on."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for found in result if isinstance(result, tuple) else (result,):
            if isinstance(found, Tensor):
                self.elements = max(self.elements, found.untyped_storage().nbytes() // 8)
        return result


@pytest.mark.parametrize("per_token", [False, True])
def test_logits_are_neither_made_nor_kept(per_token: bool) -> None:
    parts = random(64, 4).requires_grad_(), random(500, 4).requires_grad_()
    held = Head(random(64, 4), random(500, 4))
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with Largest() as seen, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        if per_token:
            value = head_divergence(held, Head(*parts), chunk=8).sum()
        else:
            value = mean_head_divergence(held, Head(*parts), denominator=64, chunk=8)
        value.backward()
    assert seen.elements == 8 * 500  # one chunk's, and not 64 * 500
    assert sum(tensor.numel() for tensor in kept) <= 2 * (64 * 4 + 500 * 4)


def test_extreme_logits() -> None:
    """Certain of different classes: a finite value and gradient; a class ruled out by bias on both sides: none."""
    hidden = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    matrix = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    held = Head(hidden.detach().flip(0), matrix.detach())
    value = head_divergence(held, Head(hidden, matrix))
    torch.testing.assert_close(value.detach(), torch.tensor([2e4, 2e4]))
    assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), (hidden, matrix)))
    closed = torch.tensor([0.0, 0.0, -math.inf])
    side = Head(hidden, matrix, closed)
    value = mean_head_divergence(Head(held.hidden, held.weight, closed), side, "jsd", 0.5, denominator=2)
    assert value.item() == pytest.approx(math.log(2))
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, (hidden, matrix)))


def test_masked_tokens_are_not_looked_at() -> None:
    parts, held = student(tokens=(4, 3)), teacher((4, 3))
    mask = torch.tensor([[True, True, False]] * 4)
    expected = mean_head_divergence(held, Head(*parts), denominator=8, mask=mask)
    spoiled = parts[0].detach().clone()
    spoiled[~mask] = math.nan
    spoiled.requires_grad_()
    value = mean_head_divergence(held, Head(spoiled, *parts[1:]), denominator=8, mask=mask)
    torch.testing.assert_close(value, expected)
    gradients = torch.autograd.grad(value, (spoiled, *parts[1:]))
    assert all(g.isfinite().all() for g in gradients)
    assert (gradients[0][~mask] == 0).all()
    nothing = mean_head_divergence(held, Head(*parts), denominator=1, mask=torch.zeros(4, 3).bool())
    assert nothing.item() == 0.0
    assert (torch.autograd.grad(nothing, parts[1])[0] == 0).all()


@pytest.mark.usefixtures("plain_types")
def test_bad_input() -> None:
    side, held = Head(*(part.detach() for part in student())), teacher()
    for message, arguments, options in [
        ("unknown divergence", (held, side, "kl"), {}),
        ("jsd needs a weight", (held, side, "jsd"), {}),
        ("chunk", (held, side), {"chunk": 0}),
        ("temperature", (held, side), {"temperature": -1.0}),
        ("denominator", (held, side), {"denominator": 0}),
        ("mask must be boolean", (held, side), {"mask": torch.ones(TOKENS)}),
        ("equal rows", (teacher((4,)), side), {}),
        ("classes must be from 1 to 40", (held, side), {"classes": 41}),
        (r"need classes=, at most 40", (held, Head(random(TOKENS, 8), random(41, 8))), {}),
        ("must be floats", (random(TOKENS, CLASSES).long(), side), {}),
    ]:
        with pytest.raises(InputError, match=message):
            mean_head_divergence(*arguments, **{"denominator": 1, **options})
    for parts in [
        (random(3, 4), random(6, 5)),
        (random(3, 4), random(6, 4), random(5)),
        (random(3, 4), random(4)),
    ]:
        with pytest.raises(InputError, match=r"hidden \(\.\.\., H\), weight \(C, H\)"):
            Head(*parts)
