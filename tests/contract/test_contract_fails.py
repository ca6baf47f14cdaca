"""The battery can fail: for each check, a method that is wrong in that way and is told so."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import understudy as us
from understudy.objectives.divergences import kl
from understudy.objectives.partner import Partner
from understudy.sources import Cast
from understudy.testing import CHECKS, check_method
from understudy.testing.case import Case

Terms = Callable[[Any, Any, Any], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Shown(us.Source):
    """A source made of one function."""

    change: Callable[[us.Batch, Cast], Any]

    def show(self, batch, cast, random):
        changed = self.change(batch, cast)
        return changed if isinstance(changed, us.Batch) else batch


def broken(
    terms: Terms | None = None,
    *,
    source: Callable[[us.Batch, Cast], Any] | None = None,
    frozen: bool = True,
    fields: dict[str, Any] | None = None,
    **traits: Any,
) -> us.Objective:
    """A soft-target method with one thing changed."""

    def plain(student, teacher, batch):
        return {"soft": kl(teacher.logits, student.logits)}

    body: dict[str, Any] = {"terms": lambda self, s, t, b: (terms or plain)(s, t, b), **traits}
    if source is not None:
        body["source"] = lambda self, low, high: Shown(source)
    for name, value in (fields or {}).items():
        body[name] = field(default_factory=lambda value=value: value)
    body["__annotations__"] = dict.fromkeys(fields or {}, Any)
    kind = type("Broken", (us.Objective,), body)
    return dataclass(frozen=frozen)(kind)()


def soft(student, teacher) -> torch.Tensor:
    return kl(teacher.logits, student.logits)


def in_place(student, teacher, batch):
    values = soft(student, teacher)
    if not student.logits.requires_grad:
        student.logits.add_(1.0)
    return {"soft": values}


def naive(student, teacher, batch):
    p, q = teacher.logits.float().softmax(1), student.logits.float().softmax(1)
    return {"soft": (p * (p / q).log()).sum(1)}


def low_precision(student, teacher, batch):
    log_q = student.logits.log_softmax(1)
    return {"soft": F.kl_div(log_q, teacher.logits.softmax(1), reduction="none").sum(1).abs()}


def half_detached(student, teacher, batch):
    return {"soft": soft(student, teacher) * student.logits.detach().square().sum(1)}


def batch_mean(student, teacher, batch):
    return {"soft": soft(student, teacher).mean().expand(len(batch))}


def two_faced(student, teacher, batch):
    return {"soft": soft(student, teacher) * (2 if torch.compiler.is_compiling() else 1)}


def with_hook(batch, cast):
    cast.student.get_submodule("head").register_forward_hook(lambda *_: None)


def attack_forever(batch, cast):
    (cast.student.get_submodule("head").weight.data).add_(1e-3)


@dataclass(frozen=True, kw_only=True)
class Idle(Partner):
    """A player whose loss is flat."""

    def build(self, batch, cast):
        return nn.Linear(2, 1)

    def terms(self, own, turn):
        return {"flat": 0 * own.weight.sum(1)}


def idle() -> us.Objective:
    return broken(partners={"idle": Idle()})


BROKEN = {
    "values: a mean": (broken(lambda s, t, b: {"soft": soft(s, t).mean()}), "values", "one float an example"),
    "values: no terms": (broken(lambda s, t, b: {}), "values", "at least one"),
    "values: a tensor": (broken(lambda s, t, b: soft(s, t)), "values", "a dict of named tensors"),
    "values: NaN": (broken(lambda s, t, b: {"soft": soft(s, t) / 0}), "values", "not finite"),
    "arguments": (broken(in_place), "arguments", "student's clean.logits were changed in place"),
    "equality: an offset": (
        broken(lambda s, t, b: {"soft": soft(s, t) + 1e-4}),
        "equality", "must be 0 where student and teacher are equal",
    ),
    "equality: an infinite slope": (
        broken(lambda s, t, b: {"soft": (s.logits - t.logits).square().sum(1).sqrt()}),
        "equality", "gradient of term 'soft' is not finite",
    ),
    "equality: a trait that hides": (
        broken(zero_when={"soft": "equal views"}), "equality", 'declare zero_when "equal"',
    ),
    "equality: no labels": (broken(zero_when={"soft": "right label"}), "equality", "names no labels"),
    "equality: labels ignored": (
        broken(zero_when={"soft": "right label"}, needs=us.Needs(labels=True)),
        "equality", "where the student is certain of the true label",
    ),
    "equality: not least": (
        broken(lambda s, t, b: {"soft": -soft(s, t)}, zero_when={"soft": "least"}),
        "equality", "is lower beside it",
    ),
    "equality: unknown trait": (broken(zero_when={"soft": "sometimes"}), "equality", "must be one of"),
    "sign: turned": (
        broken(zero_when={"soft": "right label, turned"}, needs=us.Needs(labels=True)), "sign", "is positive",
    ),
    "sign": (broken(lambda s, t, b: {"soft": (s.logits - t.logits).sum(1)}), "sign", "is negative"),
    "permutation": (
        broken(lambda s, t, b: {"soft": soft(s, t) * torch.arange(1, len(b) + 1)}),
        "permutation", "order of the examples",
    ),
    "accumulation": (broken(batch_mean), "accumulation", "declare Needs(whole_batch=True)"),
    "padding": (
        broken(
            lambda s, t, b: {"soft": (s.logits - t.logits).square().mean((1, 2))}, needs=us.Needs(tokens=True)
        ),
        "padding", "reads positions that do not count",
    ),
    "gradient: detached": (broken(half_detached), "gradient", "by finite differences"),
    "gradient: held falsely": (broken(held={"soft": ("clean",)}), "gradient", "to the held view clean.logits"),
    "half precision": (broken(low_precision), "half precision", "compute divergences of logits.float()"),
    "confident models": (broken(naive), "confident models", "not finite for logits of +-100"),
    "compiled": (broken(two_faced), "compiled", "compiled by aot_eager, term 'soft' differs"),
    "parameters": (broken(fields={"head": nn.Linear(2, 2)}), "parameters", "fields ['head'] hold parameters"),
    "source: a view short": (
        broken(needs=us.Needs(student=("clean", "other"))), "source", "needs the views ['clean', 'other']",
    ),
    "source: out of range": (
        broken(source=lambda b, c: b.with_view("clean", b.clean + 2)), "source", "leaves the valid range",
    ),
    "source: global randomness": (
        broken(source=lambda b, c: b.with_view("clean", torch.rand_like(b.clean))),
        "source", "global randomness",
    ),
    "source: weights": (broken(source=attack_forever), "source", "the student was changed: head.weight"),
    "source: a mode left": (broken(source=lambda b, c: c.student.eval()), "source", "mode of norm"),
    "split": (
        broken(source=lambda b, c: b.with_view("clean", (b.clean * 0 + b.clean.mean()))),
        "split", "depends on how the batch is split",
    ),
    "teacher is a guest: a hook": (
        broken(source=with_hook), "teacher is a guest", "the student was changed: hooks of head",
    ),
    "teacher is a guest: trained": (
        broken(source=lambda b, c: c.teacher.module.get_submodule("head").bias.data.add_(1)),
        "teacher is a guest", "the teacher was changed: head.bias",
    ),
    "players": (idle(), "players", "the player 'idle' did not learn in its turn"),
    "record: a field": (broken(fields={"what": {1, 2}}), "record", "cannot be saved in config.json"),
    "record: not frozen": (broken(frozen=False), "record", "frozen dataclass"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_method_is_told_what_is_wrong(case: str) -> None:
    method, check, message = BROKEN[case]
    with pytest.raises(AssertionError, match=re.escape(message)):
        CHECKS[check](Case(method, 5, {}))


@dataclass(frozen=True)
class Together(Shown):
    """A source that claims to show examples together."""

    @property
    def whole_batch(self):
        return True


def test_a_source_that_claims_to_show_examples_together_must_do_so() -> None:
    def shown(change: Callable[[us.Batch, Cast], Any]) -> us.Objective:
        kind = type(broken(source=change))
        return dataclass(frozen=True)(type("Claims", (kind,), {"source": lambda *_: Together(change)}))()

    CHECKS["split"](Case(shown(lambda b, c: b.with_view("clean", b.clean * 0 + b.clean.mean())), 5, {}))
    with pytest.raises(AssertionError, match="splitting the batch changes no view"):
        CHECKS["split"](Case(shown(lambda b, c: b), 5, {}))


def test_the_battery_names_every_check_that_failed() -> None:
    with pytest.raises(AssertionError) as caught:
        check_method(broken(two_faced, frozen=False))
    named = [line.strip().partition(":")[0] for line in str(caught.value).splitlines()[1:]]
    assert named == ["compiled", "record"]
    assert str(caught.value).startswith("Broken fails the battery")


def test_every_check_has_a_method_that_fails_it() -> None:
    assert {check for _, check, _ in BROKEN.values()} == set(CHECKS)


def test_the_method_that_is_broken_nowhere_passes() -> None:
    check_method(broken())


def test_an_exception_of_the_methods_own_is_named_and_kept() -> None:
    with pytest.raises(AssertionError, match="values: raised KeyError: 'mid'") as caught:
        check_method(broken(lambda s, t, b: {"soft": s.features["mid"].sum(1)}))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_feature_without_a_layer_is_refused() -> None:
    with pytest.raises(us.InputError, match=r"unknown layer 'nowhere'.*mid"):
        check_method(broken(needs=us.Needs(features=("mid",))), taps={"mid": "nowhere"})
