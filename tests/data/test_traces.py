"""Good and bad traces: how attempts are divided, read from files, and shown as two views."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from understudy.data import load_data
from understudy.data.text import TokenSet
from understudy.data.tokenizers import train_tokenizer
from understudy.data.traces import BAD, Problem, Trace, Triple, divide, from_triples
from understudy.errors import InputError

pytest.importorskip("tokenizers")

PROBLEMS = [
    Problem("1+1=", (Trace("2", True), Trace("3", False), Trace("4", None), Trace("two", True))),
    Problem("2+2=", (Trace("4", True),)),
    Problem("3+3=", (Trace("5", False),)),
]


def test_right_attempts_are_for_the_first_stage_and_one_pair_a_problem_for_the_second() -> None:
    pairs, triples = divide(PROBLEMS)
    assert pairs == [("1+1=", "2"), ("1+1=", "two"), ("2+2=", "4")]
    ((prompt, good, bad),) = triples
    assert (prompt, good in ("2", "two"), bad in ("3", "4")) == ("1+1=", True, True)


def test_what_is_drawn_depends_on_the_seed_and_the_problem_alone() -> None:
    many = [Problem(f"{n}", tuple(Trace(f"{i}", i % 2 == 0) for i in range(10))) for n in range(20)]
    triples = divide(many, 3)[1]
    assert divide(many[::-1], 3)[1] == triples[::-1]
    assert divide(many, 4)[1] != triples
    assert len({triple.good for triple in triples}) > 2


def test_the_two_traces_are_two_views_of_a_row() -> None:
    tokenizer = train_tokenizer([])
    found = from_triples([Triple("a:", "bc", "d"), Triple("ef:", "g", "hijk")], tokenizer)
    masks = found.masks(slice(None))
    for view, texts in (("clean", ("bc", "g")), (BAD, ("d", "hijk"))):
        tokens, mask = found.views(slice(None))[view], masks[view]
        for row, text in enumerate(texts):
            said = tokens[row].roll(-1)[mask[row]].tolist()
            assert tokenizer.decode(said) == text
            assert said[-1] == tokenizer.end
    cut = found.rows(torch.tensor([1]))
    assert torch.equal(cut.views(slice(None))[BAD], found.views(slice(None))[BAD][1:])
    assert cut.fingerprint() != found.fingerprint()


def test_what_is_too_long_is_left_out_whole() -> None:
    triples = [Triple("a:", "bc", "d"), Triple("ef:", "g", "hijk")]
    with pytest.warns(UserWarning, match="1 of 2 problems have a trace beyond length=5"):
        found = from_triples(triples, train_tokenizer([]), length=5)
    assert [pair.prompt for pair in found.pairs] == ["a:"]
    with pytest.raises(InputError, match="no traces of at most length=3 tokens"):
        from_triples(triples, train_tokenizer([]), length=3)


@pytest.mark.parametrize("triples", [[], [Triple("a", "", "b")]])
def test_nothing_and_empty_parts_are_refused(triples: list[Triple]) -> None:
    with pytest.raises(InputError, match=r"holds no traces|must not be empty"):
        from_triples(triples, train_tokenizer([]))


def written(place: Path, rows: list[object]) -> str:
    file = place / "traces.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(file)


def test_files_of_both_forms_are_read_by_name(tmp_path: Path) -> None:
    found = load_data(written(tmp_path, [{"prompt": "a:", "good": "b", "bad": "c"}]), "train")
    assert isinstance(found, TokenSet)
    assert set(found.tokens) == {"clean", BAD}
    attempts = [
        {"problem": p, "traces": [{"text": text, "ok": ok} for text, ok in traces]} for p, traces in PROBLEMS
    ]
    found = load_data(written(tmp_path, attempts), "train")
    assert isinstance(found, TokenSet)
    assert [pair.prompt for pair in found.pairs] == ["1+1="]


@pytest.mark.parametrize(
    "row",
    [{"prompt": "a:", "good": "b"}, {"problem": "a:", "traces": [{"text": "b"}]}],
    ids=["pair", "attempts"],
)
def test_a_row_that_lacks_something_is_named(row: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold"):
        load_data(written(tmp_path, [row]), "train")
