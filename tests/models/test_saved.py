from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from understudy.errors import InputError
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.normalize import Normalized
from understudy.models.saved import (
    count_parameters,
    load_model,
    load_state,
    read_config,
    save_model,
    sha256_file,
    sha256_state,
    write_atomically,
)

CONFIG = ModelConfig("mlp[6]", (1, 2, 2), 3)


class Tied(nn.Module):
    """Two layers with one weight, as language models have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight


def _saved(folder: Path, config: ModelConfig = CONFIG) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    model = zoo.build(config)
    save_model(folder / "model.safetensors", model, config)
    return model, folder / "model.safetensors"


@pytest.mark.parametrize("spec", ["mlp", "cnn", "resnet8", "vit"])
def test_round_trip_is_bit_exact(spec: str, tmp_path: Path) -> None:
    config = ModelConfig(spec, (3, 8, 8), 4, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), -1.0, 1.0)
    model, path = _saved(tmp_path, config)
    x = torch.rand(2, 3, 8, 8)
    model(x)  # in training mode: moves the batch statistics away from their start
    save_model(path, model, config)
    again, found = load_model(path)
    assert found == config == read_config(path)
    assert isinstance(again, Normalized)
    assert sha256_state(again) == sha256_state(model)
    assert torch.equal(again.eval()(x), model.eval()(x))
    assert not any(name.startswith("body.") for name in safetensors.torch.load_file(path))


def test_loading_leaves_torchs_random_state_alone(tmp_path: Path) -> None:
    _, path = _saved(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_model(path)
    assert torch.equal(torch.rand(4), expected)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    extra = {key: key for key in "qwertyuiop"}
    model, path = _saved(tmp_path)
    digests = set()
    for _ in range(5):
        save_model(path, model, CONFIG, extra=extra)
        digests.add(sha256_file(path))
    assert len(digests) == 1
    with safetensors.safe_open(path, framework="np") as file:  # and other readers understand the file
        assert file.metadata()["q"] == "q"
        assert json.loads(file.metadata()["understudy"]) == CONFIG.to_json()
        np.testing.assert_array_equal(file.get_tensor("1.weight"), model[1].weight.detach().numpy())


def test_extra_cannot_replace_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="understudy are taken"):
        save_model(tmp_path / "m.safetensors", nn.Linear(1, 1), CONFIG, extra={"understudy": "mine"})


def test_doubles_stay_doubles_and_halves_are_widened(tmp_path: Path) -> None:
    model, path = _saved(tmp_path)
    for dtype, kept in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        save_model(path, model.to(dtype), CONFIG)
        again, _ = load_model(path)
        assert again[1].weight.dtype == kept
        assert torch.equal(again[1].weight.to(dtype), model[1].weight)


def test_tied_tensors(tmp_path: Path) -> None:
    path = tmp_path / "tied.safetensors"
    tied, other = Tied(), Tied()
    save_model(path, tied, CONFIG)
    assert sorted(safetensors.torch.load_file(path)) == ["first.weight", "second.weight"]
    load_state(other, path)
    assert torch.equal(other.second.weight, tied.first.weight)
    assert other.first.weight is other.second.weight
    assert count_parameters(other) == 16
    # Files from elsewhere may hold a tied tensor once; which name they keep is theirs to choose.
    safetensors.torch.save_file({"second.weight": torch.eye(4)}, path)
    load_state(other, path)
    assert torch.equal(other.first.weight, torch.eye(4))
    safetensors.torch.save_file({"first.weight": torch.eye(4), "second.weight": torch.zeros(4, 4)}, path)
    with pytest.raises(InputError, match="one tensor in this architecture"):
        load_state(other, path)


def test_a_bare_state_dict_loads_and_has_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    source, target = zoo.build(CONFIG), zoo.build(CONFIG)
    safetensors.torch.save_file(source.state_dict(), path)
    load_state(target, path)
    assert sha256_state(target) == sha256_state(source)
    with pytest.raises(InputError, match=r"name the architecture, as in 'mlp\[200,200\]@"):
        read_config(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"spec": "mlp"}'])
def test_a_broken_configuration_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(1)}, path, metadata={"understudy": text})
    with pytest.raises(InputError, match="configuration"):
        read_config(path)


def test_all_faults_of_a_checkpoint_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    state = dict(zoo.build(CONFIG).state_dict())
    state["3.weight"] = torch.zeros(3, 7)
    state["head.bias"] = state.pop("1.bias")
    safetensors.torch.save_file(state, path)
    model = zoo.build(CONFIG)
    before = sha256_state(model)
    with pytest.raises(InputError) as caught:
        load_state(model, path)
    message = str(caught.value)
    assert "missing 1.bias (6,)" in message
    assert "unexpected head.bias (6,)" in message
    assert "3.weight: expected shape (3, 6), found (3, 7)" in message
    assert sha256_state(model) == before  # nothing was loaded


def test_only_the_first_faults_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({f"layer{i}": torch.zeros(1) for i in range(20)}, path)
    with pytest.raises(InputError, match=r"and 19 more$"):  # 4 missing and 20 unexpected, 5 shown
        load_state(zoo.build(CONFIG), path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(6, dtype=torch.float64), "expected torch.float32, found torch.float64"),
        (torch.zeros(6, dtype=torch.int64), "expected torch.float32, found torch.int64"),
        (torch.tensor([0.0, 0, 0, 0, 0, float("nan")]), "1.bias: holds NaN or infinity"),
    ],
)
def test_values_that_cannot_be_kept_are_refused(value: torch.Tensor, says: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    safetensors.torch.save_file({**zoo.build(CONFIG).state_dict(), "1.bias": value}, path)
    with pytest.raises(InputError, match=says):
        load_state(zoo.build(CONFIG), path)


@pytest.mark.parametrize("keep", [0, 5, 8, 9, 100, -1])
def test_a_truncated_file_is_refused(keep: int, tmp_path: Path) -> None:
    _, path = _saved(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    for read in (load_model, read_config, lambda path: load_state(zoo.build(CONFIG), path)):
        with pytest.raises(InputError, match="not a whole safetensors file"):
            read(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(InputError, match="there is no file"):
            load_model(path)
    with pytest.raises(InputError, match="cannot read"):
        sha256_file(tmp_path / "none.safetensors")


class _Trap:
    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.touched,)


@pytest.mark.parametrize("name", ["evil.pt", "evil.safetensors", "evil"])
@pytest.mark.parametrize("form", ["zip", "legacy", "protocol 2", "protocol 0"])
def test_a_pickle_is_refused_and_not_run(name: str, form: str, tmp_path: Path) -> None:
    touched, path = tmp_path / "touched", tmp_path / name
    if form in ("zip", "legacy"):
        torch.save(_Trap(touched), path, _use_new_zipfile_serialization=form == "zip")
    else:
        path.write_bytes(pickle.dumps(_Trap(touched), protocol=int(form[-1])))
    with pytest.raises(InputError) as caught:
        load_model(path)
    with pytest.raises(InputError):
        load_state(zoo.build(CONFIG), path)
    if form != "protocol 0" or name == "evil.pt":  # the oldest protocol is told by the suffix only
        assert "is a pickle, which could run code" in str(caught.value)
    assert not touched.exists()
    pickle.loads(pickle.dumps(_Trap(touched)))
    assert touched.exists()  # the trap works, had it been opened


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = _saved(tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(InputError, match=f"cannot write .*{os.strerror(errno.ENOSPC)}"):
                save_model(path, model, ModelConfig("mlp[6]", (1, 2, 2), 3, low=-1.0))
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == [path.name]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"half")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """A real write that fails half-way: the process may not write files above 4 kB."""
    script = (
        "import resource, signal, sys\n"
        "from understudy.errors import InputError\n"
        "from understudy.models.saved import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_atomically(sys.argv[1], b'x' * 100_000)\n"
        "except InputError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "big")]
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.startswith("cannot write")
    assert os.listdir(tmp_path) == []


def test_writing_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        save_model(tmp_path / "none" / "model.safetensors", zoo.build(CONFIG), CONFIG)


def test_a_written_file_has_the_users_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    write_atomically(tmp_path / "ours", b"x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")}
    assert len(modes) == 1


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_sha256_of_a_state_is_as_documented() -> None:
    layer = nn.BatchNorm1d(2)
    digest = hashlib.sha256()
    for name in ("bias", "num_batches_tracked", "running_mean", "running_var", "weight"):
        array = layer.state_dict()[name].numpy()
        digest.update(f"{name}\0torch.{array.dtype}\0{array.shape}\0".encode() + array.tobytes())
    assert sha256_state(layer) == digest.hexdigest()


def test_sha256_of_a_state_sees_every_bit() -> None:
    layer = nn.Linear(2, 2)
    seen = {sha256_state(layer)}
    with torch.no_grad():
        layer.weight[1, 1] = torch.nextafter(layer.weight[1, 1], torch.tensor(9.0))
        seen.add(sha256_state(layer))
        layer.weight.copy_(layer.weight.T.clone())
        seen.add(sha256_state(layer))
    seen.add(sha256_state(layer.to(torch.bfloat16)))
    assert len(seen) == 4


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"step": 3}

        def set_extra_state(self, state: dict[str, int]) -> None:
            pass

    with pytest.raises(InputError, match="_extra_state"):
        save_model(tmp_path / "odd.safetensors", Odd(2, 2), CONFIG)
    assert os.listdir(tmp_path) == []
