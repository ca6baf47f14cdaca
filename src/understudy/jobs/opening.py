"""Opening what a job is given: its data, and models that must fit them and are left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.data.dataset import DataSet
from understudy.data.resolve import load_data
from understudy.data.text import TokenSet
from understudy.errors import InputError
from understudy.jobs.progress import Progress
from understudy.models.fitting import fit_to_data
from understudy.models.language_opening import open_language_model
from understudy.models.look import logits_of
from understudy.models.opening import LoadedModel, open_model, parse_normalize


def open_data(
    source: Any,
    split: str,
    *,
    data_root: str | Path | None,
    valid_range: tuple[float, float] | None,
    quiet: bool = True,
    text: bool = False,
    several: bool = False,
) -> DataSet:
    """A data set from any source; Python's tensors and loaders are unbounded unless a range is stated.

    Raises InputError for text, unless `text` says that it is welcome, and for several labels an example, `several`.
    """
    found = _open_data(source, split, data_root, valid_range, quiet)
    if isinstance(found, TokenSet) and not text:
        raise InputError(f"{found.name!r} is text, for training only: audits and bounds are of classifiers")
    if found.multi_label and not several:
        raise InputError(
            f"{found.name!r} bears several labels an example, for training by a method: audits, bounds and comparisons "
            "are of classifiers that name one"
        )
    return found


def _open_data(
    source: Any,
    split: str,
    data_root: str | Path | None,
    valid_range: tuple[float, float] | None,
    quiet: bool,
) -> DataSet:
    if isinstance(source, str | Path | DataSet):
        if valid_range is not None:
            raise InputError(
                "a valid range is stated for a user's own tensors only; this data set declares its own"
            )
        with Progress(f"decoding {source if isinstance(source, str | Path) else source.name}", quiet) as bar:
            return load_data(source, split, data_root=data_root, progress=bar.update)
    low, high = valid_range or (float("-inf"), float("inf"))
    return load_data(source, split, low=low, high=high)


def open_for(data: DataSet | None, source: Any, normalize: str | None = None) -> LoadedModel:
    """A model that fits a data set; `normalize` is "MEAN:STD" for one that expects normalised inputs."""
    if isinstance(data, TokenSet):
        if normalize is not None:
            raise InputError(f"{data.name!r} is text: there is nothing to normalise")
        source = source.module if isinstance(source, LoadedModel) else source
        return open_language_model(source, data.shape[0], data.tokenizer.size)
    return _open(data, None if data is None else data.classes, source, normalize)


def open_first(
    data: DataSet, given: Any, source: Any, normalize: str | None = None
) -> tuple[LoadedModel, DataSet]:
    """A job's first model and the data set, whose number of classes is the model's where nobody declared it.

    The labels of a user's own tensors (`given`) show which classes occur among them, not how many there are.

    Raises:
        InputError: as `open_for`; or the labels go beyond the model's classes.
    """
    declared = data.classes is not None and isinstance(given, str | Path | DataSet)
    if declared or (isinstance(source, str) and "@" in source):  # a bare state dict is built for the data
        return open_for(data, source, normalize), data
    opened = _open(data, None, source, normalize)
    like = next((p for p in opened.module.parameters() if p.is_floating_point()), torch.zeros(()))
    with torch.no_grad():
        classes = logits_of(opened.module(data.inputs(slice(0, 1)).to(like))).shape[1]
    if data.classes is not None and classes < data.classes:
        raise InputError(
            f"{opened.source} tells {classes} classes apart, the data's labels go up to {data.classes - 1}"
        )
    return opened, replace(data, classes=classes)


def _open(data: DataSet | None, classes: int | None, source: Any, normalize: str | None) -> LoadedModel:
    statistics = None if normalize is None else parse_normalize(normalize)
    shape = None if data is None else data.shape
    low, high = (0.0, 1.0) if data is None else (data.low, data.high)
    if not isinstance(source, LoadedModel):
        return open_model(source, shape=shape, classes=classes, normalize=statistics, low=low, high=high)
    if statistics is not None:
        raise InputError(f"{source.source} is open already: state its normalisation where it is loaded")
    module = fit_to_data(
        source.module, source.source, source.config, shape=shape, classes=classes, low=low, high=high
    )
    return replace(source, module=module)


@contextmanager
def as_found(*models: object) -> Iterator[None]:
    """Modules among `models`, loaded ones too, are guests: they leave in the modes and on the device of before."""
    bare = [m.module if isinstance(m, LoadedModel) else m for m in models]
    lent = [m for m in bare if isinstance(m, nn.Module)]
    modes = [(part, part.training) for module in lent for part in module.modules()]
    places = [(module, next(module.parameters(), torch.zeros(())).device) for module in lent]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training  # not .train(): it would recurse into parts with flags of their own
        for module, device in places:
            module.to(device)
