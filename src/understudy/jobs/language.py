"""What a training of a language model needs beyond any other: its method's own words, and a teacher that fits."""

from __future__ import annotations

from typing import Any

from torch import nn

from understudy.data.dataset import DataSet
from understudy.data.text import TokenSet
from understudy.data.tokenizers import Tokenizer, open_tokenizer
from understudy.errors import InputError
from understudy.models.language_opening import open_language_model
from understudy.models.opening import LoadedModel
from understudy.objectives.base import Objective, Sum
from understudy.sources.base import AsIs
from understudy.training.method import Method

TEACHER = "teacher"  # the view that a teacher with another tokenizer reads


def language_method(name: Any, data: DataSet) -> Any:
    """Plain training, "ce", is on text the next token's cross-entropy, "sft"; any other method stays as it is."""
    return "sft" if name in ("ce", "none") and isinstance(data, TokenSet) else name


def fit_to_data(objective: Objective, data: DataSet) -> Objective:
    """The objective for this data: told the token that ends an answer.

    Raises:
        InputError: it reads text and the data are none, or the other way round.
    """
    text = isinstance(data, TokenSet)
    if text != objective.needs.tokens:
        what = "is text, token by token" if text else "is no text"
        reads = "text" if objective.needs.tokens else "one answer an example"
        raise InputError(f"{type(objective).__name__} reads {reads}, and data set {data.name!r} {what}")
    absent = [
        view for view in objective.needs.student if isinstance(data, TokenSet) and view not in data.tokens
    ]
    if absent and isinstance(objective.source(data.low, data.high), AsIs):
        raise InputError(
            f"{type(objective).__name__} reads the views {', '.join(objective.needs.student)}, and data set "
            f"{data.name!r} has no {', '.join(absent)}: see `understudy.data.traces`"
        )
    return _told(objective, data.end) if isinstance(data, TokenSet) else objective


def _told(objective: Objective, end: int | None) -> Objective:
    if isinstance(objective, Sum):
        return Sum(tuple((weight, _told(part, end)) for weight, part in objective.parts))
    return objective.with_end(end) if isinstance(objective, Method) else objective


def open_text_teacher(source: Any, data: TokenSet, objective: Objective) -> tuple[LoadedModel, TokenSet]:
    """The teacher, and the texts in its own tokens as well where the objective reads them.

    A model given as a module reads the data's tokens, unless the data hold a view "teacher" already.

    Raises:
        InputError: there is no such model; or it has another tokenizer than the data, and the objective compares
            token by token.
    """
    own = None if isinstance(source, nn.Module | LoadedModel) else open_tokenizer(_place(source))
    if TEACHER in objective.needs.teacher:
        if TEACHER not in data.tokens:
            data = data.beside(TEACHER, own or data.tokenizer)
        read = data.tokens[TEACHER]
        return open_language_model(_module(source), read.ids.shape[1], read.tokenizer.size), data
    if own is not None and own.key != data.tokenizer.key:
        raise InputError(
            f"{source} has a tokenizer of its own ({_size(own)}), the data's is another ({_size(data.tokenizer)}): "
            f"give the data that one, as in '{data.name}[tokenizer={source}]', or distil by uld"
        )
    return open_language_model(_module(source), data.shape[0], data.tokenizer.size), data


def _place(source: Any) -> str:
    """Where the tokenizer lies: a run folder holds it beside its model.safetensors."""
    return str(source).removesuffix("model.safetensors").rstrip("/") or "."


def _module(source: Any) -> Any:
    return source.module if isinstance(source, LoadedModel) else source


def _size(tokenizer: Tokenizer) -> str:
    return f"{tokenizer.size} tokens"
