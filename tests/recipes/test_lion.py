"""Lion: how tasks are judged, what passes as a new one, and what the roles are told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import InputError
from understudy.recipes import make_recipe
from understudy.recipes.lion import Invented, Judged, Lion, acceptable, difference
from understudy.recipes.lion_roles import (
    ChatInventor,
    ChatReferee,
    Inventor,
    Kind,
    Referee,
    Scores,
    parse_scores,
)
from understudy.teachers.black_box import TextTeacher

SCORES = st.tuples(*[st.floats(1, 10)] * 4)


def test_the_worked_number_and_the_boundary_is_hard() -> None:
    assert difference((8, 6), (7, 7)) == (7.5, 6.5, 1.0)
    (found,) = Lion().judge(Told([(8, 6)], [(7, 7)]), ["x"], ["T"], ["S"])
    assert found == Judged("x", 7.5, 6.5, 1.0, "hard")
    (easier,) = Lion(tau=1.01).judge(Told([(8, 6)], [(7, 7)]), ["x"], ["T"], ["S"])
    assert easier.kind == "easy"


@given(SCORES, st.floats(-5, 5))
def test_what_goes_to_the_first_answer_whatever_it_says_cancels(s: tuple[float, ...], bonus: float) -> None:
    plain = difference((s[0], s[1]), (s[2], s[3]))[2]
    assert difference((s[0] + bonus, s[1]), (s[2] + bonus, s[3]))[2] == pytest.approx(plain, abs=1e-9)


@given(SCORES)
def test_the_two_names_swapped_turn_the_difference(s: tuple[float, ...]) -> None:
    assert difference((s[2], s[3]), (s[0], s[1]))[2] == pytest.approx(
        -difference((s[0], s[1]), (s[2], s[3]))[2]
    )


class Told(Referee):
    """Gives prepared scores: of one order, then of the other; None is a failure the first so many times."""

    def __init__(
        self, straight: Sequence[Scores | None], turned: Sequence[Scores | None], fails: int = 99
    ) -> None:
        self.told = {"T": list(straight), "S": list(turned)}
        self.fails = fails
        self.draws: list[int] = []

    def judge(
        self, tasks: Sequence[str], first: Sequence[str], second: Sequence[str], draw: int = 0
    ) -> list[Scores | None]:
        self.draws.append(draw)
        said = self.told[first[0]]
        whole = [x if x is not None or draw < self.fails else (5.0, 5.0) for x in said]
        return whole if draw == 0 else [x for x, before in zip(whole, said, strict=True) if before is None]


def test_failures_are_asked_for_again_until_that_helps_none() -> None:
    helped = Told([(8, 6), None], [(7, 7), (5, 5)], fails=1)
    assert len(Lion().judge(helped, ["x", "y"], ["T"] * 2, ["S"] * 2)) == 2
    assert helped.draws == [0, 1, 0]
    hopeless = Told([(8, 6), None], [(7, 7), (5, 5)])
    assert [one.task for one in Lion().judge(hopeless, ["x", "y"], ["T"] * 2, ["S"] * 2)] == ["x"]
    assert hopeless.draws == [0, 1, 0]
    with pytest.raises(InputError, match="no scores for any of 1 tasks"):
        Lion().judge(Told([None], [(1, 1)]), ["x"], ["T"], ["S"])


@given(st.lists(SCORES, min_size=1, max_size=5), st.floats(-10, 10))
def test_every_task_is_hard_or_easy(scores: list[tuple[float, ...]], tau: float) -> None:
    names = [str(n) for n in range(len(scores))]
    told = Told([(s[0], s[1]) for s in scores], [(s[2], s[3]) for s in scores])
    judged = Lion(tau=tau).judge(told, names, ["T"] * len(names), ["S"] * len(names))
    assert [one.task for one in judged] == names
    assert all((one.kind == "hard") == (one.d >= tau) for one in judged)
    for extreme, kind in ((-100, "hard"), (100, "easy")):
        again = Lion(tau=extreme).judge(told, names, ["T"] * len(names), ["S"] * len(names))
        assert {one.kind for one in again} == {kind}


class Counting(Inventor):
    """Numbers what it makes, each a new word; or says the same thing again."""

    def __init__(self, same: bool = False) -> None:
        self.asked: list[tuple[str, Kind, int]] = []
        self.same = same

    def invent(self, tasks: Sequence[str], kind: Kind, draws: Sequence[int]) -> list[str]:
        self.asked += [(task, kind, draw) for task, draw in zip(tasks, draws, strict=True)]
        return [
            "now do this again" if self.same else f"{t} {kind} {d} w{t}{kind}{d}"
            for t, d in zip(tasks, draws, strict=True)
        ]


def judged(*tasks: tuple[str, Kind]) -> list[Judged]:
    return [Judged(task, 5, 5, 0, kind) for task, kind in tasks]


def test_seeds_are_of_their_kind_and_every_draw_of_one_has_its_number() -> None:
    inventor, recipe = Counting(), Lion(hard=5, easy=3, threshold=1.0)
    found = recipe.invent(inventor, judged(("a", "hard"), ("b", "easy"), ("c", "hard")), ["a", "b", "c"], 0)
    assert [one.kind for one in found] == ["hard"] * 5 + ["easy"] * 3
    assert all(one.seed in {"hard": "ac", "easy": "b"}[one.kind] for one in found)
    assert len(set(inventor.asked)) == len(inventor.asked)
    assert found == recipe.invent(
        Counting(), judged(("a", "hard"), ("b", "easy"), ("c", "hard")), ["a", "b", "c"], 0
    )


def test_a_side_without_seeds_leaves_its_share_to_the_other() -> None:
    recipe = Lion(hard=2, easy=3, threshold=1.0)
    assert {one.kind for one in recipe.invent(Counting(), judged(("a", "easy")), [], 0)} == {"easy"}
    assert len(recipe.invent(Counting(), judged(("a", "hard")), [], 0)) == 5


def test_what_is_known_is_no_new_task_and_the_attempts_end() -> None:
    with pytest.warns(UserWarning, match="1 of 2 hard tasks could be invented in 40 attempts"):
        found = Lion(hard=2, easy=0).invent(Counting(same=True), judged(("a", "hard")), ["a"], 0)
    assert found == [Invented("now do this again", "a", "hard")]


@pytest.mark.parametrize(
    ("task", "passes"),
    [
        ("name four large rivers", True),
        ("7 times 8 is what", True),
        ("", False),
        ("name three rivers", False),
        ("write an Instruction for me", False),
        ("- name four rivers now", False),
        ("\u00e9crire un petit texte", False),
    ],
)
def test_what_passes_as_a_task(task: str, passes: bool) -> None:
    assert acceptable(task) == passes


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ("Good.\nScore of the Assistant 1: 8\nScore of the Assistant 2: 6.5", (8.0, 6.5)),
        (
            "score of the assistant 1: 3\n...\n**Score of the Assistant 1: 8/10**\nScore of Assistant 2: **7**\nBye!",
            (8, 7),
        ),
        ("Score of the Assistant 1: 8", None),
        ("Assistant 1 is better than assistant 2.", None),
        ("Score of the Assistant 1: 80\nScore of the Assistant 2: 6", None),
        ("", None),
    ],
)
def test_scores_are_the_last_ones_of_each(reply: str, scores: Scores | None) -> None:
    assert parse_scores(reply) == scores


class Written(TextTeacher):
    """Notes what it is asked."""

    def __init__(self, reply: str) -> None:
        self.reply, self.asked = reply, list[tuple[str, int]]()

    def answer(self, prompts: Sequence[str], draw: int = 0) -> list[str]:
        self.asked += [(prompt, draw) for prompt in prompts]
        return [f"{self.reply}"] * len(prompts)


def test_a_chat_model_is_told_task_and_answers_in_their_order() -> None:
    teacher = Written("Score of the Assistant 1: 2\nScore of the Assistant 2: 9")
    assert ChatReferee(teacher).judge(["TASK"], ["ONE"], ["OTHER"], 3) == [(2, 9)]
    ((asked, draw),) = teacher.asked
    assert asked.index("TASK") < asked.index("ONE") < asked.index("OTHER")
    assert draw == 3


def test_an_inventor_is_asked_once_a_draw_and_never_hears_of_an_instruction() -> None:
    teacher = Written(" a new one \n")
    assert ChatInventor(teacher).invent(["A", "B", "A"], "easy", [0, 0, 1]) == ["a new one"] * 3
    assert [draw for _, draw in teacher.asked] == [0, 0, 1]
    assert all("instruction" not in asked.lower() and "rare" in asked for asked, _ in teacher.asked)


def test_a_part_of_the_pool_is_judged_where_that_is_asked() -> None:
    pool = [str(n) for n in range(20)]
    chosen = Lion(judged=5).chosen(pool, 1)
    assert len(chosen) == len(set(chosen)) == 5
    assert chosen == sorted(chosen, key=int) == Lion(judged=5).chosen(pool, 1)
    assert chosen != Lion(judged=5).chosen(pool, 2)
    assert Lion(judged=50).chosen(pool, 1) == Lion().chosen(pool, 1) == pool


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rounds": "-1"}, "rounds must be"),
        ({"hard": "0", "easy": "0"}, "invents no task"),
        ({"threshold": "-1"}, "threshold must be"),
        ({"judged": "0"}, "judged must be"),
        ({"max_tokens": "0"}, "max_tokens must be"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_recipe("lion", options)
