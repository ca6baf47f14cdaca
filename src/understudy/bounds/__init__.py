"""Sound upper bounds on the difference in confidence between two networks over a ball.

Names are loaded when they are first used: the checker of certificates lives here, and needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.bounds.engine import Mode, PairBound, PairBounds, Status

__all__ = ["Mode", "PairBound", "PairBounds", "Status"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from understudy.bounds import engine

    return getattr(engine, name)
