"""Every form in which a model can be named, and every way in which that can fail."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from understudy.errors import InputError
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.opening import open_model, parse_normalize
from understudy.models.saved import save_model, sha256_state

SHAPE = (1, 8, 8)
X = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))


def network(spec: str = "mlp[8]", **options: Any) -> tuple[nn.Module, ModelConfig]:
    torch.manual_seed(0)
    config = ModelConfig(spec, SHAPE, 3, **options)
    return zoo.build(config).eval(), config


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run folder with normalisation inside and two rows of curves."""
    folder = tmp_path / "run"
    folder.mkdir()
    module, config = network(mean=(0.3,), std=(0.5,))
    save_model(folder / "model.safetensors", module, config)
    (folder / "config.json").write_text(json.dumps({"model": "mlp[8]", "epochs": 2}))
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "loss": 1.0}\n')
    return folder


def module_file(folder: Path, text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a module into a working folder of its own; names are not reused, so no import is remembered."""
    (folder / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{text}")
    monkeypatch.chdir(folder)
    return name


def test_a_module_as_it_is() -> None:
    module, _ = network()
    module.train()
    opened = open_model(module, shape=SHAPE, classes=3)
    assert opened.module is module
    assert not module.training
    assert (opened.source, opened.config, opened.curves) == (type(module).__name__, None, [])
    assert opened.sha256 == sha256_state(module)
    assert opened.parameters == 64 * 8 + 8 + 8 * 3 + 3


def test_a_module_that_wants_normalised_inputs() -> None:
    module, _ = network()
    opened = open_model(module, shape=SHAPE, normalize=((0.4,), (0.2,)))
    torch.testing.assert_close(opened.module(X), module((X - 0.4) / 0.2))
    assert opened.sha256 == sha256_state(module)


def test_run_folder(run_folder: Path) -> None:
    opened = open_model(run_folder, shape=SHAPE, classes=3)
    expected, config = network(mean=(0.3,), std=(0.5,))
    torch.testing.assert_close(opened.module(X), expected(X))
    assert not opened.module.training
    assert opened.config == config
    assert opened.source == str(run_folder)
    assert opened.sha256 == hashlib.sha256((run_folder / "model.safetensors").read_bytes()).hexdigest()
    assert opened.curves == [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]


def test_curves_cut_off_by_a_kill(run_folder: Path) -> None:
    (run_folder / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    assert open_model(run_folder).curves == [{"epoch": 1}]
    (run_folder / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2 is not JSON"):
        open_model(run_folder)
    (run_folder / "metrics.jsonl").unlink()
    assert open_model(run_folder).curves == []


def test_saved_file_alone(run_folder: Path) -> None:
    opened = open_model(run_folder / "model.safetensors", shape=SHAPE)
    torch.testing.assert_close(opened.module(X), open_model(run_folder).module(X))
    assert opened.curves == []


def test_our_model_may_be_normalised_once_only(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already normalises inside"):
        open_model(run_folder, normalize=((0.5,), (0.5,)))
    module, config = network()
    save_model(tmp_path / "plain.safetensors", module, config)
    opened = open_model(tmp_path / "plain.safetensors", normalize=((0.5,), (0.5,)))
    torch.testing.assert_close(opened.module(X), module((X - 0.5) / 0.5))


def test_bare_state_dict(tmp_path: Path) -> None:
    module, _ = network()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(module.state_dict(), path)
    opened = open_model(f"mlp[8]@{path}", shape=SHAPE, classes=3)
    torch.testing.assert_close(opened.module(X), module(X))
    assert opened.config == ModelConfig("mlp[8]", SHAPE, 3)
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    normalised = open_model(f"mlp[8]@{path}", shape=SHAPE, classes=3, normalize=((0.5,), (0.5,)))
    torch.testing.assert_close(normalised.module(X), module((X - 0.5) / 0.5))
    with pytest.raises(InputError, match="shape of the inputs and the number of classes are needed"):
        open_model(f"mlp[8]@{path}")
    with pytest.raises(InputError, match="does not fit the architecture"):
        open_model(f"mlp[9]@{path}", shape=SHAPE, classes=3)
    with pytest.raises(InputError, match="name the architecture"):
        open_model(path)
    with pytest.raises(InputError, match="there is no file"):
        open_model(f"mlp[8]@{tmp_path / 'none.safetensors'}", shape=SHAPE, classes=3)


def test_import_path_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "class Nets:\n  @staticmethod\n  def small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
    )
    name = module_file(tmp_path, text, "own_nets", monkeypatch)
    opened = open_model(f"{name}:Nets.small", shape=SHAPE, classes=3)
    assert opened.module(X).shape == (5, 3)
    assert opened.sha256 == sha256_state(opened.module)
    save_model(
        tmp_path / "own.safetensors",
        opened.module,
        ModelConfig(f"{name}:Nets.small", SHAPE, 3, (0.5,), (0.5,)),
    )
    again = open_model(tmp_path / "own.safetensors", shape=SHAPE)
    torch.testing.assert_close(again.module(X), opened.module((X - 0.5) / 0.5))
    bare = tmp_path / "bare.safetensors"
    safetensors.torch.save_file(opened.module.state_dict(), bare)
    torch.testing.assert_close(open_model(f"{name}:Nets.small@{bare}").module(X), opened.module(X))


def test_import_path_on_pythonpath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module_file(tmp_path, "def make(): return nn.Flatten()", "nets_on_path", monkeypatch)
    monkeypatch.chdir("/")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(open_model(f"{name}:make").module, nn.Flatten)


@pytest.mark.parametrize(
    ("text", "callable_", "message"),
    [
        ("def build_net(): return nn.Flatten()", "bild_net", "unknown name in .* 'bild_net': did you mean build_net"),
        ("number = 3", "number", "must be callable and return an nn.Module, found int"),
        ("def f(): return 3", "f", r":f\(\) must return an nn.Module, it returned int"),
        ("def f(): raise KeyError('gone')", "f", r":f\(\) failed: KeyError: 'gone'"),
        ("def f(size): return nn.Flatten()", "f", r":f\(\) failed: TypeError: .*missing 1 required"),
        ("import no_such_library", "f", "needs a module that is missing: No module named 'no_such_library'"),
        ("\n1 / 0", "f", r"failed at .*\.py:4: ZeroDivisionError"),
        ("def f(:", "f", r"failed at .*\.py:3: SyntaxError"),
    ],
)  # fmt: skip
def test_import_path_errors(
    text: str, callable_: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module_file(tmp_path, text, f"nets_{hashlib.sha256(text.encode()).hexdigest()[:8]}", monkeypatch)
    with pytest.raises(InputError, match=message):
        open_model(f"{name}:{callable_}")


def test_import_path_to_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no module 'no_such_place' on PYTHONPATH or in the working folder"):
        open_model("no_such_place.nets:make")


@pytest.mark.parametrize("name", ["nonsense", "a b", "mlp[8]", "x:y:z", ":", "hf:", "http://example.org/m"])
def test_other_names_list_the_forms(name: str) -> None:
    with pytest.raises(InputError) as error:
        open_model(name)
    for form in ("RUN_FOLDER", "FILE.onnx", "package.module:callable", "hf:ID_OR_FOLDER"):
        assert form in str(error.value)


def test_architecture_without_weights_is_said() -> None:
    with pytest.raises(InputError, match=r"'mlp\[8\]' is an architecture without weights"):
        open_model("mlp[8]")


def test_missing_files_and_strange_folders(tmp_path: Path) -> None:
    for name in ("gone.onnx", "gone.safetensors", "runs/gone"):
        with pytest.raises(InputError, match=f"there is no file or folder '{name}'"):
            open_model(name)
    with pytest.raises(InputError, match=r"neither a run folder .* nor a transformers model"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="must hold a JSON object, found list"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        open_model(tmp_path)


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.bin"])
def test_pickles_are_refused_unexecuted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(pickle.dumps(Bomb()))
    for source in (name, f"mlp[8]@{name}"):
        with pytest.raises(InputError, match="pickle"):
            open_model(source, shape=SHAPE, classes=3)
    assert not Path("exploded").exists()


def test_truncated_weights(run_folder: Path) -> None:
    path = run_folder / "model.safetensors"
    whole = path.read_bytes()
    for count in (0, 6, 40, len(whole) - 1):
        path.write_bytes(whole[:count])
        with pytest.raises(InputError, match=r"model\.safetensors"):
            open_model(run_folder)


def test_configuration_against_the_data(run_folder: Path) -> None:
    with pytest.raises(InputError, match=r"inputs of shape \(1, 8, 8\), the data's are \(1, 28, 28\)"):
        open_model(run_folder, shape=(1, 28, 28))
    with pytest.raises(InputError, match="tells 3 classes apart, the data have 10"):
        open_model(run_folder, shape=SHAPE, classes=10)
    with pytest.raises(InputError, match=r"values in \[0, 1\], the data's range is \[0, 255\]"):
        open_model(run_folder, shape=SHAPE, high=255.0)


class Answers(nn.Module):
    """Gives back whatever it was told to make of the logits."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.dense, self.make = nn.Linear(64, 3), make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.dense(x.flatten(1)))


def test_a_foreign_module_against_the_data() -> None:
    with pytest.raises(
        InputError, match=r"takes 64 values\) cannot take the data's inputs of shape \(1, 9, 9\)"
    ):
        open_model(Answers(lambda z: z), shape=(1, 9, 9))
    with pytest.raises(InputError, match=r"outputs of shape \(2, 3\) .* \(2, 4\) are needed"):
        open_model(Answers(lambda z: z), shape=SHAPE, classes=4)
    with pytest.raises(InputError, match="NaN or infinite logits"):
        open_model(Answers(lambda z: z / 0), shape=SHAPE)
    with pytest.raises(InputError, match=r"Answers: .*must return logits"):
        open_model(Answers(str), shape=SHAPE)


def test_more_than_logits_is_cut_down() -> None:
    module = Answers(lambda z: (z, z.sum()))
    assert torch.equal(open_model(module, shape=SHAPE, classes=3).module(X), module.dense(X.flatten(1)))


def test_double_precision_modules_are_checked_in_their_own_type() -> None:
    assert open_model(Answers(lambda z: z).double(), shape=SHAPE).module(X.double()).dtype == torch.float64


def test_parse_normalize() -> None:
    assert parse_normalize("0.5,0.4,0.3:0.2,0.2,0.1") == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert parse_normalize("0.1307:0.3081") == ((0.1307,), (0.3081,))
    for text in ("0.5", "0.5:", "a:b", "1:2:3", "0.5,0.5:0.2", "0.5:0", "0.5:-1", "nan:1", ""):
        with pytest.raises(InputError):
            parse_normalize(text)


def test_statistics_must_fit_the_channels() -> None:
    with pytest.raises(InputError, match="must have 1 value"):
        open_model(network()[0], shape=SHAPE, normalize=((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)))
