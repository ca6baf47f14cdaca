"""What `attention_and_fidelity` measures of two teachers and their student: their answers, and where they look."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.data.dataset import DataSet
from understudy.data.loader import in_order
from understudy.errors import InputError
from understudy.fidelity.agreement import top1_agreement
from understudy.fidelity.attention_compare import THRESHOLD, overlap, overlap_in_batches, rescaled
from understudy.fidelity.attention_maps import Convolution, convolution_maps, transformer_maps
from understudy.fidelity.attention_pairs import MapComparison
from understudy.fidelity.distances import ensemble_logits
from understudy.fidelity.information import PredictionInformation
from understudy.fidelity.streaming import Fidelity
from understudy.models.look import logits_of

Trio = Mapping[str, nn.Module]  # "teacher 1", "teacher 2", "student"
NAMES = ("teacher 1", "teacher 2", "student")
_BATCH = 250
_IOU = f"iou@{THRESHOLD:g}"


@torch.no_grad()
def asked(trio: Trio, test: DataSet, learned: DataSet) -> dict[str, float]:
    """Accuracy of the student and of both teachers together, and the student's fidelity to them, on `test`.

    The teachers speak by the mean of their logits, as the paper's code measures them. "gap" is the student's accuracy
    on what it has learned, shown as it is, less that on the test. InputError for data without labels.
    """
    fidelity, known, same = Fidelity(), Fidelity(), 0.0
    if test.classes is None:
        raise InputError(f"{test.name!r} has no classes to be right about")
    information = PredictionInformation(test.classes)
    for data, seen in ((test, fidelity), (learned, known)):
        for batch in in_order(data, _BATCH):
            one, two, own = (logits_of(trio[name](batch.clean)) for name in NAMES)
            both = ensemble_logits([one, two], "logits")
            seen.update(both, own.double(), batch.labels)
            if seen is fidelity:
                information.update(both, own.double())
                same += float(top1_agreement(one, two).double().mean()) * len(one) / len(test)
    found, before = fidelity.result(), known.result()
    right, both_right, learned_right = found.student_accuracy, found.teacher_accuracy, before.student_accuracy
    if right is None or both_right is None or learned_right is None:
        raise InputError(f"{test.name!r} has no labels to test against")
    return {
        "student_accuracy": right.mean,
        "teacher_accuracy": both_right.mean,
        "gap": learned_right.mean - right.mean,
        "agreement": found.agreement.mean,
        "between": same,
        "kl": found.kl.mean,
        "wasserstein": found.wasserstein.mean,
        "information": information.answers().corrected,
    }


def alike(trio: Trio, test: DataSet, transformer: bool) -> dict[str, float]:
    """Overlaps (IoU at 0.4, maps at the images' size) between the teachers, and of the student with either.

    "iou_chance" is the teachers' overlap where each is shown another image, "iou_energy" that of their activations'
    energy, "iou_code" that of the maps which the paper's code draws, counted as it counts them; transformers lack the
    last two.
    """
    compared, one, two = MapComparison(NAMES, size=_size(test)), *NAMES[:2]
    others: dict[Convolution, list[list[Tensor]]] = {} if transformer else {"energy": [], "cam-sum": []}
    for batch in in_order(test, _BATCH):
        compared.update({name: _maps(net, batch.clean, transformer) for name, net in trio.items()})
        for kind, found in others.items():
            maps = (convolution_maps(trio[name], batch.clean, kind) for name in (one, two))
            found.append([rescaled(each, _size(test)) for each in maps])
    pairs = {(pair.one, pair.other): pair for pair in compared.pairs()}
    result = {
        "iou": float(pairs[one, two].values[_IOU].mean()),
        "iou_chance": float(pairs[one, two].chance[_IOU].mean()),
        "iou_student": sum(float(pairs[name, NAMES[2]].values[_IOU].mean()) for name in (one, two)) / 2,
    }
    if not transformer:
        energy, coded = ([torch.cat(side) for side in zip(*found, strict=True)] for found in others.values())
        result["iou_energy"] = float(overlap(energy).mean())
        result["iou_code"] = overlap_in_batches(coded)
    return result


def looks(trio: Trio, images: DataSet, transformer: bool) -> dict[str, list[float]]:
    """The images and the maps on them in 0..255, each flattened in order: what a gallery draws."""
    inputs = images.inputs(slice(None))
    shown = (inputs - images.low) / (images.high - images.low)
    found = {
        "shown": shown,
        **{name: rescaled(_maps(net, inputs, transformer)) for name, net in trio.items()},
    }
    return {name: (255 * one).round().flatten().tolist() for name, one in found.items()}


def _maps(net: nn.Module, inputs: Float[Tensor, "b c h w"], transformer: bool) -> Float[Tensor, "b v u"]:
    return (
        transformer_maps(net, inputs, "rollout", prefix=0) if transformer else convolution_maps(net, inputs)
    )


def _size(data: DataSet) -> tuple[int, int]:
    return int(data.shape[-2]), int(data.shape[-1])
