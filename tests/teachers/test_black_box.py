"""Text teachers: a local model, and a cache that asks nothing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from understudy.data.tokenizers import train_tokenizer
from understudy.errors import InputError
from understudy.teachers.black_box import Cached, LocalTeacher, TextTeacher

pytest.importorskip("tokenizers")


class Parrot(TextTeacher):
    """Repeats what it is told, and notes what it was asked; says no at `stop`."""

    def __init__(self, stop: str | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self.stop = stop

    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        if self.stop in prompts:
            raise InputError("no")
        self.asked += [(prompt, draw) for prompt in prompts]
        return [f"{prompt}{draw}!\n\u2028" for prompt in prompts]


def test_nothing_is_asked_twice_within_a_run_or_by_another(tmp_path: Path) -> None:
    first, file = Parrot(), tmp_path / "deep" / "answers.jsonl"
    cached = Cached(first, file)
    assert cached.answer(["a", "b", "a"]) == ["a0!\n\u2028", "b0!\n\u2028", "a0!\n\u2028"]
    assert cached.answer(["b"]) == ["b0!\n\u2028"]
    assert first.asked == [("a", 0), ("b", 0)]
    second = Parrot()
    assert Cached(second, file).answer(["b", "c"]) == ["b0!\n\u2028", "c0!\n\u2028"]
    assert second.asked == [("c", 0)]


def test_another_draw_and_another_teacher_are_asked_anew(tmp_path: Path) -> None:
    class Other(Parrot):
        """Of another class, so of another key."""

    file, one, other = tmp_path / "answers.jsonl", Parrot(), Other()
    Cached(one, file).answer(["a"])
    assert Cached(one, file).answer(["a"], draw=1) == ["a1!\n\u2028"]
    Cached(other, file).answer(["a"])
    assert (one.asked, other.asked) == ([("a", 0), ("a", 1)], [("a", 0)])


def test_what_was_answered_before_a_failure_is_kept_and_a_torn_line_dropped(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    with pytest.raises(InputError, match="no"):
        Cached(Parrot(stop="c"), file).answer(["a", "b", "c", "d"])
    with open(file, "a", encoding="utf-8") as handle:
        handle.write('{"key": "torn", "pro')
    again = Parrot()
    cached = Cached(again, file)
    assert cached.answer(["a", "b", "c", "d"])[2] == "c0!\n\u2028"
    assert ("a", 0) not in again.asked
    assert again.asked[0][0] in ("c", "d")
    assert all(
        set(json.loads(line)) == {"key", "prompt", "answer"} for line in file.read_text().split("\n") if line
    )


def test_parts_and_workers_change_nothing_but_the_calls(tmp_path: Path) -> None:
    prompts = [f"p{n}" for n in range(23)]
    teacher = Parrot()
    cached = Cached(teacher, tmp_path / "answers.jsonl", together=4, workers=3)
    assert cached.answer(prompts) == [f"p{n}0!\n\u2028" for n in range(23)]
    assert sorted(p for p, _ in teacher.asked) == sorted(prompts)


@pytest.mark.parametrize("content", ["[1]\n", "no json\n", '{"key": "a"}\n'])
def test_a_file_of_something_else_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match="holds no answers of a text teacher"):
        Cached(Parrot(), file)


class Next(nn.Module):
    """Says the byte that follows in the alphabet, and the end behind "z"; not sure at all with `flat`."""

    def __init__(self, end: int, of: dict[int, int], size: int, flat: bool = False) -> None:
        super().__init__()
        table = torch.zeros(size, size)
        for token, following in of.items():
            table[token, following] = 1.0 if flat else 50.0
        self.table = nn.Parameter(table)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]


def alphabet(flat: bool = False, **more: object) -> LocalTeacher:
    tokenizer = train_tokenizer([])
    assert tokenizer.end is not None
    letters = [tokenizer.encode(chr(n))[0] for n in range(ord("a"), ord("z") + 1)]
    of = dict(zip(letters, [*letters[1:], tokenizer.end], strict=True))
    return LocalTeacher(Next(tokenizer.end, of, tokenizer.size, flat), tokenizer, **more)  # type: ignore[arg-type]


def test_a_local_model_answers_each_prompt_to_its_end_or_its_limit() -> None:
    teacher = alphabet(temperature=0.0, max_tokens=5)
    assert teacher.answer(["abcx", "y", "a"]) == ["yz", "z", "bcdef"]
    assert teacher.sampled(0.0, 3, whole=True).answer(["abcx", "y", "a"]) == ["yz", "z", ""]
    assert alphabet(temperature=0.0, length=4).answer(["a", "abcdef"]) == ["bcd", ""]


def test_its_draws_belong_to_prompt_draw_and_seed() -> None:
    teacher = alphabet(flat=True, temperature=1.0, max_tokens=4, batch=2)
    together = teacher.answer(["a", "bc", "defg"])
    assert together == [teacher.answer([prompt])[0] for prompt in ("a", "bc", "defg")]
    assert teacher.answer(["a"], draw=1) != teacher.answer(["a"])
    assert alphabet(flat=True, temperature=1.0, max_tokens=4, seed=1).answer(["a"]) != teacher.answer(["a"])


def test_its_key_tells_weights_and_sampling() -> None:
    keys = {alphabet().key, alphabet(flat=True).key, alphabet(temperature=0.1).key, alphabet(seed=1).key}
    assert len(keys) == 4
    assert alphabet().key == alphabet().key
