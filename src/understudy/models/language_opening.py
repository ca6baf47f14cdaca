"""Opening a language model by any of the forms that `open_model` takes, for a set of texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from understudy.errors import InputError
from understudy.models import saved
from understudy.models.language import fit_to_text, open_causal
from understudy.models.opening import LoadedModel, open_model
from understudy.models.runfolder import is_transformers


def open_language_model(source: str | Path | nn.Module, length: int, vocabulary: int) -> LoadedModel:
    """A model from tokens (B, L) to logits (B, L, V), in eval mode.

    `source` is a run folder, a safetensors file of ours, a transformers folder, "hf:ID_OR_FOLDER",
    "module:callable" or a module.

    Args:
        length: L of the rows it will read; checked by one forward pass.
        vocabulary: how many tokens it must know; more are fine (a padded head).

    Raises:
        InputError: there is no such model, or it does not fit the texts.
    """
    name = str(source)
    if isinstance(source, str | Path) and (name.startswith("hf:") or _is_transformers(name)):
        module: nn.Module = open_causal(name.removeprefix("hf:"))
        loaded = LoadedModel(module, name, saved.sha256_state(module), saved.count_parameters(module))
    else:
        loaded = open_model(source)
    config = loaded.config
    if config is not None and config.classes < vocabulary:
        raise InputError(f"{loaded.source} knows {config.classes} tokens, the text has {vocabulary}")
    return replace(loaded, module=fit_to_text(loaded.module.eval(), loaded.source, length, vocabulary))


def _is_transformers(name: str) -> bool:
    return Path(name).is_dir() and is_transformers(Path(name))
