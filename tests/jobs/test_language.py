"""Language models from the first command to the last file: a teacher, students of it, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import understudy as us
from understudy.cli.main import run as command
from understudy.data.text import TokenSet, from_running
from understudy.data.tokenizers import open_tokenizer, train_tokenizer
from understudy.errors import InputError
from understudy.jobs import training_job
from understudy.methods import make_method
from understudy.testing import tiny_lm
from understudy.training.monitor import Monitor

pytest.importorskip("transformers")


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this file."""


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("text") / "novel.txt"
    file.write_text("".join(f"{n} and {n + 1} are {2 * n + 1}. " for n in range(60)))
    return str(file)


@pytest.fixture(scope="module")
def teacher(novel: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("teacher") / "run"
    us.train(f"{novel}[length=16]", "lm[1,16,2]", epochs=2, batch_size=32, lr=0.01, out=place, device="cpu")
    return place


def distil(
    teacher: Any, novel: str, method: Any = "gkd", inside: str = "length=16,prompt=4", **more: Any
) -> us.Run:
    chosen: dict[str, Any] = {"epochs": 2, "batch_size": 32, "lr": 0.01, "device": "cpu", **more}
    return us.distill(teacher, "lm[1,8,2]", f"{novel}[{inside}]", method=method, **chosen)


def states_differ(a: nn.Module, b: nn.Module) -> float:
    return max(float((x - b.state_dict()[name]).abs().max()) for name, x in a.state_dict().items())


def test_a_teacher_is_trained_and_opens_with_its_tokenizer(teacher: Path) -> None:
    assert {p.name for p in teacher.iterdir()} == {
        "checkpoint", "config.json", "metrics.jsonl", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
    config = json.loads((teacher / "config.json").read_text())
    assert config["method"]["class"].endswith("sft:SFT")
    opened = us.load(teacher)
    assert opened.config is not None
    assert (opened.config.spec, opened.config.shape, opened.config.classes) == ("lm[1,16,2]", (16,), 258)
    rows = opened.curves
    assert rows[-1]["loss"] < rows[0]["loss"]
    tokens = torch.tensor([open_tokenizer(teacher).encode("3 and 4 are")])
    assert opened.module(tokens).shape == (1, 11, 258)


def test_the_monitor_counts_tokens_that_count(teacher: Path, novel: str) -> None:
    texts = us.load_data(f"{novel}[length=16,prompt=4]")
    model, other = us.load(teacher).module, tiny_lm(258, seed=1).eval()
    found = Monitor(model, texts, torch.device("cpu"))(other)
    ours, theirs = (m(texts.inputs(slice(0, 500))).argmax(2) for m in (other, model))
    mask = texts.masks(slice(0, 500))["clean"]
    right = (ours == texts.inputs(slice(0, 500)).roll(-1, 1))[mask]
    assert found["train_accuracy"] == pytest.approx(right.double().mean().item())
    assert found["agreement"] == pytest.approx((ours == theirs)[mask].double().mean().item())
    assert isinstance(texts, TokenSet)
    beside = texts.beside("teacher", texts.tokenizer)
    assert set(Monitor(model, beside, torch.device("cpu"))(other)) == {"train_accuracy"}


@pytest.mark.parametrize("lam", ["0", "0.5", "1"])
def test_gkd_trains_and_ends_the_same_again(lam: str, teacher: Path, novel: str) -> None:
    runs = [distil(teacher, novel, options={"lam": lam}, epochs=1) for _ in range(2)]
    assert states_differ(runs[0].student, runs[1].student) == 0
    assert 0 <= runs[0].curves[-1]["agreement"] <= 1


def test_a_run_that_was_stopped_ends_bit_for_bit_the_same(
    teacher: Path, novel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distil(teacher, novel, out=tmp_path / "whole")

    def stop(_: object, done: int, *__: object) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(training_job, "_tick", stop)
        with pytest.raises(KeyboardInterrupt):
            distil(teacher, novel, out=tmp_path / "cut")
    again = distil(teacher, novel, resume=tmp_path / "cut")
    assert states_differ(whole.student, again.student) == 0
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_micro_batches_change_nothing(teacher: Path, novel: str) -> None:
    for method in ("sft", "gkd"):
        given = {"method": method, "optimizer": "sgd", "epochs": 1}
        one, three = (distil(teacher, novel, accumulate=parts, **given) for parts in (1, 3))
        assert states_differ(one.student, three.student) < 1e-5


@pytest.mark.parametrize("align", ["index", "text"])
def test_uld_teaches_across_tokenizers(align: str, teacher: Path, novel: str, tmp_path: Path) -> None:
    run = distil(
        teacher,
        novel,
        "uld",
        "length=8,prompt=2,vocabulary=270",
        options={"align": align},
        out=tmp_path / "run",
    )
    assert run.curves[-1]["loss_transport"] < run.curves[0]["loss_transport"]
    assert set(run.curves[-1]) >= {"loss_hard", "loss_transport", "train_accuracy"}
    assert "agreement" not in run.curves[-1]
    assert open_tokenizer(tmp_path / "run").size == 270


def test_the_loss_does_not_read_the_names_of_the_teachers_tokens(teacher: Path, novel: str) -> None:
    """With the teacher's vocabulary shuffled, head and all, uld trains the same student to the bit."""

    class Shuffled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.order = inner, torch.randperm(258, generator=torch.Generator().manual_seed(0))

        def forward(self, tokens: Tensor) -> Tensor:
            said: Tensor = self.inner(tokens)[..., self.order]
            return said

    inner = us.load(teacher).module
    texts = us.load_data(f"{novel}[length=8,prompt=2,vocabulary=270]")
    assert isinstance(texts, TokenSet)
    texts = texts.beside("teacher", open_tokenizer(teacher))
    runs = [
        us.distill(model, "lm[1,8,2]", texts, method="uld", epochs=1, batch_size=32, device="cpu")
        for model in (inner, Shuffled(inner))
    ]
    assert states_differ(runs[0].student, runs[1].student) == 0
    assert runs[0].curves[0]["loss"] == runs[1].curves[0]["loss"]


def test_the_command_line_trains_and_distils(
    novel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = ["--model", "lm[1,8,2]", "--epochs", "1", "--device", "cpu"]
    assert command(["train", "--data", f"{novel}[length=16]", *sizes, "--out", "teacher"]) == 0
    words = [
        "distill",
        "--teacher",
        "teacher",
        "--data",
        f"{novel}[length=16,prompt=4]",
        *sizes,
        "--method",
        "gkd",
    ]
    assert command([*words, "--set", "lam=1", "--set", "beta=0.1", "--out", "student"]) == 0
    assert "agreement with the teacher" in capsys.readouterr().out
    assert json.loads(Path("student/config.json").read_text())["method"]["beta"] == 0.1
    assert (
        command(["audit", "--teacher", "teacher", "--student", "student", "--data", novel, "--out", "audit"])
        != 0
    )
    assert "is text, for training only" in capsys.readouterr().err
    assert not Path("audit").exists()


def test_a_module_and_a_transformers_folder_may_teach(novel: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    assert distil(tiny_lm(258), novel, epochs=1).curves
    tokenizer = train_tokenizer([])
    config = transformers.GPT2Config(vocab_size=260, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    import tokenizers

    inner = tokenizers.Tokenizer.from_str(tokenizer.description)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>"
    ).save_pretrained(tmp_path)
    data = f"{novel}[length=16,prompt=4,tokenizer={tmp_path}]"
    given: dict[str, Any] = {"epochs": 1, "device": "cpu"}
    for padded in (tmp_path, f"hf:{tmp_path}"):  # a head of 260 for 258 tokens
        run = us.distill(padded, "lm[1,8,2]", data, method="gkd", options={"classes": "258"}, **given)
        assert run.curves
    with pytest.raises(InputError, match="need classes="):
        us.distill(tmp_path, "lm[1,8,2]", data, method="gkd", **given)


def test_methods_and_data_must_be_of_one_kind(teacher: Path, novel: str) -> None:
    with pytest.raises(
        InputError, match=r"SD reads one answer an example, and data set 'novel\.txt' is text"
    ):
        distil(teacher, novel, "sd")
    with pytest.raises(InputError, match="GKD reads text, and data set 'digits' is no text"):
        us.distill("mlp[4]", "mlp[4]", "digits", method="gkd", device="cpu")
    with pytest.raises(InputError, match="reads rows of tokens, the data are of shape"):
        us.train("digits", "lm[1,8,2]", device="cpu")
    with pytest.raises(InputError, match="nothing to normalise"):
        us.train(novel, tiny_lm(258), student_normalize=".5:.5", device="cpu")


def test_another_tokenizer_is_for_uld(teacher: Path, novel: str) -> None:
    with pytest.raises(InputError, match=r"has a tokenizer of its own \(258 tokens\).*distil by uld"):
        distil(teacher, novel, "gkd", "length=16,vocabulary=270")


def test_a_sum_of_methods_reads_text_and_is_told_its_end() -> None:
    from understudy.jobs.language import fit_to_data

    texts = from_running("abcdefgh" * 20, train_tokenizer([]), length=16)
    both = fit_to_data(make_method("sft") + 0.5 * make_method("gkd", {"end": "7"}), texts)
    assert both.needs.tokens
    assert both.parts[1][1].end == 7  # type: ignore[attr-defined]
