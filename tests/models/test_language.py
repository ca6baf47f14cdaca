"""Language models: built, opened, read piece by piece, and refused where they do not fit the text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import understudy as us
from understudy.errors import InputError
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.language import CausalLM, open_causal, reader_of
from understudy.models.language_opening import open_language_model
from understudy.models.look import answer_of, logits_of
from understudy.models.memo import Memo
from understudy.models.saved import load_model, save_model
from understudy.testing import tiny_conv, tiny_lm

transformers = pytest.importorskip("transformers")

VOCABULARY, LENGTH = 11, 7


def config(spec: str = "lm[1,8,2]", shape: tuple[int, ...] = (LENGTH,)) -> ModelConfig:
    return ModelConfig(spec, shape, VOCABULARY, low=0.0, high=VOCABULARY - 1.0)


@pytest.fixture
def model() -> CausalLM:
    torch.manual_seed(0)
    built = zoo.build(config())
    assert isinstance(built, CausalLM)
    return built.eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (3, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    body = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    )
    body.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_a_spec_builds_a_causal_model(model: CausalLM, tokens: torch.Tensor) -> None:
    logits = model(tokens)
    assert logits.shape == (3, LENGTH, VOCABULARY)
    changed = tokens.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % VOCABULARY
    assert torch.equal(model(changed)[:, :4], logits[:, :4])
    assert not torch.equal(model(changed)[:, 4:], logits[:, 4:])
    assert zoo.full_spec("lm", (LENGTH,)) == "lm[2,64,4]"


@pytest.mark.parametrize(
    ("spec", "shape", "says"),
    [
        ("lm[1,9,2]", (LENGTH,), "heads that divide the width into even parts, found 9 by 2"),
        ("lm[1,6,2]", (LENGTH,), "into even parts, found 6 by 2"),
        ("lm[1,8,2]", (1, 6, 6), r"reads rows of tokens, the data are of shape \(1, 6, 6\)"),
        ("lm[1,8]", (LENGTH,), r"takes 3 numbers in brackets \(layers, width, heads\)"),
    ],
)
def test_specs_that_make_no_model_are_refused(spec: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        zoo.build(config(spec, shape))


def test_a_saved_model_is_the_same_model(model: CausalLM, tokens: torch.Tensor, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", model, config())
    again, found = load_model(tmp_path / "model.safetensors")
    assert found == config()
    assert torch.equal(again.eval()(tokens), model(tokens))
    opened = open_language_model(tmp_path / "model.safetensors", LENGTH, VOCABULARY)
    assert torch.equal(opened.module(tokens), model(tokens))
    assert us.load(tmp_path / "model.safetensors").config == config()


@pytest.mark.parametrize("kind", ["cached", "module", "memo"])
def test_a_text_read_in_pieces_is_the_text_read_at_once(
    kind: str, model: CausalLM, tokens: torch.Tensor
) -> None:
    plain: Any = {"cached": model, "module": tiny_lm(VOCABULARY), "memo": Memo(model)}[kind]
    read = reader_of(plain)
    with torch.no_grad():
        pieces = torch.cat([read(piece) for piece in tokens.split([3, 1, 1, 2], 1)], 1)
        whole = plain(tokens)
    assert torch.allclose(pieces, whole, atol=1e-6)
    if kind == "memo":
        plain.forget()
        assert not plain._said


def test_two_readers_do_not_share_what_they_read(model: CausalLM, tokens: torch.Tensor) -> None:
    with torch.no_grad():
        reader_of(model)(tokens)
        assert torch.allclose(reader_of(model)(tokens[:, :2]), model(tokens[:, :2]), atol=1e-6)


def test_a_transformers_folder_is_opened(gpt2: Path, tokens: torch.Tensor) -> None:
    for source in (gpt2, f"hf:{gpt2}"):
        opened = open_language_model(source, LENGTH, VOCABULARY)
        assert opened.module(tokens).shape == (3, LENGTH, VOCABULARY)
        assert not opened.module.training
        assert opened.parameters == sum(p.numel() for p in open_causal(str(gpt2)).parameters())


def test_what_does_not_fit_the_text_is_refused(gpt2: Path, model: CausalLM, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"shape \(2, 7, 11\) for 2 rows .*; logits of shape \(2, 7, 12\) or wider"
    ):
        open_language_model(gpt2, LENGTH, 12)
    with pytest.raises(InputError, match=r"cannot read tokens of shape \(2, 17\)"):
        open_language_model(gpt2, 17, VOCABULARY)  # it knows 16 positions
    with pytest.raises(InputError, match="cannot read tokens"):
        open_language_model(tiny_conv(), LENGTH, VOCABULARY)
    with pytest.raises(InputError, match=r"transformers cannot open .*nowhere"):
        open_causal(str(tmp_path / "nowhere"))
    save_model(tmp_path / "model.safetensors", model, config())
    with pytest.raises(InputError, match="knows 11 tokens, the text has 12"):
        open_language_model(tmp_path / "model.safetensors", LENGTH, 12)


def test_an_image_classifier_is_no_language_model(tmp_path: Path) -> None:
    vit = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=8,
        patch_size=4,
    )
    transformers.ViTForImageClassification(vit).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="as a causal language model"):
        open_causal(str(tmp_path))


def test_weights_that_are_absent_are_named(gpt2: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = gpt2 / "model.safetensors"
    state = load_file(file)
    del state["transformer.ln_f.weight"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"no fitting weights for transformer\.ln_f\.weight"):
        open_causal(str(gpt2))


def test_answers_of_three_dimensions_are_for_training_only() -> None:
    said = torch.randn(2, 3, 4)
    assert answer_of(said) is said
    assert answer_of(said[:, 0]).shape == (2, 4)
    with pytest.raises(InputError, match=r"\(batch, classes\)"):
        logits_of(said)
    for wrong in (said[0, 0], said[None], said.long()):
        with pytest.raises(InputError, match=r"or \(batch, positions, tokens\)"):
            answer_of(wrong)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'understudy\[language\]'"):
        zoo.build(config())


def test_infinite_answers_are_refused() -> None:
    broken = tiny_lm(VOCABULARY)
    assert isinstance(broken[-1], nn.Linear)
    with torch.no_grad():
        broken[-1].bias.fill_(torch.inf)
    with pytest.raises(InputError, match="NaN or infinite"):
        open_language_model(broken, LENGTH, VOCABULARY)
