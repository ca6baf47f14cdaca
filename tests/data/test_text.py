"""Texts as rows of tokens: which positions count, two tokenisations of one text, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.data.loader import batches, in_order
from understudy.data.text import TokenSet, from_pairs, from_running
from understudy.data.token_rows import meeting
from understudy.data.tokenizers import Tokenizer, train_tokenizer
from understudy.errors import InputError

pytest.importorskip("tokenizers")

WORDS = "the cat sat on the mat\nthe bät saw the cat, and the cat saw it\n"
BYTES, MERGED = train_tokenizer([]), train_tokenizer([WORDS] * 3, 290)
PAIRS = [("2 + 2\n", "4"), ("the cat\n", "sat on the mät"), ("a\n", "b")]
ANY = slice(None)


def said(texts: TokenSet, view: str, row: int, tokenizer: Tokenizer) -> str:
    """The text whose tokens are asked for at the positions that count."""
    following = texts.views(ANY)[view].roll(-1, 1)
    return tokenizer.decode(following[row][texts.masks(ANY)[view][row]].tolist())


@pytest.mark.parametrize("tokenizer", [BYTES, MERGED], ids=["bytes", "merges"])
def test_what_counts_is_the_answer_and_its_end(tokenizer: Tokenizer) -> None:
    texts = from_pairs(PAIRS, tokenizer)
    assert texts.inputs(ANY).dtype == torch.int64
    for row, (prompt, answer) in enumerate(PAIRS):
        assert said(texts, "clean", row, tokenizer) == answer
        mask, tokens = texts.masks(ANY)["clean"][row], texts.stored[row]
        first, last = int(mask.int().argmax()), int(mask.nonzero()[-1])
        assert tokenizer.decode(tokens[: first + 1].tolist()) == prompt
        assert tokens[last + 1] == tokenizer.end == texts.end
        assert bool(mask[first : last + 1].all())
        assert bool((tokens[last + 2 :] == tokenizer.pad).all())
    assert not texts.masks(ANY)["clean"][:, -1].any()


def test_the_length_is_what_the_longest_needs_and_a_smaller_one_cuts_answers() -> None:
    assert from_pairs(PAIRS, BYTES).shape == (len(b"the cat\n") + len("sat on the mät".encode()) + 1,)
    texts = from_pairs(PAIRS, BYTES, length=12)
    assert texts.shape == (12,)
    assert said(texts, "clean", 1, BYTES) == "sat "
    assert said(texts, "clean", 0, BYTES) == "4"


def test_prompts_that_fill_a_row_are_left_out_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="1 of 3 prompts fill length=8 tokens and are left out"):
        texts = from_pairs(PAIRS, BYTES, length=8)
    assert [pair.prompt for pair in texts.pairs] == ["2 + 2\n", "a\n"]
    assert len(texts) == 2


def test_running_text_is_cut_into_pieces_of_one_length() -> None:
    texts = from_running(WORDS, MERGED, length=7, prompt=2)
    assert "".join("".join(pair) for pair in texts.pairs) == WORDS[: sum(map(len, map("".join, texts.pairs)))]
    assert texts.masks(ANY)["clean"].sum(1).tolist() == [5] * len(texts)
    assert texts.end is None
    for row, pair in enumerate(texts.pairs):
        if pair.answer.isascii():
            assert said(texts, "clean", row, MERGED) == pair.answer


def check_meetings(texts: TokenSet, row: int) -> None:
    """Where the two masks of a meeting count, both have read the same characters of the answer."""
    read = []
    for view, name, tokenizer in zip(
        ("clean", "teacher"), meeting("clean", "teacher"), (MERGED, BYTES), strict=True
    ):
        begin, tokens = int(texts.tokens[view].begin[row]), texts.tokens[view].ids[row]
        places = texts.masks(ANY)[name][row].nonzero()[:, 0].tolist()
        assert set(places) <= set(texts.masks(ANY)[view][row].nonzero()[:, 0].tolist())
        read.append([tokenizer.decode(tokens[begin : place + 1].tolist()) for place in places])
    assert read[0] == read[1]
    assert read[0][0] == ""
    assert len(set(read[0])) == len(read[0])
    assert all(texts.pairs[row].answer.startswith(part) for part in read[0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet="the catsäon🦊\n", min_size=1, max_size=20), min_size=1, max_size=4))
def test_two_tokenisations_meet_where_both_have_read_the_same(answers: list[str]) -> None:
    texts = from_pairs([("q\n", answer) for answer in answers], MERGED).beside("teacher", BYTES)
    for row in range(len(answers)):
        check_meetings(texts, row)
        assert said(texts, "teacher", row, BYTES) == answers[row] == said(texts, "clean", row, MERGED)
        ours = texts.masks(ANY)[meeting("clean", "teacher")[0]][row].sum()
        whole = sum(1 for n, place in enumerate(texts.tokens["clean"].read[row].tolist()) if place >= 0)
        assert int(ours) == whole  # bytes read every character that merges have read


def test_a_token_that_begins_inside_a_character_is_no_meeting() -> None:
    """The second byte of a letter merged with what follows it: behind the first byte no whole letter was read."""
    merged = train_tokenizer(["ät Ĥt Ťt " * 9], 259)  # three letters that end in one byte
    texts = from_pairs([("q\n", "ät")], merged).beside("teacher", BYTES)
    tokens = [merged.decode([token]) for token in merged.encode("ät")]
    assert tokens == ["\ufffd", "\ufffdt"]
    assert texts.tokens["clean"].read[0].tolist() == [-1, 0, -1, 2, -1]
    assert texts.tokens["teacher"].read[0].tolist() == [-1, 0, -1, 1, 2, -1]


def test_a_view_of_its_own_for_the_same_tokenizer_is_the_same() -> None:
    texts = from_pairs(PAIRS, MERGED).beside("teacher", MERGED)
    masks = texts.masks(ANY)
    assert torch.equal(masks["clean"], masks["teacher"])
    assert torch.equal(texts.views(ANY)["clean"], texts.views(ANY)["teacher"])


def test_batches_carry_views_and_masks_of_their_own_rows() -> None:
    texts = from_pairs(PAIRS, MERGED).beside("teacher", BYTES)
    for item in batches(texts, batch_size=2, seed=0, epoch=0):
        batch = item.batch
        for name, view in batch.views.items():
            assert torch.equal(view, texts.tokens[name].ids[batch.index])
        assert set(batch.masks) == {"clean", "teacher", *meeting("clean", "teacher")}
        assert torch.equal(batch.masks["clean"], texts.masks(ANY)["clean"][batch.index])
    assert torch.equal(torch.cat([b.clean for b in in_order(texts, 2)]), texts.stored)
    view = texts.views(ANY)["clean"]
    view.zero_()
    assert texts.stored.any()


def test_some_of_the_texts_are_a_set_of_their_own() -> None:
    texts = from_pairs(PAIRS, MERGED).beside("teacher", BYTES)
    for some in (texts.take(2), texts.rows(torch.tensor([0, 1]))):
        assert some.pairs == texts.pairs[:2]
        assert torch.equal(some.stored, texts.stored[:2])
        assert torch.equal(some.masks(ANY)["teacher"], texts.masks(slice(0, 2))["teacher"])
    assert texts.take(2).fingerprint() == texts.rows(torch.tensor([0, 1])).fingerprint()
    left, right = texts.split_off(1 / 3, seed=0)
    assert right is not None
    assert sorted([*left.pairs, *right.pairs]) == sorted(texts.pairs)  # type: ignore[attr-defined]


def test_the_fingerprint_knows_tokens_answers_and_tokenizers() -> None:
    plain = from_pairs(PAIRS, BYTES)
    others = [
        from_pairs(PAIRS, MERGED),
        from_pairs([*PAIRS[:2], ("ab", "\n")], BYTES),
        from_pairs([*PAIRS[:2], ("a", "\nb")], BYTES),
        plain.beside("teacher", MERGED),
        plain.take(2),
    ]
    found = [texts.fingerprint() for texts in (plain, from_pairs(PAIRS, BYTES), *others)]
    assert found[0] == found[1]
    assert len(set(found)) == 1 + len(others)


def test_what_is_no_text_is_named() -> None:
    for pairs, says in [([], "holds no texts"), ([("", "a")], "must not be empty, found .* at row 0")]:
        with pytest.raises(InputError, match=says):
            from_pairs(pairs, BYTES)
    with pytest.raises(InputError, match="every prompt fills length=1 tokens"):
        from_pairs(PAIRS, BYTES, length=1)
    with pytest.raises(InputError, match="holds 3 tokens, fewer than length=64"):
        from_running("abc", BYTES)
    with pytest.raises(InputError, match="prompt must be from 1 to 6, found 7"):
        from_running(WORDS, BYTES, length=7, prompt=7)
    with pytest.raises(InputError, match="a prompt of 'texts' fills 3 tokens of the view 'teacher'"):
        from_pairs(PAIRS, MERGED).beside("teacher", BYTES, 3)
    with pytest.raises(InputError, match="at least one example"):
        from_pairs(PAIRS, BYTES).take(0)
