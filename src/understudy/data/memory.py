"""`Memory`: what was noted of each example when it was last seen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError


class Memory:
    """Named rows, one an example of the data set, float32 on the CPU; NaN where nothing was noted yet.

    It grows to the largest example noted: N rows of C confidences take 4 N C bytes.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Tensor] = {}

    def note(self, index: Int[Tensor, " b"], values: Mapping[str, Float[Tensor, "b ..."]]) -> None:
        """Keep `values`, one row (...) an example of `index` (B,), in place of what was noted before.

        Raises:
            InputError: not one row an example, of another shape than before, or a value that is not finite.
        """
        index = index.cpu()
        for name, rows in values.items():
            rows = rows.detach().to("cpu", torch.float32)
            known = self._rows.get(name, torch.empty(0, *rows.shape[1:]))
            if len(rows) != len(index) or rows.shape[1:] != known.shape[1:]:
                raise InputError(
                    f"what is remembered as {name!r} must have the shape {(len(index), *known.shape[1:])}, "
                    f"found {tuple(rows.shape)}"
                )
            if not rows.isfinite().all():
                raise InputError(
                    f"what is remembered as {name!r} must be finite: the training may have diverged"
                )
            wanted = int(index.max()) + 1 if len(index) else 0
            if wanted > len(known):
                size = max(wanted, 2 * len(known))
                known = torch.cat([known, torch.full((size - len(known), *known.shape[1:]), torch.nan)])
            known[index] = rows
            self._rows[name] = known

    def recall(self, index: Int[Tensor, " b"]) -> dict[str, Tensor]:
        """What was noted of the examples of `index` (B,), name -> (B, ...) on its device; nothing of none of them."""
        found = {name: self._look(known, index.cpu()) for name, known in self._rows.items()}
        return {name: rows.to(index.device) for name, rows in found.items() if not rows.isnan().all()}

    @staticmethod
    def _look(known: Tensor, index: Tensor) -> Tensor:
        """Rows of `known`, NaN beyond its end."""
        found = known[index.clamp(max=len(known) - 1)]
        found[index >= len(known)] = torch.nan
        return found

    def state(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        return dict(self._rows)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state`."""
        self._rows = {name: rows.clone() for name, rows in state.items()}
