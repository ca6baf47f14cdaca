"""Several labels an example, and mixed images, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]
SMALL = ("--examples", 128, "--epochs", 1, "--batch-size", 64)


def test_a_teacher_and_a_student_of_several_labels(cli: Cli, tmp_path: Path) -> None:
    many = ("--data", "digit_mosaic", *SMALL)
    done = cli("train", *many, "--model", "label_cnn[2,4]", "--method", "bce", "--out", tmp_path / "t")
    assert done.code == 0, done.err
    assert "mean average precision 0." in done.out
    options = ("--model", "label_cnn[2,3]", "--method", "l2d_multi_label", "--set", "lambda_id=10")
    done = cli("distill", "--teacher", tmp_path / "t", *many, *options, "--out", tmp_path / "s")
    assert done.code == 0, done.err
    assert "agreement with the teacher 0." in done.out
    assert json.loads((tmp_path / "s" / "config.json").read_text())["method"]["lambda_id"] == 10
    again = cli("train", "--resume", tmp_path / "t")
    assert again.code == 0
    pair = ("--teacher", tmp_path / "t", "--student", tmp_path / "s", "--data", "digit_mosaic")
    refused = cli("audit", *pair, "--out", tmp_path / "a")
    assert refused.code == 2
    assert "bears several labels an example" in refused.err


def test_methods_that_do_not_go_with_the_labels_are_refused(cli: Cli, tmp_path: Path) -> None:
    plain = ("--model", "mlp[4]", *SMALL, "--out", tmp_path / "run")
    for given, said in [
        (("--data", "digit_mosaic"), "'digit_mosaic' bears several labels an example, method 'ce' needs one"),
        (
            ("--data", "digits", "--method", "bce"),
            "'digits' bears one label an example, method 'bce' needs several",
        ),
        (
            ("--data", "digits", "--method", "bce", "--robust", "pgd"),
            "give either --robust, found pgd, or --method",
        ),
    ]:
        done = cli("train", *given, *plain)
        assert done.code == 2
        assert said in done.err
    assert not (tmp_path / "run").exists()


def test_cutmixpick_runs_by_either_name(cli: Cli, teacher: Path, tmp_path: Path) -> None:
    for name in ("cutmixpick", "good_data_augmentation"):
        done = cli("distill", "--teacher", teacher, "--model", "mlp[4]", "--data", "digits", "--method", name, *SMALL,
                   "--out", tmp_path / name)  # fmt: skip
        assert done.code == 0, done.err
    one, other = (
        (tmp_path / name / "model.safetensors").read_bytes()
        for name in ("cutmixpick", "good_data_augmentation")
    )
    assert one == other
