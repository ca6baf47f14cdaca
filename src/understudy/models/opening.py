"""`open_model`: any model a user can name, as one module from inputs in the data's range to logits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from understudy.errors import InputError
from understudy.models import modulepath, saved, zoo
from understudy.models.config import ModelConfig, check_statistics
from understudy.models.ensemble import Team
from understudy.models.fitting import fit_to_data
from understudy.models.normalize import Normalized, body_of
from understudy.models.runfolder import WEIGHTS, is_transformers, read_curves

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

FORMS = """a model is one of
  RUN_FOLDER                        a folder written by `understudy train` or `distill`
  FILE.safetensors                  a checkpoint written by understudy
  'mlp[200,200]@FILE.safetensors'   a bare state dict and its architecture (or module:callable@FILE)
  FILE.onnx                         an ONNX classifier that ends in logits
  package.module:callable           your own code, returning an nn.Module
  hf:ID_OR_FOLDER                   a transformers image classifier, or on text a causal language model
  timm:NAME, torchvision:NAME       a pretrained model of these libraries
  'ONE;OTHER'                       several of these as one, by the mean of their confidences"""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to be looked at.

    Attributes:
        module: in eval mode; inputs (B, ...) in the data's valid range -> logits (B, C).
        source: what was asked for; the class name for a module given as such.
        sha256: of the file's bytes, or of a run folder's model.safetensors; else of the state dict.
        parameters: how many, tied ones once. Of an ONNX file: its weights, biases and affine factors.
        config: of a checkpoint with an architecture by name; None for models from outside.
        curves: rows of the run folder's metrics.jsonl, in order; [] if there is none.
    """

    module: nn.Module
    source: str
    sha256: str
    parameters: int
    config: ModelConfig | None = None
    curves: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Data:
    """What the data say about a model's inputs and outputs; None where nothing is known."""

    shape: tuple[int, ...] | None
    classes: int | None
    normalize: Statistics | None
    low: float
    high: float


def open_model(
    source: str | Path | nn.Module,
    *,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    normalize: Statistics | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> LoadedModel:
    """Open a model by any of the forms in `FORMS`, in eval mode; several, separated by ";", as one `Team`.

    An `nn.Module` is used as it is: it is not copied, and is put into eval mode. A transformers, timm or
    torchvision model brings its own normalisation, which is applied inside the module (for transformers,
    image_mean and image_std of preprocessor_config.json), unless `normalize` is given. `module:callable` runs
    the named code.

    Args:
        source: what to open.
        shape: shape of one input of the data, without the batch axis; checked, if given, by one forward pass.
        classes: number of classes of the data; checked, if given.
        normalize: (mean, std), a value a channel or one for all, in the data's units, for a model from
            outside that expects normalised inputs: it is put inside.
        low, high: valid range of the data; infinities mean unbounded.

    Raises:
        InputError: there is no such model; it cannot be read safely and exactly; or it does not fit the data,
            showing what it takes and what the data are.
    """
    if normalize is not None:
        check_statistics(*normalize, None if shape is None else shape[0])
    data = _Data(shape, classes, normalize, low, high)
    if isinstance(source, str) and ";" in source:
        limits: dict[str, Any] = {"shape": shape, "classes": classes, "low": low, "high": high}
        return team_of([open_model(one.strip(), normalize=normalize, **limits) for one in source.split(";")])
    loaded = _open_module(source, data) if isinstance(source, nn.Module) else _open_name(str(source), data)
    module = fit_to_data(
        loaded.module.eval(), loaded.source, loaded.config, shape=shape, classes=classes, low=low, high=high
    )
    return replace(loaded, module=module)


def team_of(members: Sequence[LoadedModel]) -> LoadedModel:
    """Several open models as one, whose answer is the mean of their confidences and whose heads are "0", "1", ..."""
    digest = hashlib.sha256("".join(member.sha256 for member in members).encode()).hexdigest()
    count = sum(member.parameters for member in members)
    module = Team([member.module for member in members]).eval()
    return LoadedModel(module, ";".join(member.source for member in members), digest, count)


def parse_normalize(text: str) -> Statistics:
    """Read "0.5,0.5,0.5:0.2,0.2,0.2" as mean (.5, .5, .5) and std (.2, .2, .2).

    Raises InputError if it is not MEAN:STD with as many numbers on either side, all finite, std above 0.
    """
    try:
        mean, std = (tuple(float(number) for number in side.split(",")) for side in text.split(":"))
    except ValueError as error:
        raise InputError(
            f"normalisation must be MEAN:STD, numbers or comma lists like 0.5,0.5:0.2,0.2; found {text!r}"
        ) from error
    check_statistics(mean, std)
    return mean, std


def _open_module(module: nn.Module, data: _Data) -> LoadedModel:
    return _outside(module, type(module).__name__, data, saved.sha256_state(module))


def _open_name(source: str, data: _Data) -> LoadedModel:
    """The form of a name is told by its prefix, then by what it points at, then by its shape."""
    prefix, _, rest = source.partition(":")
    if prefix in ("hf", "timm", "torchvision") and rest:
        return _open_hub(prefix, rest, source, data)
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, data)
    if path.is_file():
        return _open_onnx(path, data) if path.suffix == ".onnx" else _open_saved(path, data)
    spec, at, file = source.rpartition("@")
    if at and spec and file:
        return _open_bare(spec, Path(file), source, data)
    if modulepath.is_module_path(source):
        module = modulepath.build_module(source)
        return _outside(module, source, data, saved.sha256_state(module))
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"there is no file or folder {source!r}; {FORMS}")
    known = f"{source!r} is an architecture without weights; " if source.split("[")[0] in zoo.NETS else ""
    raise InputError(f"cannot open the model {source!r}: {known}{FORMS}")


def _outside(module: nn.Module, source: str, data: _Data, sha256: str) -> LoadedModel:
    """A model from outside: the caller's normalisation goes inside."""
    parameters = saved.count_parameters(module)
    if data.normalize is not None:
        rank = 3 if data.shape is None else len(data.shape)
        module = Normalized(module, *data.normalize, rank=rank)
    return LoadedModel(module, source, sha256, parameters)


def _open_folder(folder: Path, data: _Data) -> LoadedModel:
    """A run folder of ours or a transformers one: told apart by what config.json holds."""
    if is_transformers(folder):
        return _open_hub("hf", str(folder), str(folder), data)
    if (folder / WEIGHTS).is_file():
        return replace(_open_saved(folder / WEIGHTS, data), source=str(folder), curves=read_curves(folder))
    raise InputError(
        f"{folder} is neither a run folder (a model.safetensors written by understudy) nor a transformers "
        f"model (a config.json with a model_type)"
    )


def _open_saved(path: Path, data: _Data) -> LoadedModel:
    module, config = saved.load_model(path, modulepath.build)
    parameters = saved.count_parameters(module)
    if data.normalize is not None:
        if config.mean is not None:
            raise InputError(
                f"{path} already normalises inside (mean {config.mean}, std {config.std}): give no other"
            )
        module = Normalized(module, *data.normalize, rank=len(config.shape))
    return LoadedModel(module, str(path), saved.sha256_file(path), parameters, config)


def _open_bare(spec: str, path: Path, source: str, data: _Data) -> LoadedModel:
    """A state dict without a configuration: the architecture is named, the data give shape and classes."""
    if modulepath.is_module_path(spec):
        module = modulepath.build_module(spec)
        saved.load_state(module, path)
        return _outside(module, source, data, saved.sha256_file(path))
    if data.shape is None or data.classes is None:
        raise InputError(
            f"{source!r} is a bare state dict: to build {spec!r}, the shape of the inputs and the number of "
            f"classes are needed, found shape {data.shape} and classes {data.classes}"
        )
    mean, std = data.normalize or (None, None)
    config = ModelConfig(spec, data.shape, data.classes, mean, std, data.low, data.high)
    module = zoo.build(config)
    saved.load_state(body_of(module), path)
    return LoadedModel(module, source, saved.sha256_file(path), saved.count_parameters(module), config)


def _open_onnx(path: Path, data: _Data) -> LoadedModel:
    from understudy.models.onnx import open_onnx

    # With a normalisation the file's own inputs are normalised: it is checked on standard normal numbers.
    low, high = (data.low, data.high) if data.normalize is None else (float("-inf"), float("inf"))
    file = open_onnx(path, data.shape, data.classes, low=low, high=high)
    return _outside(file.module, str(path), data, file.sha256)


def _open_hub(kind: str, name: str, source: str, data: _Data) -> LoadedModel:
    from understudy.models import hub

    opener = {"hf": hub.open_transformers, "timm": hub.open_timm, "torchvision": hub.open_torchvision}[kind]
    module = opener(name, data.normalize, data.low, data.high)
    return LoadedModel(module, source, saved.sha256_state(body_of(module)), saved.count_parameters(module))
