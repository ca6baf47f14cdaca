from __future__ import annotations

import json
import math
from typing import Any

import pytest

from understudy.errors import InputError
from understudy.models.config import ModelConfig

CONFIGS = [
    ModelConfig("mlp", (1, 8, 8), 10),
    ModelConfig("cnn[8,16,50]", (3, 32, 32), 10, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
    ModelConfig("mlp[]", (5,), 2, (0.0,), (2.0,), -math.inf, math.inf),
    ModelConfig("mlp", (5,), 2, low=-1.0, high=math.inf),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.spec)
def test_json_round_trip_without_infinities(config: ModelConfig) -> None:
    text = json.dumps(config.to_json(), allow_nan=False)
    assert ModelConfig.from_json(json.loads(text)) == config


def test_an_unbounded_end_is_null() -> None:
    values = CONFIGS[2].to_json()
    assert values["low"] is None
    assert values["high"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spec": " "}, "empty"),
        ({"shape": ()}, "positive sides"),
        ({"shape": (1, 0, 8)}, "positive sides"),
        ({"classes": 1}, "2 or more"),
        ({"low": 1.0, "high": 1.0}, "low < high"),
        ({"low": math.nan}, "low < high"),
        ({"mean": (0.5,)}, "together"),
        ({"std": (0.5,)}, "together"),
        ({"mean": (0.5,), "std": (0.0,)}, "above 0"),
        ({"mean": (0.5,), "std": (math.nan,)}, "finite"),
        ({"mean": (0.5, 0.5), "std": (1.0, 1.0)}, "1 value or 3"),
        ({"mean": (0.5,), "std": (1.0, 1.0)}, "equally long"),
        ({"mean": (), "std": ()}, "equally long"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], says: str) -> None:
    fields: dict[str, Any] = {"spec": "mlp", "shape": (3, 8, 8), "classes": 10, **change}
    with pytest.raises(InputError, match=says):
        ModelConfig(**fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clases": 3}, "did you mean classes"),
        ({"classes": "ten"}, "whole number, found 'ten'"),
        ({"classes": True}, "whole number, found True"),
        ({"shape": 5}, "wrong type"),
        ({"shape": [1, 2.5]}, "whole number, found 2.5"),
        ({"mean": ["a"], "std": [1.0]}, "number, found 'a'"),
        ({"low": "0"}, "number, found '0'"),
        ({"spec": 3}, "string"),
    ],
)
def test_bad_json_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ModelConfig.from_json({**CONFIGS[0].to_json(), **change})


def test_json_without_a_needed_field() -> None:
    with pytest.raises(InputError, match="lacks shape, classes"):
        ModelConfig.from_json({"spec": "mlp"})
