"""Fidelity: how alike two finished models are, how calibrated, and how sure each number is."""

from understudy.fidelity.agreement import top1_agreement, top1_correct
from understudy.fidelity.calibration import (
    Bin,
    agreement_by_confidence,
    brier,
    confidence_differences,
    difference_edges,
    difference_histogram,
    ece,
    nll,
    relative_ece,
    relative_reliability,
    reliability,
)
from understudy.fidelity.intervals import (
    Verdict,
    bootstrap_mean,
    clopper_pearson,
    mean_over_seeds,
    paired_difference,
    verdict,
)
from understudy.fidelity.teacher_deviation import deviation_of_means, teacher_stddev

__all__ = [
    "Bin",
    "Verdict",
    "agreement_by_confidence",
    "bootstrap_mean",
    "brier",
    "clopper_pearson",
    "confidence_differences",
    "deviation_of_means",
    "difference_edges",
    "difference_histogram",
    "ece",
    "mean_over_seeds",
    "nll",
    "paired_difference",
    "relative_ece",
    "relative_reliability",
    "reliability",
    "teacher_stddev",
    "top1_agreement",
    "top1_correct",
    "verdict",
]
