"""Texts by name or path: what `--data` takes for a language model.

`NAME` or `NAME[option=value,...]`, where NAME is tinyshakespeare, gsm8k, svamp, multi30k, or the path of a .txt file
(running text) or of a .jsonl file of {"prompt": ..., "answer": ...}, or of `data.traces`. The options:

    length       tokens a row; what is longer is cut
    prompt       of running text: tokens of a piece that are given and not asked for
    vocabulary   of the tokenizer that is trained on the training split; 258 (the default) is bytes
    tokenizer    of a run folder, a transformers folder or hf:ID, instead
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from understudy.data.parquet import splits_in
from understudy.data.text import TokenSet, from_pairs, from_running
from understudy.data.tokenizers import BYTES, Tokenizer, open_tokenizer, train_tokenizer
from understudy.data.traces import from_triples, read_triples
from understudy.errors import InputError, unknown
from understudy.numbers import check_number

RUNNING_TRAIN = 0.9  # share of a running text, from its start, that is for training

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """A named set of prompts and answers: the columns it is read from, and how they make a pair."""

    columns: tuple[str, ...]
    pair: Callable[[Row], tuple[str, str]]
    length: int


PAIRS: dict[str, Columns] = {
    "gsm8k": Columns(("question", "answer"), lambda row: (row["question"] + "\n", row["answer"]), 512),
    "svamp": Columns(
        ("Body", "Question", "Answer"),
        lambda row: (
            f"{row['Body'].rstrip('. ')}. {row['Question']}\n",
            str(row["Answer"]).removesuffix(".0"),
        ),
        320,
    ),
    "multi30k": Columns(("en", "de"), lambda row: (row["en"] + "\n", row["de"]), 192),
}
RUNNING = {"tinyshakespeare": "input.txt"}
TEXTS = (*RUNNING, *PAIRS)


@dataclass(frozen=True)
class Options:
    """What stands in the brackets."""

    length: int | None = None
    prompt: int = 1
    vocabulary: int = BYTES
    tokenizer: str | None = None


def is_text(source: str) -> bool:
    """Whether a name or path is one of a text."""
    name = _split(source)[0]
    return name in TEXTS or name.endswith((".txt", ".jsonl"))


def load_text(source: str, split: str, root: Path | None) -> TokenSet:
    """A set of texts by name or path.

    Args:
        root: the folder that holds a named set as `ROOT/NAME/{split}-*.parquet` (tinyshakespeare: input.txt).

    Raises:
        InputError: there is no such set, split or option; or as `from_pairs` and `from_running`.
    """
    name, inside = _split(source)
    options = _options(source, inside)
    if name in PAIRS:
        known = PAIRS[name]
        return _pairs(name, split, options, known.length, lambda s: _read_rows(name, s, root, known))
    if name.endswith(".jsonl") and (triples := read_triples(Path(name))) is not None:
        tokenizer = _tokenizer(options, lambda: [part for triple in triples for part in triple])
        called = {"name": Path(name).name, "split": split}
        return from_triples(triples, tokenizer, **called, length=options.length)
    if name.endswith(".jsonl"):
        return _pairs(Path(name).name, split, options, None, lambda _: _read_jsonl(Path(name)))
    if name in RUNNING:
        if root is None:
            raise InputError(f"{name} is not on this machine: {_where(name)}")
        return _running(name, root / name / RUNNING[name], split, options)
    return _running(Path(name).name, Path(name).expanduser(), split, options)


def _split(source: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"\s*([^\[\]]+?)\s*(?:\[(.*)\])?\s*", source)
    return (source, None) if match is None else (match[1], match[2])


def _options(source: str, inside: str | None) -> Options:
    found: dict[str, Any] = {}
    known = [f.name for f in fields(Options)]
    for part in (inside or "").split(",") if (inside or "").strip() else ():
        name, equals, value = (x.strip() for x in part.partition("="))
        if not equals:
            raise InputError(f"the options of a text are option=value, found {part!r} in {source!r}")
        if name not in known:
            raise unknown("option of a text", name, known)
        if name != "tokenizer" and not value.isdecimal():
            raise InputError(f"{name} of {source!r} must be a whole number, found {value!r}")
        found[name] = value if name == "tokenizer" else int(value)
    check_number("vocabulary", found.get("vocabulary", BYTES), BYTES)
    return Options(**found)


def _tokenizer(options: Options, texts: Callable[[], Sequence[str]]) -> Tokenizer:
    if options.tokenizer is not None:
        return open_tokenizer(options.tokenizer)
    return train_tokenizer(texts() if options.vocabulary > BYTES else (), options.vocabulary)


def _running(name: str, file: Path, split: str, options: Options) -> TokenSet:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"text {name!r} cannot be read: {error}. {_where(name)}") from error
    cut = int(RUNNING_TRAIN * len(text))
    parts = {"train": text[:cut], "test": text[cut:]}
    if split not in parts:
        raise unknown(f"split of {name}", split, parts)
    tokenizer = _tokenizer(options, lambda: [parts["train"]])
    length = 64 if options.length is None else options.length
    try:
        return from_running(
            parts[split], tokenizer, name=name, split=split, length=length, prompt=options.prompt
        )
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _pairs(
    name: str, split: str, options: Options, length: int | None, read: Callable[[str], list[tuple[str, str]]]
) -> TokenSet:
    if options.prompt != 1:
        raise InputError(f"{name} holds prompts and answers: prompt= is for running text")
    pairs = read(split)
    trained_on = lambda: [part for pair in (pairs if split == "train" else read("train")) for part in pair]  # noqa: E731
    tokenizer = _tokenizer(options, trained_on)
    length = length if options.length is None else options.length
    return from_pairs(pairs, tokenizer, name=name, split=split, length=length)


def _read_rows(name: str, split: str, root: Path | None, known: Columns) -> list[tuple[str, str]]:
    import pyarrow.parquet as pq

    splits = {} if root is None else splits_in(root / name)
    if not splits:
        raise InputError(f"{name} is not on this machine: {_where(name)}")
    if split not in splits:
        raise unknown(f"split of {name}", split, splits)
    rows = [
        row for file in splits[split] for row in pq.read_table(file, columns=list(known.columns)).to_pylist()
    ]
    return [known.pair(row) for row in rows]


def _read_jsonl(file: Path) -> list[tuple[str, str]]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(str(row["prompt"]), str(row["answer"])) for row in rows]
    except OSError as error:
        raise InputError(f"text {str(file)!r} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{file} must hold a {{"prompt": ..., "answer": ...}} a line: {error}') from error


def _where(name: str) -> str:
    return f"give a folder ROOT that holds {name}/, as UNDERSTUDY_DATA, --data-root or data_root="
