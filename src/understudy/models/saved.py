"""Models on disk: one safetensors file with the configuration in its header. Never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.normalize import body_of

HEADER_KEY = "understudy"
_SHOWN = 5  # how many faults of a checkpoint are listed


def save_model(
    path: str | Path, module: nn.Module, config: ModelConfig, *, extra: Mapping[str, str] | None = None
) -> None:
    """Write weights and configuration as one safetensors file, whole or not at all.

    The names are those of the network inside a `Normalized`. Tied tensors are written under each of their
    names. `extra` goes to the header, beside the configuration. The same weights, configuration and `extra`
    give the same bytes.

    Raises:
        InputError: the file cannot be written (folder missing, no permission, disk full); nothing is left.
    """
    metadata = {HEADER_KEY: json.dumps(config.to_json(), sort_keys=True), "format": "pt"}
    clash = sorted(set(metadata) & set(extra or {}))
    if clash:
        raise InputError(f"the header keys {', '.join(clash)} are taken: call the extra ones otherwise")
    # A clone each: safetensors refuses tensors that share memory, as tied ones do.
    state = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in _tensors(body_of(module)).items()
    }
    raw = safetensors.torch.save(state, metadata={**metadata, **(extra or {})})
    write_atomically(path, _sorted_header(raw))


def read_config(path: str | Path) -> ModelConfig:
    """The configuration in the header of a file that `save_model` wrote.

    Raises:
        InputError: the file is missing, damaged or a pickle, or is a bare state dict without a configuration.
    """
    path = _safetensors_file(path)
    with _opened(path) as file:
        text = (file.metadata() or {}).get(HEADER_KEY)
    if text is None:
        raise InputError(
            f"{path} holds weights but no configuration: name the architecture, as in 'mlp[200,200]@{path}'"
        )
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: the configuration in the header is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: the configuration in the header must be a JSON object, found {text}")
    return ModelConfig.from_json(values)


def load_model(
    path: str | Path, build: Callable[[ModelConfig], nn.Module] = zoo.build
) -> tuple[nn.Module, ModelConfig]:
    """The saved network, in training mode as torch leaves new modules, and its configuration.

    Torch's random state is left as it was. Weights narrower than float32 are widened to it; float64 stays.
    Raises InputError as `read_config` and `load_state` do, and whatever `build` raises.
    """
    config = read_config(path)
    with torch.random.fork_rng(devices=[]):
        module = build(config)
    with _opened(Path(path)) as file:
        kinds = [file.get_slice(name).get_dtype() for name in file.keys()]  # noqa: SIM118 (not a mapping)
    if "F64" in kinds:
        module.double()
    load_state(module, path)
    return module, config


def load_state(module: nn.Module, path: str | Path) -> None:
    """Fill a module (the body of a `Normalized`) with a safetensors state dict, exactly or not at all.

    Raises:
        InputError: the file is missing, truncated or a pickle (refused unread); or tensors are missing,
            unexpected, of another shape, of a type that would lose precision, or not finite: the first few
            are named.
    """
    path = _safetensors_file(path)
    try:
        found = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    expected = _tensors(body_of(module))
    faults = _faults(expected, found)
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise InputError(f"{path} does not fit the architecture: {'; '.join(faults[:_SHOWN])}{more}")
    body_of(module).load_state_dict(found, strict=False)  # names are checked above, tied ones may be absent


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a whole file or nothing: a temporary file in the same folder, synced, then renamed into place.

    A file that was there stays as it was until the new one is complete. Raises InputError if the system
    refuses (folder missing, no permission, disk full).
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        # os.open and not tempfile: the file then gets the user's usual permissions, not 0600.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises InputError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def sha256_state(module: nn.Module) -> str:
    """SHA-256 of a state dict: for each name, sorted, the name, dtype, shape and bytes (little-endian)."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_tensors(module).items()):
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def count_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters (not buffers), tied ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state dict, if it holds tensors only (a module's `get_extra_state` may give anything)."""
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise InputError(f"the state {name!r} is no tensor but {type(value).__name__}: it cannot be kept")
    return state


def _sorted_header(raw: bytes) -> bytes:
    """The same file with its header keys in order: the library writes the metadata in random order."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def _safetensors_file(path: str | Path) -> Path:
    """The path, if a file is there that may be safetensors; a pickle is refused by its first bytes."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with open(path, "rb") as file:
            head = file.read(9)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if head[8:] == b"{":  # eight bytes of length, then a JSON object: the beginning of every safetensors file
        return path
    zipped = head.startswith(b"PK\x03\x04")  # torch.save since 1.6
    opcode = head[:1] == b"\x80" and head[1:2] in (
        b"\x02",
        b"\x03",
        b"\x04",
        b"\x05",
    )  # pickle protocols 2 to 5
    if zipped or opcode or path.suffix in (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt"):
        raise InputError(
            f"{path} is a pickle, which could run code when it is opened: refused. If you trust it, convert "
            "it: safetensors.torch.save_file(torch.load(PICKLE, weights_only=True), 'FILE.safetensors')"
        )
    raise _damaged(path, "the header is missing")


def _opened(path: Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="pt")
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> InputError:
    return InputError(f"{path} is not a whole safetensors file (truncated or of another format): {why}")


def _faults(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with each tensor, in words: missing first, then unexpected, then unfit."""
    given = {_storage(expected[name]): name for name in found if name in expected}
    faults = [
        f"missing {name} {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name not in found and _storage(tensor) not in given
    ]
    faults += [f"unexpected {name} {tuple(found[name].shape)}" for name in found if name not in expected]
    for name in (name for name in expected if name in found):
        here, there = expected[name], found[name]
        twin = given[_storage(here)]
        if here.shape != there.shape:
            faults.append(f"{name}: expected shape {tuple(here.shape)}, found {tuple(there.shape)}")
        elif not _holds(here.dtype, there.dtype):
            faults.append(f"{name}: expected {here.dtype}, found {there.dtype}")
        elif there.is_floating_point() and not bool(there.isfinite().all()):
            faults.append(f"{name}: holds NaN or infinity")
        elif not torch.equal(there, found[twin]):
            faults.append(f"{name} and {twin} are one tensor in this architecture, found two different ones")
    return faults


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether every value of `narrow` has its like in `wide`: the same type, or a shorter float."""
    if wide == narrow:
        return True
    floats = wide.is_floating_point and narrow.is_floating_point
    return floats and torch.finfo(narrow).bits < torch.finfo(wide).bits


def _storage(tensor: Tensor) -> tuple[object, ...]:
    """What two tied tensors have in common. An empty tensor is tied to none."""
    return (tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride())
