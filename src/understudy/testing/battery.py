"""The battery: one ordeal for every method and objective, ours or a user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from understudy.objectives.base import Objective, Sum
from understudy.testing import numerics, players, stage, values
from understudy.testing.case import Case
from understudy.training.method import Method

RADIUS = 0.1  # at which methods that attack are tested, unless they state one

CHECKS: dict[str, Callable[[Case], str]] = {
    "values": values.check_values,
    "arguments": values.check_arguments,
    "equality": values.check_equality,
    "sign": values.check_sign,
    "permutation": values.check_permutation,
    "accumulation": values.check_accumulation,
    "padding": values.check_padding,
    "gradient": numerics.check_gradient,
    "half precision": numerics.check_half,
    "confident models": numerics.check_confident,
    "compiled": numerics.check_compiled,
    "parameters": stage.check_parameters,
    "source": stage.check_source,
    "split": stage.check_split,
    "teacher is a guest": stage.check_guest,
    "players": players.check_players,
    "record": stage.check_record,
}
OF_PARTS = ("equality", "sign", "gradient")  # of a sum: held for each of its objectives by itself


def check_method(
    method: Objective,
    *,
    classes: int = 5,
    taps: Mapping[str, str] | None = None,
    backend: Literal["aot_eager", "inductor", "eager"] = "aot_eager",
    seed: int = 0,
) -> dict[str, str]:
    """Hold a method to everything that training relies on. About a second.

    The objective's traits `zero_when` and `held`, and `needs.whole_batch`, replace a check by another; none
    drops one. A sum's objectives go through the battery one by one as well.

    Args:
        method: a method or objective; an attack without a radius is given 0.1.
        classes: number of classes of the made-up models, 2 or more.
        taps: name of a feature -> layer of `understudy.testing.tiny_conv`; "mid" (B, 4, 3, 3) if not named.
        backend: of `torch.compile`.
        seed: of the made-up data.

    Returns:
        check -> what was held, in words.

    Raises:
        AssertionError: a check failed; the message names every one that did, with what was found.
    """
    method = _at_radius(method)
    case = Case(
        method, classes, {**dict.fromkeys(method.needs.features, "mid"), **(taps or {})}, backend, seed
    )
    held, failed, cause = {}, [], None
    for name, check in CHECKS.items():
        if isinstance(method, Sum) and name in OF_PARTS:
            held[name] = "by each objective of the sum"
            continue
        try:
            held[name] = check(case)
        except AssertionError as error:
            failed.append(f"{name}: {error}")
        except Exception as error:  # whatever the method's own code raises
            failed.append(f"{name}: raised {type(error).__name__}: {error}")
            cause = cause or error
    if failed:
        raise AssertionError(f"{case.name} fails the battery\n  " + "\n  ".join(failed)) from cause
    if isinstance(method, Sum):
        for _, part in method.parts:
            check_method(part, classes=classes, taps=taps, backend=backend, seed=seed)
    return held


def _at_radius(method: Objective) -> Objective:
    """The method, or each of a sum, at the radius of the tests unless it states one."""
    if isinstance(method, Sum):
        return Sum(tuple((weight, _at_radius(part)) for weight, part in method.parts))
    return method.with_radius(RADIUS) if isinstance(method, Method) else method
