"""What a store belongs to, as plain data and back; and what token ids are known by."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import torch

from understudy.errors import InputError
from understudy.teachers import token_fingerprint
from understudy.teachers.identity import digest, identity_from, plain


def test_it_survives_json(identity: Any) -> None:
    for one in (identity(), identity(temperature=None, view="Augmented(pixels=1)", seed=4)):
        assert identity_from(json.loads(json.dumps(plain(one))), "here") == one


def test_what_is_not_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"store.json does not say what it belongs to: .*fingerprint"):
        identity_from({"teacher": "aa", "data": "set", "units": 3, "classes": 2}, "store.json")


def test_a_digest_is_of_the_content_not_its_order() -> None:
    assert digest({"a": 1, "b": [2.5]}) == digest({"b": [2.5], "a": 1}) != digest({"a": 1, "b": [2]})


def test_token_ids_are_known_by_their_values_and_order() -> None:
    expected = hashlib.sha256(bytes([1, *[0] * 7, 0, 1, *[0] * 6])).hexdigest()
    assert token_fingerprint(torch.tensor([1, 256])) == expected
    assert token_fingerprint(torch.tensor([1, 256], dtype=torch.int32)) == expected
    assert token_fingerprint(torch.tensor([256, 1])) != expected
