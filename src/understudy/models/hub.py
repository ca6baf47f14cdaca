"""Models of other libraries: transformers image classifiers, timm and torchvision names.

Each opener returns a module that takes inputs in the data's valid range. The normalisation that the model was
trained with is read from its own files and put inside, unless the caller gives one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, no_type_check

from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models.look import logits_of
from understudy.models.normalize import Normalized

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


class LogitsOnly(nn.Module):
    """A model that returns more than logits (B, C), cut down to them."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    @no_type_check  # torch.export traces this
    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.body(x))


def open_transformers(name: str, normalize: Statistics | None, low: float, high: float) -> nn.Module:
    """A transformers image classifier by hub id or folder: (B, c, h, w) in [low, high] -> logits (B, C).

    Weights are read from safetensors only, and code that comes with the model is never run. `image_mean` and
    `image_std` of its preprocessor_config.json, which refer to pixels in [0, 1], are converted to [low, high]
    and applied inside, unless `normalize` gives others; without such a file nothing is. Images are neither
    resized nor cropped: the data must have the right size.

    Raises:
        InputError: transformers is missing; there is no such model; it is no image classifier, or its weights
            do not fill it; or its normalisation cannot be converted because the data's range is unbounded.
    """
    try:
        import transformers
    except ImportError as missing:
        raise InputError(f"{name} needs transformers ({missing}): pip install 'understudy[hub]'") from missing
    with quiet_transformers(transformers):
        try:
            body, notes = transformers.AutoModelForImageClassification.from_pretrained(
                name, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"transformers cannot open {name!r} as an image classifier: {message}"
            ) from error
        statistics = normalize or _preprocessing(transformers, name, low, high)
    absent = sorted({*map(str, notes["missing_keys"]), *map(str, notes["mismatched_keys"])})
    if absent:
        raise InputError(
            f"{name!r} is no trained image classifier: it has no fitting weights for {', '.join(absent[:5])}"
        )
    return _normalized(LogitsOnly(body), statistics)


def open_timm(name: str, normalize: Statistics | None, low: float, high: float) -> nn.Module:
    """A pretrained timm model by name; its mean and std are applied inside unless `normalize` gives others.

    Raises InputError if timm is missing, knows no such name, or the range is unbounded.
    """
    try:
        import timm
    except ImportError as missing:
        raise InputError(f"timm:{name} needs timm ({missing}): pip install 'understudy[timm]'") from missing
    try:
        body = timm.create_model(name, pretrained=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"timm cannot open {name!r}: {error}") from error
    facts = getattr(body, "pretrained_cfg", {})
    return _normalized(
        body, normalize or _scaled(facts.get("mean"), facts.get("std"), low, high, f"timm:{name}")
    )


def open_torchvision(name: str, normalize: Statistics | None, low: float, high: float) -> nn.Module:
    """A torchvision model by name with its default weights; normalised as `open_timm`.

    Raises InputError if torchvision is missing, knows no such name, or the range is unbounded.
    """
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as missing:  # built for another torch: an error at import
        raise InputError(
            f"torchvision:{name} needs torchvision ({missing}): pip install 'understudy[torchvision]'"
        ) from missing
    try:
        weights = models.get_model_weights(name).DEFAULT
        body = models.get_model(name, weights=weights)
    except (ValueError, AttributeError, RuntimeError, OSError) as error:
        raise InputError(f"torchvision cannot open {name!r}: {error}") from error
    view = weights.transforms()
    mean, std = getattr(view, "mean", None), getattr(view, "std", None)
    return _normalized(body, normalize or _scaled(mean, std, low, high, f"torchvision:{name}"))


def _normalized(body: nn.Module, statistics: Statistics | None) -> nn.Module:
    return body if statistics is None else Normalized(body, *statistics)


def _scaled(mean: Any, std: Any, low: float, high: float, name: str) -> Statistics | None:
    """Statistics of pixels in [0, 1], converted to the data's range: x = low + (high - low) * pixel."""
    if mean is None or std is None:
        return None
    if math.isinf(low) or math.isinf(high):
        raise InputError(
            f"{name} normalises pixels in [0, 1], the data's range is [{low}, {high}]: state the range, or "
            "give its normalisation in the data's units"
        )
    width = high - low
    return tuple(low + width * float(value) for value in mean), tuple(width * float(value) for value in std)


def _preprocessing(transformers: Any, name: str, low: float, high: float) -> Statistics | None:
    """image_mean and image_std of the model's own preprocessing file, if it has one and it normalises."""
    for file in ("preprocessor_config.json", "processor_config.json"):
        try:
            path = transformers.utils.cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        except OSError as error:
            raise InputError(f"{name}: {file} cannot be fetched: {error}") from error
        if path is None:
            continue
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise InputError(f"{name}: {file} cannot be read: {error}") from error
        facts = facts.get("image_processor", facts)
        if not facts.get("do_normalize", "image_mean" in facts):
            return None
        if abs(facts.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
            raise InputError(
                f"{name}: {file} rescales by {facts['rescale_factor']}, not 1/255: state the normalisation"
            )
        mean, std = facts.get("image_mean"), facts.get("image_std")
        return _scaled(_list(mean), _list(std), low, high, name)
    return None


def _list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) else value


@contextmanager
def quiet_transformers(transformers: Any) -> Iterator[None]:
    """No progress bars and no log lines of transformers inside the block; its settings are put back."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
