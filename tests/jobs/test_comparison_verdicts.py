"""Which way a metric is good, what is held against what, and when a difference is called better."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from understudy.fidelity.crossed import crossed_difference, crossed_mean
from understudy.jobs.comparison_verdicts import PAIRS, Judge, higher_is_better

SEEDS = [0, 1, 2]


def rows_of(values: dict[str, list[float]], metric: str) -> list[dict[str, Any]]:
    return [
        {"method": method, "seed": seed, "metric": metric, "value": value}
        for method, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]


def test_which_way_is_good() -> None:
    good = ["agreement@0.1", "certified_agreement@0.1", "accuracy_student@0", "accuracy", "agreement"]
    bad = [
        "lower_mean@0.1", "upper_max@0", "kl@0", "kl", "relative_ece", "ece_student", "nll_student", "brier_student",
    ]  # fmt: skip
    assert all(higher_is_better(m) is True for m in good)
    assert all(higher_is_better(m) is False for m in bad)
    for neither in ("accuracy_teacher@0", "train_seconds", "peak_megabytes"):
        assert higher_is_better(neither) is None


@pytest.mark.parametrize(
    ("metric", "fd", "verdict"),
    [
        ("lower_mean@0.1", [0.10, 0.12, 0.11], "better"),
        ("lower_mean@0.1", [0.40, 0.42, 0.41], "not better"),
        ("lower_mean@0.1", [0.10, 0.60, 0.31], "inconclusive"),
        ("agreement@0.1", [0.40, 0.42, 0.41], "better"),
    ],
)
def test_without_examples_a_verdict_is_on_differences_paired_by_seed(
    metric: str, fd: list[float], verdict: str
) -> None:
    rows = rows_of({"fd": fd, "kd": [0.30, 0.32, 0.31], "ce": [0.5, 0.5, 0.5]}, metric)
    entry = Judge(rows, SEEDS).summary(["fd", "kd", "ce"])[0]
    assert (entry["verdict"], entry["reference"], entry["over"]) == (verdict, "kd", "seeds")
    assert entry["mean"] == pytest.approx(np.mean(fd))
    half = stats.t.ppf(0.975, 2) * np.std(fd, ddof=1) / math.sqrt(3)
    assert entry["low"] == pytest.approx(max(0.0, np.mean(fd) - half))
    assert entry["high"] == pytest.approx(min(1.0, np.mean(fd) + half))


def test_plain_distillation_is_held_against_the_undistilled_student() -> None:
    rows = rows_of({"sd": [0.1, 0.1, 0.1], "ce": [0.5, 0.5, 0.5]}, "kl")
    first, second = Judge(rows, SEEDS).summary(["sd", "ce"])
    assert (first["method"], first["reference"], first["verdict"]) == ("sd", "ce", "better")
    assert (second["method"], second["reference"], second["verdict"]) == ("ce", "sd", "not better")


def judged(gap: float, spread: float) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """rkd less kd in KL on 200 examples, lower by `gap` on average and by an example's own luck of size `spread`."""
    draw = np.random.default_rng(0)
    plain = 0.5 + 0.1 * draw.normal(size=(3, 200))
    other = plain - gap + spread * draw.normal(size=200)
    examples = {("kd", "kl"): dict(enumerate(plain)), ("rkd", "kl"): dict(enumerate(other))}
    means = {"rkd": other.mean(1).tolist(), "kd": plain.mean(1).tolist()}
    judge = Judge(rows_of(means, "kl"), SEEDS, examples)
    return judge.verdicts(["rkd", "kd"])[0], other, plain


def test_with_examples_a_verdict_counts_them_as_a_sample_too() -> None:
    """Three seeds that all say the same are not enough if it hangs on which examples were asked."""
    found, other, plain = judged(gap=0.02, spread=0.0)
    assert found["verdict"] == "better"
    found, other, plain = judged(gap=0.02, spread=1.0)
    assert found["verdict"] == "inconclusive"
    assert (found["a"], found["b"], found["metric"]) == ("rkd", "kd", "kl")
    assert (found["difference"], found["low"], found["high"]) == pytest.approx(
        crossed_difference(other, plain)
    )
    alone = Judge(rows_of({"rkd": other.mean(1).tolist(), "kd": plain.mean(1).tolist()}, "kl"), SEEDS)
    assert alone.verdicts(["rkd", "kd"])[0]["verdict"] != "inconclusive"  # seeds alone would have decided


def test_means_over_examples_have_their_interval() -> None:
    values = np.random.default_rng(1).random((3, 50))
    judge = Judge(
        rows_of({"kd": values.mean(1).tolist()}, "kl"), SEEDS, {("kd", "kl"): dict(enumerate(values))}
    )
    (entry,) = judge.summary(["kd"])
    assert entry["over"] == "seeds and examples"
    assert (entry["mean"], entry["low"], entry["high"]) == pytest.approx(crossed_mean(values))


def test_a_run_that_failed_is_left_out_of_the_pairs() -> None:
    rows = rows_of({"kd": [0.1, 0.2, 0.3], "rkd": [0.0, 0.1, 0.2]}, "kl")
    rows = [row for row in rows if (row["method"], row["seed"]) != ("rkd", 1)]
    found = Judge(rows, SEEDS).contrast("kl", "rkd", "kd")
    assert found["difference"] == pytest.approx(-0.1)
    entry = next(e for e in Judge(rows, SEEDS).summary(["kd", "rkd"]) if e["method"] == "rkd")
    assert entry["seeds"] == 2
    rows = [row for row in rows if row["method"] != "rkd" or row["seed"] == 2]
    assert Judge(rows, SEEDS).contrast("kl", "rkd", "kd")["verdict"] == "inconclusive"
    nothing = Judge([], SEEDS).contrast("kl", "rkd", "kd")
    assert nothing["difference"] is nothing["verdict"] is None


def test_contrasts_go_both_ways() -> None:
    rows = rows_of({"fd": [0.1, 0.2, 0.1], "sd": [0.5, 0.6, 0.55]}, "lower_mean@0.1")
    found = {(c["a"], c["b"]): c for c in Judge(rows, SEEDS).contrasts(["fd", "sd"], ["fd", "sd"])}
    assert found["fd", "sd"]["verdict"] == "better"
    assert found["sd", "fd"]["verdict"] == "not better"
    assert found["fd", "sd"]["difference"] == pytest.approx(-found["sd", "fd"]["difference"])


def test_many_methods_are_held_against_their_references_only() -> None:
    names = ["ard", "rslad", "iad", "adaad", "fd", "trades", "rkd", "pld", "sinkd", "kd", "ce", "at"]
    judge = Judge(rows_of({name: [0.1, 0.2, 0.3] for name in names}, "kl"), SEEDS)
    pairs = {(c["a"], c["b"]) for c in judge.contrasts(names[: PAIRS + 1], names)}
    assert {b for _, b in pairs} == {"kd", "ce", "at"}
    assert ("rkd", "at") not in pairs
    assert {("ard", "at"), ("ard", "kd"), ("ard", "ce"), ("rkd", "kd"), ("kd", "ce")} <= pairs
    assert ("rkd", "pld") in {(c["a"], c["b"]) for c in judge.contrasts(["rkd", "pld"], names)}
