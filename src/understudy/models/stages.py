"""Stages: the layers inside a network behind each of which another exit could stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.taps import watch

_STAGE = re.compile(r"stage[1-9]\d*")
_POOLS = (
    nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip


def stages_in(names: Iterable[str]) -> list[str]:
    """Those of the names that are "stage1", "stage2", ..., by number."""
    return sorted((name for name in names if _STAGE.fullmatch(name)), key=lambda name: int(name[5:]))


@dataclass(frozen=True)
class _Ran:
    """A part of a model as it last ran: its name, itself, and the shape of what it gave."""

    name: str
    part: nn.Module
    shape: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether it stands for itself: a `Sequential` gives what its last part gave."""
        return not isinstance(self.part, nn.Sequential)


def find_stages(model: nn.Module, probe: Shaped[Tensor, "b ..."], most: int) -> dict[str, str]:
    """The layers behind which the stages of a model end: {"stage1": layer, ...}, first to last, at most `most`.

    Of a network of blocks that give tokens (B, L, D), the blocks; of one with convolutions, the last layer at each
    height and width of its maps (B, C, H, W), from the first one on, pooling alone left out; of any other, the last
    layer in front of each linear one that gives vectors (B, D) but the first. Where there are more than `most`, they
    are spread evenly, the last one included. The model runs once on `probe` (B, ...), in eval mode and without
    gradients, and is left as it was.

    Raises:
        InputError: `most` below 1, or no such layer.
    """
    if most < 1:
        raise InputError(f"a model has 1 stage or more, asked for {most}")
    ran = _run(model, probe)
    found = _blocks(model, ran) or _resolutions(ran) or _hidden(ran)
    if not found:
        raise InputError(
            f"no stage was found in this {type(model).__name__}: it has no blocks of tokens, no map of a convolution "
            f"and no hidden layer. Name layers in `taps`, as stage1, stage2, ..."
        )
    count = min(most, len(found))
    chosen = [found[-(-(i + 1) * len(found) // count) - 1] for i in range(count)]
    return {f"stage{i}": name for i, name in enumerate(chosen, 1)}


def _run(model: nn.Module, probe: Tensor) -> list[_Ran]:
    """Every part that gives one row an example, in the order in which they ended; one that ran twice at its last."""
    found: dict[str, _Ran] = {}

    def note(name: str, part: nn.Module, tensor: Tensor | None) -> None:
        found.pop(name, None)
        if tensor is not None and tensor.is_floating_point() and tensor.shape[:1] == probe.shape[:1]:
            found[name] = _Ran(name, part, tuple(tensor.shape))

    watch(model, probe, note)
    return list(found.values())


def _blocks(model: nn.Module, ran: list[_Ran]) -> list[str]:
    """The children of the longest rows of equal blocks that give tokens, in the order in which they ran."""
    tokens = {
        one.name: one for one in ran if len(one.shape) == 3 and next(one.part.children(), None) is not None
    }
    rows: list[list[str]] = []
    for name, part in model.named_modules():
        if not isinstance(part, nn.Sequential | nn.ModuleList):
            continue
        names = [f"{name}.{key}" if name else key for key in part._modules]
        equal = len({type(child) for child in part.children()}) == 1
        if equal and all(child in tokens for child in names) and not _inside(names[0], rows):
            rows.append(names)
    least = min(2, max((len(row) for row in rows), default=0))
    chosen = {name for row in rows if len(row) >= least for name in row}
    return [one.name for one in ran if one.name in chosen]


def _inside(name: str, rows: list[list[str]]) -> bool:
    """Whether a part lies within a row of two blocks or more that was found already."""
    return any(name.startswith(f"{block}.") for row in rows if len(row) > 1 for block in row)


def _resolutions(ran: list[_Ran]) -> list[str]:
    """The last layer at each size of a map; sizes out of proportion to the first are of maps with channels last."""
    last: dict[tuple[int, ...], str] = {}
    first: tuple[int, ...] = ()
    for one in ran:
        size = one.shape[2:]
        if isinstance(one.part, nn.Conv2d) and not first:
            first = size
        if not first or not one.whole or len(one.shape) != 4 or isinstance(one.part, _POOLS):
            continue
        if abs(size[0] * first[1] - size[1] * first[0]) <= max(first):  # to within a pixel
            last.pop(size, None)
            last[size] = one.name
    return list(last.values())


def _hidden(ran: list[_Ran]) -> list[str]:
    groups: list[str] = []
    for one in ran:
        if len(one.shape) != 2 or not one.whole:
            continue
        if isinstance(one.part, nn.Linear):
            groups.append(one.name)
        elif groups:
            groups[-1] = one.name
    return groups[:-1]


def named_stages(taps: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """The student's layers among taps (teacher's layer, student's layer) that are stages; {} where none is."""
    return {name: taps[name][1] for name in stages_in(taps)}
