"""A student that does not start anew: the network of a run folder, to be trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from understudy.data.dataset import DataSet
from understudy.data.text import TokenSet
from understudy.data.tokenizers import open_tokenizer
from understudy.errors import InputError
from understudy.jobs.opening import open_for
from understudy.models.config import ModelConfig
from understudy.models.runfolder import WEIGHTS


def trained_before(spec: str, data: DataSet) -> tuple[nn.Module, ModelConfig] | None:
    """(the network of the run folder `spec`, its configuration for these data); None if it is no such folder.

    Raises:
        InputError: the network does not fit the data, or has another tokenizer; or the folder is not one of ours.
    """
    if not (Path(spec) / WEIGHTS).is_file():
        return None
    if isinstance(data, TokenSet) and open_tokenizer(spec).key != data.tokenizer.key:
        raise InputError(
            f"{spec} has a tokenizer of its own: give the data that one, '{data.name}[tokenizer={spec}]'"
        )
    loaded = open_for(data, spec)
    if loaded.config is None:
        raise InputError(
            f"{spec} does not say which architecture it holds: a student starts from a run folder"
        )
    text = isinstance(data, TokenSet)
    return loaded.module, replace(loaded.config, shape=data.shape) if text else loaded.config
