"""Models of transformers, timm and torchvision, opened with their normalisation inside."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.models.opening import open_model

transformers = pytest.importorskip("transformers")

SHAPE = (3, 8, 8)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def tiny_vit(folder: Path, classes: int = 3) -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8,
        patch_size=4, num_channels=3, num_labels=classes,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    return model


def preprocessing(folder: Path, **extra: Any) -> None:
    values = {"do_normalize": True, "image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 255, **extra}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return tmp_path


def test_folder_with_its_own_normalisation(folder: Path) -> None:
    model = tiny_vit(folder)
    preprocessing(folder)
    x = torch.rand(4, *SHAPE)
    expected = model((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)).logits
    for source in (str(folder), f"hf:{folder}"):
        opened = open_model(source, shape=SHAPE, classes=3)
        torch.testing.assert_close(opened.module(x), expected)
        assert opened.config is None
        assert opened.parameters == sum(p.numel() for p in model.parameters())
        assert not any(part.training for part in opened.module.modules())


def test_normalisation_is_converted_to_the_datas_range(folder: Path) -> None:
    tiny_vit(folder)
    preprocessing(folder)
    x = torch.rand(4, *SHAPE)
    unit = open_model(folder, shape=SHAPE).module(x)
    bytes_ = open_model(folder, shape=SHAPE, low=0.0, high=255.0).module(255 * x)
    signed = open_model(folder, shape=SHAPE, low=-1.0, high=1.0).module(2 * x - 1)
    torch.testing.assert_close(bytes_, unit)
    torch.testing.assert_close(signed, unit)
    with pytest.raises(InputError, match=r"normalises pixels in \[0, 1\], the data's range is \[-inf, inf\]"):
        open_model(folder, shape=SHAPE, low=float("-inf"), high=float("inf"))


def test_given_normalisation_wins_and_none_is_invented(folder: Path) -> None:
    model = tiny_vit(folder)
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(open_model(folder, shape=SHAPE).module(x), model(x).logits)
    preprocessing(folder)
    opened = open_model(folder, shape=SHAPE, normalize=((0.5,), (0.1,)))
    torch.testing.assert_close(opened.module(x), model((x - 0.5) / 0.1).logits)
    preprocessing(folder, do_normalize=False)
    torch.testing.assert_close(open_model(folder, shape=SHAPE).module(x), model(x).logits)
    preprocessing(folder, rescale_factor=0.5)
    with pytest.raises(InputError, match=r"rescales by 0\.5, not 1/255"):
        open_model(folder, shape=SHAPE)


def test_same_weights_same_hash(folder: Path) -> None:
    tiny_vit(folder)
    plain = open_model(folder).sha256
    preprocessing(folder)
    assert open_model(folder).sha256 == plain


def test_resnet_of_transformers(folder: Path) -> None:
    config = transformers.ResNetConfig(
        num_channels=3, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3
    )
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(folder)
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(open_model(folder, shape=SHAPE, classes=3).module(x), model(x).logits)


def test_opening_is_silent_and_leaves_settings_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny_vit(folder)
    capfd.readouterr()
    level = transformers.utils.logging.get_verbosity()
    open_model(folder, shape=SHAPE)
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == level
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_a_model_without_trained_head_is_refused(folder: Path) -> None:
    model = tiny_vit(folder)
    model.vit.save_pretrained(folder)
    with pytest.raises(InputError, match=r"no fitting weights for classifier\.(bias|weight)"):
        open_model(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    model = tiny_vit(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="transformers cannot open"):
        open_model(folder)


def test_code_that_comes_with_a_model_is_never_run(folder: Path) -> None:
    tiny_vit(folder)
    config = json.loads((folder / "config.json").read_text())
    autos = ("AutoConfig", "AutoModelForImageClassification")
    config |= {
        "model_type": "evil",
        "auto_map": dict.fromkeys(autos, "evil.Evil"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('the code was run')")
    with pytest.raises(InputError, match="transformers cannot open"):
        open_model(folder)


def test_wrong_size_and_classes_show_both_sides(folder: Path) -> None:
    tiny_vit(folder)
    with pytest.raises(InputError, match=r"cannot take the data's inputs of shape \(3, 9, 9\)"):
        open_model(folder, shape=(3, 9, 9))
    with pytest.raises(InputError, match=r"outputs of shape \(2, 3\).*\(2, 10\) are needed"):
        open_model(folder, shape=SHAPE, classes=10)


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_missing_library_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"pip install 'understudy\[{name}\]'"):
        open_model(f"{name}:resnet18")


def test_missing_transformers_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'understudy\[hub\]'"):
        open_model("hf:google/vit")


def body() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


def test_timm_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm stands in here as the two names that are used of it."""
    made = body()
    made.pretrained_cfg = {"mean": MEAN, "std": STD}  # type: ignore[assignment]

    def create_model(name: str, pretrained: bool) -> nn.Module:
        if name != "tiny" or not pretrained:
            raise RuntimeError(f"Unknown model ({name})")
        return made

    module = ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    x = torch.rand(2, *SHAPE)
    expected = made((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    torch.testing.assert_close(open_model("timm:tiny", shape=SHAPE, classes=3).module(x), expected)
    with pytest.raises(InputError, match="timm cannot open 'huge': Unknown model"):
        open_model("timm:huge")


def test_torchvision_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision stands in here as the three names that are used of it."""
    made = body()
    default = SimpleNamespace(transforms=lambda: SimpleNamespace(mean=list(MEAN), std=list(STD)))

    def get_model_weights(name: str) -> Any:
        if name != "tiny":
            raise ValueError(f"Unknown model {name}")
        return SimpleNamespace(DEFAULT=default)

    models = ModuleType("torchvision.models")
    models.get_model_weights = get_model_weights  # type: ignore[attr-defined]
    models.get_model = lambda name, weights: made if weights is default else None  # type: ignore[attr-defined]
    module = ModuleType("torchvision")
    module.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    x = torch.rand(2, *SHAPE)
    expected = made((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    torch.testing.assert_close(open_model("torchvision:tiny", shape=SHAPE).module(x), expected)
    with pytest.raises(InputError, match="torchvision cannot open 'huge': Unknown model"):
        open_model("torchvision:huge")
