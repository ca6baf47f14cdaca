"""`Tokenizer`: from text to tokens and back. Byte-level, trained here, or the one that a model came with.

It is the library `tokenizers` behind a few methods, and is saved in that library's own JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from understudy.data.cache import content_key
from understudy.errors import InputError
from understudy.numbers import check_number

FILE = "tokenizer.json"
PAD, END = "<|pad|>", "<|end|>"
BYTES = 258  # all bytes, padding and the end of an answer: the smallest vocabulary that can say anything


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A vocabulary and how text is cut into it.

    Attributes:
        description: the content of a tokenizer.json, as the library `tokenizers` reads it.
        end: the token that ends an answer, or None if there is none.
        pad: the token that fills rows up; what it is changes nothing, it is never read.
    """

    description: str = field(repr=False)
    end: int | None
    pad: int

    @cached_property
    def _inner(self) -> Any:
        return _library().Tokenizer.from_str(self.description)

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return int(self._inner.get_vocab_size(with_added_tokens=True))

    @property
    def key(self) -> str:
        """SHA-256 of what it does: two tokenizers with the same key give the same tokens."""
        about = json.dumps(json.loads(self.description), sort_keys=True)
        return content_key(["tokenizer", about, repr((self.end, self.pad))])

    def encode(self, text: str, *, opening: bool = False) -> list[int]:
        """The tokens of a text; with `opening` behind those that the tokenizer puts in front of a text, if any."""
        return list(self._inner.encode(text, add_special_tokens=opening).ids)

    def spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens of a text and where each lies in it, as (first character, one past the last)."""
        found = self._inner.encode(text, add_special_tokens=False)
        return list(found.ids), list(found.offsets)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, without those that are no text (padding, end)."""
        return str(self._inner.decode(list(tokens), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json into a folder. Raises InputError if it cannot be written."""
        about = {"end": self.end, "pad": self.pad, "tokenizer": json.loads(self.description)}
        try:
            (folder / FILE).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            raise InputError(f"could not write {folder / FILE}: {error.strerror or error}") from error


def train_tokenizer(texts: Iterable[str], vocabulary: int = BYTES) -> Tokenizer:
    """Byte-pair encoding on bytes, with as many merges as `vocabulary` leaves room for; 258 is bytes alone.

    Raises:
        InputError: a vocabulary below 258, or `tokenizers` is not installed.
    """
    check_number("vocabulary", vocabulary, BYTES)
    library = _library()
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = library.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts if vocabulary > BYTES else [], trainer)
    return Tokenizer(made.to_str(), made.token_to_id(END), made.token_to_id(PAD))


def open_tokenizer(source: str | Path) -> Tokenizer:
    """The tokenizer of a run folder of ours, of a transformers folder, or with "hf:ID" of a model of the hub.

    Raises:
        InputError: there is none, or it is not of the kind that the library `tokenizers` reads.
    """
    name = str(source)
    file = Path(name) / FILE
    if not name.startswith("hf:") and file.is_file():
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise InputError(f"{file} is not JSON: {error}") from error
        if isinstance(about, dict) and {"end", "pad", "tokenizer"} <= about.keys():
            return Tokenizer(json.dumps(about["tokenizer"], ensure_ascii=False), about["end"], about["pad"])
    elif not name.startswith("hf:"):
        raise InputError(f"{name} has no {FILE}: a language model's folder holds its tokenizer")
    return _foreign(name.removeprefix("hf:"))


def _foreign(name: str) -> Tokenizer:
    """The tokenizer that a transformers model came with; code that comes with it is never run."""
    try:
        from transformers import AutoTokenizer
    except ImportError as missing:
        raise InputError(
            f"{name} needs transformers ({missing}): pip install 'understudy[language]'"
        ) from missing
    try:
        found: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"transformers cannot open the tokenizer of {name!r}: {message}") from error
    inner = getattr(found, "backend_tokenizer", None)
    if inner is None:
        raise InputError(f"the tokenizer of {name!r} is {type(found).__name__}, which is not a fast one")
    pad = next((t for t in (found.pad_token_id, found.eos_token_id) if t is not None), 0)
    return Tokenizer(inner.to_str(), found.eos_token_id, pad)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as missing:
        raise InputError(
            f"text needs tokenizers ({missing}): pip install 'understudy[language]'"
        ) from missing
    return tokenizers
