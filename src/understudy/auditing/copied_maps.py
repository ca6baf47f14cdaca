"""Where the models of a pair look: maps of one kind for all, held against each other, and a few to be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.auditing.copied_record import AttentionRecord, Likeness, LookedAt, MapPairRecord, Mean, the
from understudy.errors import InputError
from understudy.fidelity.attention_compare import THRESHOLD, rescaled
from understudy.fidelity.attention_maps import convolution_maps, transformer_maps
from understudy.fidelity.attention_pairs import MapEstimate, MapPair, compare_maps
from understudy.fidelity.attention_weights import attention_weights
from understudy.models.look import frozen
from understudy.models.taps import operator_of, watch

SHOWN = 6  # inputs whose maps are kept
PLACES = 16  # a convolution's maps of fewer places tell next to nothing
_IOU = f"iou@{THRESHOLD:g}"
_AHEAD = 6  # tokens in front of the patches that are tried, such as a class token
_VALUES = 400_000  # of all inputs at once
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
_ONNX_CONVOLUTIONS, _ONNX_POOLINGS = ("Conv", "ConvTranspose"), ("MaxPool", "AveragePool")


@dataclass(frozen=True)
class Viewer:
    """How one model's maps are made.

    `layer`: of a convolutional net, whose output the map is of; None for a transformer, whose tokens are `prefix` and
    a `grid` of patches.
    """

    name: str
    model: nn.Module
    layer: str | None = None
    prefix: int = 0
    grid: tuple[int, int] = (1, 1)


def viewer(name: str, model: nn.Module, inputs: Float[Tensor, "b ..."]) -> Viewer:
    """How to make the maps of a model, called `name`, of images (B, c, h, w).

    Raises:
        InputError: neither attention over an image's patches nor a layer that gives maps.
    """
    if inputs.dim() != 4:
        raise InputError(
            f"maps show where in an image a model looks; an input here is {tuple(inputs.shape[1:])}"
        )
    tokens = _tokens(model, inputs[:1])
    for prefix in range(_AHEAD) if tokens else ():
        grid = _grid(tokens - prefix, *inputs.shape[2:])
        if grid is not None:
            return Viewer(name, model, prefix=prefix, grid=grid)
    places = _places(model, inputs[:1])
    for fewest in (PLACES, 2):
        if fine := [key for key, many in places.items() if many >= fewest]:
            return Viewer(name, model, layer=fine[-1])
    raise InputError(f"{the(name)} has neither attention over patches nor maps of a convolution")


def _places(model: nn.Module, probe: Tensor) -> dict[str, int]:
    """Layers that give a convolution's maps, in the order they end: name -> places of a map.

    Four axes do not make maps: an input that was normalised, tokens beside tokens and channels in the last axis have
    them too. A layer counts if it is a convolution or ran after one and has (h, w) of one, or of a pooling after one.
    """
    sizes: set[tuple[int, int]] = set()
    found: dict[str, int] = {}

    def note(name: str, part: nn.Module, tensor: Tensor | None) -> None:
        found.pop(name, None)
        if tensor is None or tensor.dim() != 4 or len(tensor) != len(probe):
            return
        size = tensor.shape[2], tensor.shape[3]
        op = operator_of(part)
        pools = isinstance(part, _POOLINGS) or op in _ONNX_POOLINGS
        if isinstance(part, _CONVOLUTIONS) or op in _ONNX_CONVOLUTIONS or (sizes and pools):
            sizes.add(size)
        if size in sizes:
            found[name] = math.prod(size)

    watch(model, probe, note)
    return found


def _tokens(model: nn.Module, inputs: Tensor) -> int:
    """How many tokens attend to each other; 0 where no such attention is seen."""
    try:
        with frozen(model), torch.no_grad():
            weights = attention_weights(model, inputs)[1]
    except InputError:
        return 0
    sizes = {part.shape[-1] for part in weights}
    return sizes.pop() if len(sizes) == 1 else 0


def _grid(patches: int, height: int, width: int) -> tuple[int, int] | None:
    """(h, w) of so many square patches of an image; None if they do not fill it."""
    rows = math.isqrt(max(patches, 0) * height // width)
    if rows < 1 or patches < 2 or patches % rows or rows * width != patches // rows * height:
        return None
    return rows, patches // rows


def copied_maps(
    teachers: Sequence[tuple[str, nn.Module]],
    student: nn.Module,
    inputs: Float[Tensor, "b ..."],
    said: Sequence[Int[Tensor, " b"]],
    classes: Int[Tensor, " b"],
    labels: Int[Tensor, " b"] | None,
    numbers: Sequence[int],
) -> tuple[AttentionRecord, dict[str, Tensor]]:
    """Every model's maps for one class an input, compared, and those of `SHOWN` inputs, from least to most alike.

    Convolutional nets have class activation maps, or Grad-CAM where one of them is not linear on its features' mean;
    transformers gradient-weighted attention. A pair of both kinds is compared by these and Grad-CAM.

    Args:
        teachers: (name, model).
        inputs: (B, c, h, w), else they are refused. numbers: (B,) their rows in the split.
        said: (B,) the class each model names, the teachers' first; classes: (B,) the one that is explained.
        labels: (B,) or None.

    Returns:
        the record, and "inputs" (K, c, h, w) and "maps" (K, models, h, w) in [0, 1], of the shown.

    Raises:
        InputError: a model has no maps, the message says which and why; or no two that can be compared.
    """
    viewers = [viewer(name, model, inputs) for name, model in (*teachers, ("student", student))]
    kind = _convolutions(viewers, inputs[:2], classes[:2])
    maps = {one.name: _maps(one, kind, inputs, classes) for one in viewers}
    sizes = {name: (found.shape[1], found.shape[2]) for name, found in maps.items()}
    size = max(sizes.values(), key=math.prod)
    pairs = compare_maps(maps, size=None if len(set(sizes.values())) == 1 else size, leave_out_even=True)
    others = [name for name, _ in teachers]
    overlaps = torch.stack([pair.values[_IOU] for pair in pairs if pair.other == "student"])
    rows = _spread(overlaps.nanmean(0))
    if not rows:
        raise InputError(
            "no example has a map of a teacher and one of the student that differ over their places"
        )
    stacked = torch.stack([rescaled(maps[one.name][rows], size) for one in viewers], 1)
    shown = [
        LookedAt(
            index=numbers[row],
            label=None if labels is None else int(labels[row]),
            classes=[int(answer[row]) for answer in said],
            overlaps=[None if value != value else value for value in overlaps[:, row].tolist()],
        )
        for row in rows
    ]
    record = AttentionRecord(
        models=[*others, "student"],
        maps=[_words(one, kind, sizes[one.name]) for one in viewers],
        size=list(size),
        enlarged=[name for name, own in sizes.items() if own != size],
        threshold=THRESHOLD,
        examples=len(inputs),
        pairs=[_pair(pair) for pair in pairs],
        shown=shown,
    )
    kept = {"inputs": inputs[rows].float(), "maps": stacked.float()}
    return record, {name: value.detach().cpu().contiguous() for name, value in kept.items()}


def _convolutions(viewers: Sequence[Viewer], probe: Tensor, classes: Tensor) -> Literal["cam", "grad-cam"]:
    """One kind for all convolutional nets; where a transformer is beside them, one that asks for slopes as it does."""
    if any(one.layer is None for one in viewers):
        return "grad-cam"
    try:
        for one in viewers:
            convolution_maps(one.model, probe, "cam", layer=one.layer, classes=classes)
    except InputError:  # its head is not linear on the mean of these features
        return "grad-cam"
    return "cam"


def _maps(
    one: Viewer, kind: Literal["cam", "grad-cam"], inputs: Tensor, classes: Tensor
) -> Float[Tensor, "b h w"]:
    portion = max(4, min(100, _VALUES // inputs[0].numel()))
    found = []
    for part, wanted in zip(inputs.split(portion), classes.split(portion), strict=True):
        if one.layer is None:
            found.append(
                transformer_maps(
                    one.model, part, "gradient", prefix=one.prefix, grid=one.grid, classes=wanted
                )
            )
        else:
            found.append(convolution_maps(one.model, part, kind, layer=one.layer, classes=wanted))
    return torch.cat([part.detach() for part in found])


def _words(one: Viewer, kind: str, size: tuple[int, int]) -> str:
    places = f"{size[0]} × {size[1]} places"
    if one.layer is None:
        return f"gradient-weighted attention, {places}"
    named = {"cam": "class activation map", "grad-cam": "Grad-CAM"}[kind]
    return f"{named} at {one.layer}, {places}"


def _spread(overlaps: Float[Tensor, " b"], many: int = SHOWN) -> list[int]:
    """Rows at even steps through the order of the overlaps, the least alike first; NaN have no place in it."""
    order = [row for row in overlaps.argsort(stable=True).tolist() if overlaps[row] == overlaps[row]]
    many = min(many, len(order))
    return [order[(2 * i + 1) * len(order) // (2 * many)] for i in range(many)]


def _pair(pair: MapPair) -> MapPairRecord:
    found = {}
    for measure in pair.values:
        same, chance = pair.estimate(measure), pair.estimate(measure, by_chance=True)
        found[measure] = Likeness(_mean(same), _mean(chance), same.undefined)
    return MapPairRecord(pair.one, pair.other, found)


def _mean(found: MapEstimate) -> Mean | None:
    if found.mean is None:
        return None
    ends = (found.low, found.high) if found.examples > 1 else (None, None)  # one value tells no interval
    return Mean(found.mean, *ends, found.examples)
