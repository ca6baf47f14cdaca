from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from understudy.errors import InputError
from understudy.training import checkpoint
from understudy.training.checkpoint import load_checkpoint, save_checkpoint

FLOATS = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, math.pi * 1e-17, 2.0**-1074 * 3]


def test_a_tree_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {
        "float": torch.randn(3, 4),
        "half": torch.randn(5).to(torch.bfloat16),
        "double": torch.randn(2, dtype=torch.float64),
        "integer": torch.tensor(7),
        "flag": torch.tensor([True, False]),
        "none of it": torch.zeros(0, 3),
        "strided": torch.randn(4, 4).t()[1:],
    }
    tree = {
        "tensors": tensors,
        "floats": FLOATS,
        "state": {0: {"step": torch.tensor(3.0)}, 11: {"betas": (0.9, 0.999)}},
        "mixed": [None, True, 3, "three", (), ("a", [torch.ones(2)])],
        "empty": {},
    }
    save_checkpoint(tmp_path, 4, tree)
    found = load_checkpoint(tmp_path)
    assert found is not None
    for name, tensor in tensors.items():
        assert found["tensors"][name].dtype == tensor.dtype
        assert torch.equal(found["tensors"][name], tensor), name
    assert [f.hex() for f in found["floats"]] == [f.hex() for f in FLOATS]
    assert list(found["state"]) == [0, 11]
    assert found["state"][11] == {"betas": (0.9, 0.999)}
    assert found["mixed"][:5] == [None, True, 3, "three", ()]
    assert found["mixed"][1] is True
    assert isinstance(found["mixed"][5], tuple)
    assert isinstance(found["mixed"][5][1], list)
    assert found["empty"] == {}


def test_names_that_the_format_itself_uses_are_only_names(tmp_path: Path) -> None:
    tree = {checkpoint.TENSOR: 1, "tuple": [2], "keys": {"values": 3}}
    save_checkpoint(tmp_path, 0, tree)
    assert load_checkpoint(tmp_path) == tree


def test_what_is_no_tensor_and_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold set"):
        save_checkpoint(tmp_path, 0, {"a": {1, 2}})


def test_only_the_newest_is_kept_and_there_may_be_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (9, 10, 11):
        save_checkpoint(tmp_path, step, {"step": step})
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000011"]
    assert load_checkpoint(tmp_path) == {"step": 11}


def test_a_half_written_one_is_never_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"step": 1})
    shutil.copytree(tmp_path / "step-000000001", tmp_path / "partial")
    (tmp_path / "partial" / "tree.json").write_text("{")
    assert load_checkpoint(tmp_path) == {"step": 1}
    save_checkpoint(tmp_path, 2, {"step": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000002"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: _cut(place / "tensors.safetensors"),
        lambda place: _cut(place / "tree.json"),
        lambda place: (place / "tree.json").unlink(),
        lambda place: (place / "tree.json").write_text("[1]"),
        lambda place: (place / "tree.json").write_text('{"keys": 3, "values": 4}'),
        lambda place: (place / "tree.json").write_bytes(b"\xff\xfe\x00"),
        lambda place: (place / "tensors.safetensors").write_bytes(b"\x80\x04K\x01."),
        lambda place: (place / "tree.json").write_text(json.dumps({checkpoint.TENSOR: "999999"})),
    ],
)
def test_a_damaged_one_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    save_checkpoint(tmp_path, 3, {"weights": torch.randn(50)})
    damage(tmp_path / "step-000000003")
    with pytest.raises(InputError, match="step-000000003"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("call", ["save_file", "rename", "fsync"])
def test_a_full_disk_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    save_checkpoint(tmp_path, 1, {"weights": torch.ones(3)})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint if call == "save_file" else os, call, full)
        with pytest.raises(InputError, match=r"could not write the checkpoint .*No space left"):
            save_checkpoint(tmp_path, 2, {"weights": torch.zeros(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001"]
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert torch.equal(found["weights"], torch.ones(3))


def test_the_same_step_again_is_no_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"a": 1})
    save_checkpoint(tmp_path, 5, {"a": 1})
    assert load_checkpoint(tmp_path) == {"a": 1}
