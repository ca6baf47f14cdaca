from __future__ import annotations

import pytest

from understudy.errors import GateFailed, InputError, SoundnessError, UnderstudyError, unknown


def test_each_error_carries_its_exit_status() -> None:
    assert [kind.exit_code for kind in (GateFailed, InputError, SoundnessError, UnderstudyError)] == [
        1,
        2,
        3,
        70,
    ]
    assert all(issubclass(kind, UnderstudyError) for kind in (GateFailed, InputError, SoundnessError))
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("fdd", ["sd", "fd", "kd"], "unknown method 'fdd': did you mean fd? known: fd, kd, sd"),
        (
            "resnet19",
            ["resnet20", "mlp"],
            "unknown method 'resnet19': did you mean resnet20? known: mlp, resnet20",
        ),
        ("qqqq", ["sd", "fd"], "unknown method 'qqqq': known: fd, sd"),
        ("x", [], "unknown method 'x': known: none"),
    ],
)
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(
    name: str, known: list[str], said: str
) -> None:
    assert str(unknown("method", name, known)) == said


def test_at_most_three_near_names() -> None:
    message = str(unknown("tap", "layer1", (f"layer{i}" for i in range(10))))
    assert message.count(" or ") == 2
    assert "did you mean layer1 or " in message
