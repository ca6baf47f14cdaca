"""Texts by name and path: what each set holds, its options, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from understudy.data import load_data
from understudy.data.text import TokenSet
from understudy.data.text_named import is_text
from understudy.data.tokenizers import train_tokenizer
from understudy.errors import InputError

pytest.importorskip("tokenizers")


def texts(source: str, split: str = "train", root: Path | None = None) -> TokenSet:
    found = load_data(source, split, data_root=root)
    assert isinstance(found, TokenSet)
    return found


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    file = tmp_path / "novel.txt"
    file.write_text("".join(f"{n} and {n + 1}. " for n in range(200)))
    return file


@pytest.mark.data
@pytest.mark.parametrize("name", ["gsm8k", "svamp", "multi30k"])
def test_a_named_set_is_read_as_prompts_and_answers(name: str, data_root: Path) -> None:
    with pytest.warns(UserWarning, match="are left out"):
        found = texts(f"{name}[length=120]", "test", data_root)
    assert found.shape == (120,)
    assert found.classes == 258
    assert all(pair.prompt.endswith("\n") and pair.answer for pair in found.pairs)
    starts = {
        "gsm8k": "A robe takes 2 bolts of blue fiber",
        "svamp": "Dan had $ 3 left with him after he bought a candy bar. If he had $ 4 at the start. How much",
        "multi30k": "A man in an orange hat",
    }
    assert found.pairs[0].prompt.startswith(starts[name])
    if name == "svamp":
        assert all(pair.answer.lstrip("-").replace(".", "").isdigit() for pair in found.pairs)


@pytest.mark.data
def test_running_text_splits_and_its_tokenizer_is_the_training_splits(data_root: Path) -> None:
    train, test = (
        texts("tinyshakespeare[length=32,vocabulary=300,prompt=4]", s, data_root) for s in ("train", "test")
    )
    assert train.tokenizer.key == test.tokenizer.key
    assert train.classes == 300
    assert train.pairs[0].prompt.startswith("First")
    assert 8 < len(train) / len(test) < 10
    assert bool((test.masks(slice(None))["clean"].sum(1) == 28).all())


def test_a_file_of_running_text(novel: Path) -> None:
    train, test = texts(f"{novel}[length=16]"), texts(f"{novel}[length=16]", "test")
    whole = "".join("".join(pair) for pair in train.pairs)
    assert novel.read_text().startswith(whole)
    assert "".join(test.pairs[0]) not in whole
    assert texts(str(novel)).shape == (64,)


def test_a_file_of_prompts_and_answers(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(30)]
    file = tmp_path / "sums.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    found = texts(str(file))
    assert [tuple(pair) for pair in found.pairs] == [tuple(row.values()) for row in rows]


def test_the_tokenizer_of_a_run_is_used_where_it_is_named(novel: Path, tmp_path: Path) -> None:
    train_tokenizer(["and "] * 20, 260).save(tmp_path)
    assert texts(f"{novel}[tokenizer={tmp_path}]").classes == 260


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("novel.txt[width=3]", "unknown option of a text 'width'"),
        ("novel.txt[length]", "option=value, found 'length'"),
        ("novel.txt[length=many]", "length of .* must be a whole number, found 'many'"),
        ("novel.txt[vocabulary=100]", "at least 258, found 100"),
        ("missing.txt", "cannot be read"),
        ("sums.jsonl[prompt=4]", "prompt= is for running text"),
        ("sums.jsonl", "must hold a"),
        ("missing.jsonl", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named(
    source: str, says: str, novel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(novel.parent)
    (novel.parent / "sums.jsonl").write_text('{"prompt": "1"}\n')
    with pytest.raises(InputError, match=says):
        texts(source)


def test_a_set_that_is_not_here_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_DATA", raising=False)
    for name in ("gsm8k", "tinyshakespeare"):
        with pytest.raises(InputError, match=f"a folder ROOT that holds {name}/"):
            texts(name)
        with pytest.raises(InputError, match=f"a folder ROOT that holds {name}/"):
            texts(name, root=tmp_path)


@pytest.mark.data
def test_a_split_that_is_none_is_named(data_root: Path) -> None:
    for name in ("svamp", "tinyshakespeare"):
        with pytest.raises(InputError, match=f"unknown split of {name} 'validation'"):
            texts(name, "validation", data_root)


def test_what_is_a_text_is_told_by_its_name() -> None:
    assert all(map(is_text, ["gsm8k", "tinyshakespeare[length=8]", "a/b.txt", "c.jsonl[length=4]"]))
    assert not any(map(is_text, ["digits", "folder", "owner/name", "x.parquet"]))


def test_texts_are_integers_all_the_way(novel: Path) -> None:
    found = texts(str(novel))
    assert found.inputs(torch.tensor([1, 0])).dtype == torch.int64
    assert torch.equal(found.inputs(torch.tensor([1, 0])), found.stored[[1, 0]])
