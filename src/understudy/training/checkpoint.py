"""Checkpoints: a folder of safetensors and JSON, renamed into place, so that a kill leaves the old or the new one.

A checkpoint holds a tree of dicts, lists and tuples whose leaves are tensors or JSON scalars. Floats survive exactly:
JSON writes the shortest decimal that reads back as the same double.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from understudy.errors import InputError

TENSOR = "__tensor__"


def _pack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = tree.detach().cpu().contiguous().clone()
        return {TENSOR: name}
    if isinstance(tree, dict):
        return {"keys": list(tree), "values": [_pack(v, tensors) for v in tree.values()]}
    if isinstance(tree, tuple):
        return {"tuple": [_pack(v, tensors) for v in tree]}
    if isinstance(tree, list):
        return [_pack(v, tensors) for v in tree]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"a checkpoint cannot hold {type(tree).__name__}")


def _unpack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_unpack(v, tensors) for v in tree]
    if isinstance(tree, dict):
        if TENSOR in tree:
            return tensors[tree[TENSOR]]
        if "tuple" in tree:
            return tuple(_unpack(v, tensors) for v in tree["tuple"])
        values = [_unpack(v, tensors) for v in tree["values"]]
        return dict(zip(tree["keys"], values, strict=True))
    return tree


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_checkpoint(folder: Path, step: int, tree: dict[str, Any]) -> None:
    """Write `folder`/step-NNNNNNNNN and remove older ones.

    Raises:
        InputError: the disk is full or not writable; what was there before is untouched.
    """
    final, partial = folder / f"step-{step:09d}", folder / "partial"
    tensors: dict[str, Tensor] = {}
    packed = _pack(tree, tensors)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(tensors, partial / "tensors.safetensors")
        (partial / "tree.json").write_text(json.dumps(packed))
        for path in (partial / "tensors.safetensors", partial / "tree.json", partial):
            _fsync(path)
        if final.exists():  # the same step again, after a resume: the same content
            shutil.rmtree(partial)
        else:
            os.rename(partial, final)
        _fsync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"could not write the checkpoint {final}: {error}") from error
    for old in sorted(folder.glob("step-*")):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint in `folder`, or None if there is none.

    Raises:
        InputError: the checkpoint cannot be read.
    """
    found = sorted(folder.glob("step-*"))
    if not found:
        return None
    try:
        tensors = load_file(found[-1] / "tensors.safetensors")
        tree = _unpack(json.loads((found[-1] / "tree.json").read_text()), tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"checkpoint {found[-1]} cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise InputError(f"checkpoint {found[-1]} cannot be read: tree.json holds a {type(tree).__name__}")
    return tree
