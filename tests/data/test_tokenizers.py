"""Tokenizers: bytes, merges, the same again, saved and opened, and those of other libraries' models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.data.tokenizers import BYTES, open_tokenizer, train_tokenizer
from understudy.errors import InputError

tokenizers = pytest.importorskip("tokenizers")

TEXT = "the cat sat on the mat\nthe bät saw the cat, and the cat saw it: 3 + 4 = 7\n"


def test_bytes_alone_say_any_text() -> None:
    tokenizer = train_tokenizer([], BYTES)
    assert tokenizer.size == 258
    assert len(tokenizer.encode(TEXT)) == len(TEXT.encode())
    for text in (TEXT, "", "\x00 \t\r\n", "日本語 🦊"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_merges_make_a_text_shorter_and_lose_nothing() -> None:
    tokenizer = train_tokenizer([TEXT] * 3, 280)
    assert tokenizer.size == 280
    assert len(tokenizer.encode(TEXT)) < 0.6 * len(TEXT.encode())
    assert tokenizer.decode(tokenizer.encode("unseen: ÿ🦊")) == "unseen: ÿ🦊"


def test_spans_say_where_a_token_lies() -> None:
    tokenizer = train_tokenizer([TEXT] * 3, 280)
    tokens, spans = tokenizer.spans(TEXT)
    assert tokens == tokenizer.encode(TEXT)
    assert spans[-1][1] == len(TEXT)
    plain = [
        (token, span) for token, span in zip(tokens, spans, strict=True) if TEXT[span[0] : span[1]].isascii()
    ]
    assert all(tokenizer.decode([token]) == TEXT[first:stop] for token, (first, stop) in plain)


def test_special_tokens_are_no_text() -> None:
    tokenizer = train_tokenizer([], BYTES)
    assert tokenizer.end is not None
    assert {tokenizer.end, tokenizer.pad} == {0, 1}
    assert tokenizer.decode([*tokenizer.encode("a"), tokenizer.end, tokenizer.pad]) == "a"


def test_training_twice_gives_the_same_tokenizer_in_another_process_too() -> None:
    code = (
        "from understudy.data.tokenizers import train_tokenizer;"
        f"print(train_tokenizer([{TEXT!r}] * 3, 280).key)"
    )
    keys = {train_tokenizer([TEXT] * 3, 280).key}
    environment = {**os.environ, "PYTHONHASHSEED": "1", "RAYON_NUM_THREADS": "3"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    keys.add(run.stdout.strip())
    assert len(keys) == 1


def test_a_tokenizer_is_saved_as_json_and_opened_again(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([TEXT] * 3, 280)
    tokenizer.save(tmp_path)
    json.loads((tmp_path / "tokenizer.json").read_text())
    again = open_tokenizer(tmp_path)
    assert again.key == tokenizer.key
    assert (again.encode(TEXT), again.end, again.pad) == (
        tokenizer.encode(TEXT),
        tokenizer.end,
        tokenizer.pad,
    )
    assert train_tokenizer([], BYTES).key != tokenizer.key


def test_the_tokenizer_of_a_transformers_folder_is_opened(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    inner = tokenizers.Tokenizer.from_str(train_tokenizer([TEXT] * 3, 280).description)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")
    fast.save_pretrained(tmp_path)
    found = open_tokenizer(tmp_path)
    assert found.end == 1
    assert found.pad == 1  # it names none, so what ends a text fills it up
    assert found.decode(found.encode(TEXT)) == TEXT
    assert open_tokenizer(f"hf:{tmp_path}").encode(TEXT) == found.encode(TEXT)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        open_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        open_tokenizer(tmp_path)
    with pytest.raises(InputError, match="vocabulary must be a finite number of at least 258, found 257"):
        train_tokenizer([], 257)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'understudy\[language\]'"):
        train_tokenizer([], BYTES)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not write"):
        train_tokenizer([], BYTES).save(tmp_path / "nowhere")
