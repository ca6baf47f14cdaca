"""The small networks of the field by name: `mlp`, `cnn`, `cnn_large`, `resnet8/20/56`, `vit`, `lm`, `gcn`.

A spec is a name, with sizes in brackets if the defaults do not suit: "mlp", "mlp[64,64]", "vit[4,96,4,4]".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from understudy.errors import InputError, unknown
from understudy.models.cnn import build_cnn, build_cnn_large
from understudy.models.config import ModelConfig
from understudy.models.estimators import build_estimator, is_estimator
from understudy.models.gcn import DROPOUT_MLP_OPTIONS, GCN_OPTIONS, build_dropout_mlp, build_gcn
from understudy.models.label_cnn import build_label_cnn
from understudy.models.language import LM_OPTIONS, build_lm
from understudy.models.mlp import build_mlp
from understudy.models.normalize import Normalized
from understudy.models.resnet import ResNet
from understudy.models.vit import ViT

Shape = tuple[int, ...]
Options = tuple[int, ...]


@dataclass(frozen=True)
class Net:
    """One row of the table.

    Attributes:
        build: (shape, classes, options) -> module.
        default: shape -> the options that suit it.
        options: what each number in the brackets means; None takes any count of widths.
        smallest: least height and width of an image it can take; 0 if it takes inputs of any shape.
        graph: how many options, the last ones, are the size of the graph and come from the data.
    """

    build: Callable[[Shape, int, Options], nn.Module]
    default: Callable[[Shape], Options]
    options: tuple[str, ...] | None
    smallest: int
    graph: int = 0


def _mlp_widths(shape: Shape) -> Options:
    inputs = math.prod(shape)
    if inputs <= 64:
        return (64, 64)
    return (200, 200) if inputs <= 784 else (512, 512)


def _vit_sizes(shape: Shape) -> Options:
    """Patches of at most a quarter of the side and 7 pixels: 2 for 8x8, 7 for 28x28, 4 for 32x32."""
    height, width = shape[1:]
    largest = max(1, min(height, width, 28) // 4)
    patch = max(p for p in range(1, largest + 1) if height % p == 0 and width % p == 0)
    return (patch, 48, 3, 4) if height * width <= 64 else (patch, 96, 4, 4)


def _resnet(depth: int) -> Net:
    return Net(
        build=lambda shape, classes, options: ResNet(_image(shape), classes, depth, *options),
        default=lambda shape: (16,),
        options=("width of the first stage",),
        smallest=4,
    )


NETS: dict[str, Net] = {
    "mlp": Net(build_mlp, _mlp_widths, None, 0),
    "cnn": Net(
        lambda shape, classes, options: build_cnn(_image(shape), classes, *options),
        lambda shape: (16, 32, 100),
        ("channels of the first convolution", "channels of the second", "hidden units"),
        4,
    ),
    "cnn_large": Net(
        lambda shape, classes, options: build_cnn_large(_image(shape), classes, *options),
        lambda shape: (32, 64, 512),
        ("channels of the first two convolutions", "channels of the last two", "hidden units"),
        4,
    ),
    "resnet8": _resnet(8),
    "resnet20": _resnet(20),
    "resnet56": _resnet(56),
    "vit": Net(
        lambda shape, classes, options: ViT(_image(shape), classes, *options),
        _vit_sizes,
        ("patch side", "dim", "depth", "heads"),
        1,
    ),
    "label_cnn": Net(
        lambda shape, classes, options: build_label_cnn(_image(shape), classes, *options),
        lambda shape: (16, 32),
        ("channels of the first convolution", "size of a label's embedding"),
        4,
    ),
    "gcn": Net(build_gcn, lambda shape: (256, 2, 50), GCN_OPTIONS, 0, graph=2),
    "dropout_mlp": Net(build_dropout_mlp, lambda shape: (256, 2, 60), DROPOUT_MLP_OPTIONS, 0),
    "lm": Net(build_lm, lambda shape: (2, 64, 4), LM_OPTIONS, 0),
}


def parse_spec(spec: str) -> tuple[str, Options | None]:
    """Split "mlp[64,64]" into ("mlp", (64, 64)); without brackets the options are None (the defaults).

    "mlp[]" has no options, that is no hidden layer. Raises InputError if it is not of that form.
    """
    match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*(?:\[([\d,\s]*)\])?\s*", spec)
    if match is None:
        raise InputError(
            f"cannot read the model {spec!r}: expected a name with positive whole numbers in brackets, "
            f"like 'mlp' or 'mlp[64,64]'"
        )
    name, inside = match.groups()
    if inside is None or not inside.strip():
        return name, None if inside is None else ()
    numbers = [part.strip() for part in inside.split(",")]
    if not all(re.fullmatch(r"\d+", number) and int(number) > 0 for number in numbers):
        raise InputError(f"the options of {spec!r} must be positive whole numbers, found [{inside}]")
    return name, tuple(int(number) for number in numbers)


def full_spec(spec: str, shape: Shape, graph: Options | None = None) -> str:
    """The spec with its sizes written out, e.g. "mlp" for 1x8x8 inputs -> "mlp[64,64]".

    `graph` is (nodes, edges) of a data set that is one; a graph network's spec ends in them.

    Raises InputError as `build` does.
    """
    name, options = _resolve(spec, shape)
    missing = 0 if graph is None else len(NETS[name].options or ()) - len(options)
    if NETS[name].graph and missing == NETS[name].graph:
        options = (*options, *(graph or ()))
    return f"{name}[{','.join(map(str, options))}]"


def build(config: ModelConfig) -> nn.Module:
    """A new network, its weights drawn from torch's global generator: (B, *shape) -> logits (B, classes).

    It takes inputs in the data's range: with `mean` and `std` it is wrapped in a `Normalized`. The arrays of an
    estimator ("tree[63,5]") are all zero.

    Raises:
        InputError: no such network, options that do not fit it, or inputs of a shape that it cannot take.
    """
    if is_estimator(config.spec):
        return build_estimator(config)
    name, options = _resolve(config.spec, config.shape)
    body = NETS[name].build(config.shape, config.classes, options)
    if config.mean is None or config.std is None:
        return body
    return Normalized(body, config.mean, config.std, rank=len(config.shape))


def _resolve(spec: str, shape: Shape) -> tuple[str, Options]:
    name, options = parse_spec(spec)
    if name not in NETS:
        raise unknown("model", name, NETS)
    net = NETS[name]
    if net.smallest:
        _, height, width = _image(shape, name)
        if min(height, width) < net.smallest:
            raise InputError(f"{name} needs images of at least {net.smallest} pixels a side, found {shape}")
    if options is None:
        return name, net.default(shape)
    stated = () if net.options is None else net.options[: len(net.options) - net.graph]
    if net.options is not None and len(options) not in (len(net.options), len(stated)):
        raise InputError(
            f"{name} takes {len(stated)} numbers in brackets ({', '.join(stated)}), "
            f"e.g. {name}[{','.join(map(str, net.default(shape)))}]; found {spec!r}"
        )
    return name, options


def _image(shape: Shape, name: str = "this net") -> tuple[int, int, int]:
    if len(shape) != 3:
        raise InputError(
            f"{name} takes images (channels, height, width), the data are of shape {shape}; "
            f"'mlp' takes inputs of any shape"
        )
    return shape[0], shape[1], shape[2]
