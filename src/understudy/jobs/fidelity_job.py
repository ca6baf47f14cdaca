"""How near a student is to its teacher, on several kinds of data; everything or nothing is written."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from understudy.auditing.fidelity_record import FidelityPart, FidelityRecord, fidelity_json
from understudy.auditing.record import ModelRecord
from understudy.data.augment import flip, shift
from understudy.data.dataset import DataSet
from understudy.data.loader import in_order
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown
from understudy.fidelity.floor import FidelityBesideFloor
from understudy.fidelity.information import PredictionInformation
from understudy.fidelity.streaming import Fidelity
from understudy.fidelity.tempered import TEMPERATURES, CalibrationOverTemperature
from understudy.jobs.audit_job import torch_device, whole_folder
from understudy.jobs.opening import as_found, open_data, open_first, open_for
from understudy.jobs.progress import Progress
from understudy.models.look import in_mode, logits_of
from understudy.models.opening import LoadedModel
from understudy.numbers import check_number
from understudy.report.fidelity_words import said_of
from understudy.training.folder import write_json
from understudy.training.threads import threads_for, using_threads
from understudy.version import __version__

Model = str | Path | nn.Module | LoadedModel
Part = Literal["training", "augmented", "test", "shifted"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, eq=False)
class FidelityReport:
    """A finished measurement: what fidelity.json holds, and where it was written."""

    record: FidelityRecord
    folder: Path | None

    def part(self, name: Part) -> FidelityPart:
        """What was measured on one kind of data; InputError, with the reason, if it was not."""
        for one in self.record.parts:
            if one.name == name:
                return one
        reason = self.record.skipped.get(name)
        raise InputError(f"nothing was measured on {name!r} data" + (f": {reason}" if reason else ""))


@dataclass(frozen=True, eq=False)
class _Shown:
    """Data of one kind: the set, what it is in words, and what is done to its inputs."""

    data: DataSet
    said: str
    change: Callable[[Tensor, Randomness], Tensor] | None = None


def measure_fidelity(
    teacher: Model,
    student: Model,
    data: Any,
    *,
    others: Sequence[Model] = (),
    on: Sequence[Part] = PARTS,
    training: Any = None,
    shifted: Any = None,
    noise: float | None = None,
    pixels: int | None = None,
    mirror: bool = False,
    examples: int | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    batch_size: int = 256,
    seed: int = 0,
    valid_range: tuple[float, float] | None = None,
    teacher_normalize: str | None = None,
    student_normalize: str | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> FidelityReport:
    """Measure how near a student is to its teacher, over several kinds of data, beside other teachers.

    Args:
        teacher, student: anything `load` opens.
        data: as `audit` takes it; of a set with splits, "test" is measured.
        others: teachers that differ from the teacher in their seed alone: the floor that a student is held against.
        on: kinds of data: "training" (what a teacher learned from), "augmented" (the training data shifted by up
            to `pixels`, half of them mirrored if `mirror`), "test", and "shifted" (the set `shifted`, else the test
            data under Gaussian noise). One that cannot be had is left out, and named in the record with the reason.
        training: the training set, where `data` has no split "train"; never the test data themselves.
        pixels: below the image's sides; None takes 1.
        noise: standard deviation, in the data's units; None takes a tenth of the valid range.
        examples: at most so many a kind, the first in file order; None takes all.
        temperatures: at which calibration is measured, of both models alike.
        out: folder for fidelity.json and report.html.

    Returns:
        FidelityReport, whose `.part("test").pair["agreement"]` is an `Estimate`.

    Raises:
        InputError: something cannot be used, or no kind of data can; nothing has been written then.
    """
    _check(on, noise, pixels, examples, batch_size)
    CalibrationOverTemperature(temperatures)  # before anything is opened
    where = torch_device(device)
    options: dict[str, Any] = {"data_root": data_root, "quiet": quiet}
    test = open_data(data, "test", valid_range=valid_range, **options)
    if test.edges is not None:
        raise InputError(f"{test.name!r} is a graph, whose nodes are asked together: audit measures it")
    with as_found(teacher, student, *others):
        first, test = open_first(test, data, teacher, teacher_normalize)
        models = [first, open_for(test, student, student_normalize)]
        models += [open_for(test, one, teacher_normalize) for one in others]
        found, skipped = _kinds(
            on, test, data, training, shifted, noise, pixels, mirror, valid_range, options
        )
        if not found:
            raise InputError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
        settings = {
            "on": list(on), "noise": noise, "pixels": pixels or 1, "mirror": mirror, "examples": examples,
            "temperatures": sorted(set(map(float, temperatures))), "batch_size": batch_size, "seed": seed,
        }  # fmt: skip
        with using_threads(threads_for(first.module, test.shape, batch_size)):
            if out is None:
                return FidelityReport(
                    _measured(models, test.name, found, skipped, settings, where, quiet), None
                )
            with whole_folder(Path(out)) as partial:
                record = _measured(models, test.name, found, skipped, settings, where, quiet)
                write_json(partial / "fidelity.json", fidelity_json(record))
                from understudy.report.fidelity_page import write_fidelity_page

                write_fidelity_page(partial / "report.html", record)
    return FidelityReport(record, Path(out))


def _check(
    on: Sequence[str], noise: float | None, pixels: int | None, examples: int | None, batch_size: int
) -> None:
    for name in on:
        if name not in PARTS:
            raise unknown("kind of data", name, PARTS)
    if not on or len(set(on)) < len(on):
        raise InputError(f"name different kinds of data, at least one, found {list(on)}")
    if noise is not None:
        check_number("the noise", noise, 0.0, above=True)
    for what, size in (("pixels", pixels), ("examples", examples), ("batch_size", batch_size)):
        if size is not None and size < 1:
            raise InputError(f"{what} must be 1 or more, found {size}")


def _kinds(
    on: Sequence[str],
    test: DataSet,
    data: Any,
    training: Any,
    shifted: Any,
    noise: float | None,
    pixels: int | None,
    mirror: bool,
    valid_range: tuple[float, float] | None,
    options: dict[str, Any],
) -> tuple[dict[str, _Shown], dict[str, str]]:
    """What there is of each kind of data, and why there is none; InputError for what was asked for by name."""
    found: dict[str, _Shown] = {}
    skipped: dict[str, str] = {}
    train: DataSet | None = None
    learned = [name for name in on if name in ("training", "augmented")]
    if learned:
        try:
            train = _training(test, data, training, valid_range, options)
        except InputError as error:
            if training is not None:
                raise
            skipped |= dict.fromkeys(learned, str(error))
    for name in on:
        if name == "test":
            found[name] = _Shown(test, f"{test.name}, {test.split}")
        elif name == "training" and train is not None:
            found[name] = _Shown(train, f"{train.name}, {train.split}")
        elif name == "augmented" and train is not None:
            try:
                found[name] = _augmented(train, pixels or 1, mirror)
            except InputError as error:
                if pixels is not None and len(train.shape) == 3:
                    raise
                skipped[name] = str(error)
        elif name == "shifted" and shifted is not None:
            other = open_data(shifted, "test", valid_range=_range(shifted, valid_range), **options)
            found[name] = _Shown(_alike(other, test), f"{other.name}, {other.split}")
        elif name == "shifted":
            try:
                found[name] = _noisy(test, noise)
            except InputError as error:
                skipped[name] = str(error)
    return found, skipped


def _training(
    test: DataSet,
    data: Any,
    training: Any,
    valid_range: tuple[float, float] | None,
    options: dict[str, Any],
) -> DataSet:
    if training is None and not isinstance(data, str | Path):
        raise InputError("the data have no training split: name a training set")
    source = data if training is None else training
    train = _alike(open_data(source, "train", valid_range=_range(source, valid_range), **options), test)
    if len(train) == len(test) and _inputs_of(train) == _inputs_of(test):  # a file may answer to any split
        if training is None:
            raise InputError(f"{train.name!r} has no training split of its own: name a training set")
        raise InputError(f"the training set {train.name!r} is the test data: name another")
    return train


def _inputs_of(data: DataSet) -> str:
    return replace(data, labels=None, partly=False, classes=None).fingerprint()


def _augmented(train: DataSet, pixels: int, mirror: bool) -> _Shown:
    if len(train.shape) != 3:
        raise InputError(f"augmentation needs images (channels, height, width), found {train.shape}")
    if pixels >= min(train.shape[1:]):
        raise InputError(f"pixels must be below the image's sides {train.shape[1:]}, found {pixels}")
    fill = train.low if math.isfinite(train.low) else 0.0

    def augmented(inputs: Tensor, random: Randomness) -> Tensor:
        moved = shift(inputs, pixels, random, fill)
        return flip(moved, random) if mirror else moved

    said = f"{train.name}, {train.split}, each shifted by up to {pixels} px" + (
        ", half mirrored" if mirror else ""
    )
    return _Shown(train, said, augmented)


def _range(source: Any, valid_range: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if isinstance(source, str | Path | DataSet) else valid_range


def _alike(found: DataSet, test: DataSet) -> DataSet:
    if found.shape != test.shape:
        raise InputError(
            f"inputs of {found.name!r} have the shape {found.shape}, those of {test.name!r} {test.shape}"
        )
    return found


def _noisy(test: DataSet, noise: float | None) -> _Shown:
    if noise is None:
        if not (math.isfinite(test.low) and math.isfinite(test.high)):
            raise InputError("the data have no valid range to take a tenth of: state the noise")
        noise = (test.high - test.low) / 10
    deviation = noise

    def noisy(inputs: Tensor, random: Randomness) -> Tensor:
        return (inputs + deviation * random.normal(inputs)).clamp(test.low, test.high)

    return _Shown(test, f"{test.name}, {test.split}, with Gaussian noise of {deviation:g}", noisy)


def _measured(
    models: Sequence[LoadedModel],
    data: str,
    found: dict[str, _Shown],
    skipped: dict[str, str],
    settings: dict[str, Any],
    device: torch.device,
    quiet: bool,
) -> FidelityRecord:
    began = time.perf_counter()
    parts, skipped = [], dict(skipped)
    with Progress("fidelity", quiet) as bar:
        for done, (name, shown) in enumerate(found.items()):
            part, without = _part(name, shown, models, settings, device)
            parts.append(part)
            skipped |= {f"{name}: {what}": why for what, why in without.items()}
            bar.update(done + 1, len(found), name)
    about = [ModelRecord(one.source, one.sha256, one.parameters) for one in models]
    return FidelityRecord(
        teacher=about[0],
        student=about[1],
        others=about[2:],
        data=data,
        settings=settings,
        parts=parts,
        skipped=skipped,
        said=said_of(parts),
        environment={
            "understudy": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device.type,
            "threads": torch.get_num_threads(),
            "seconds": round(time.perf_counter() - began, 3),
        },
    )


def _part(
    name: str,
    shown: _Shown,
    models: Sequence[LoadedModel],
    settings: dict[str, Any],
    device: torch.device,
) -> tuple[FidelityPart, dict[str, str]]:
    """What was measured, and what of it ("labels", "answers") could not be, with the reason."""
    labels = None if shown.data.labels is None else shown.data.labels[: settings["examples"]]
    every = labels is not None and bool((labels >= 0).all())
    without = {} if labels is None or every else {"labels": "some examples bear none"}
    alone = Fidelity()
    beside = FidelityBesideFloor(len(models) - 2) if len(models) > 2 else None
    over = CalibrationOverTemperature(settings["temperatures"])
    information: PredictionInformation | None = None
    for logits, known in _answers(shown, [one.module for one in models], settings, device):
        teacher, student, *others = logits
        labels = known if every else None
        if information is None:
            try:
                information = PredictionInformation(teacher.shape[1])
            except InputError as error:  # so many classes that no table holds their pairs
                information = PredictionInformation(None)
                without["answers"] = str(error)
        if beside is None:
            alone.update(teacher, student, labels)
        else:
            beside.update(teacher, others, student, labels)
        information.update(teacher, student)
        over.update(teacher, student, labels)
    assert information is not None
    result = None if beside is None else beside.result()
    pair = alone.result() if result is None else result.pair
    part = FidelityPart(
        name=name,
        said=shown.said,
        examples=pair.count,
        classes=pair.classes,
        pair=pair.estimates(),
        floors=[] if result is None else [one.estimates() for one in result.floors],
        excess={} if result is None else result.excess,
        answers=None if "answers" in without else information.answers(),
        confidences=information.confidences(),
        temperatures=over.result(),
    )
    return part, without


@torch.no_grad()
def _answers(
    shown: _Shown, modules: Sequence[nn.Module], settings: dict[str, Any], device: torch.device
) -> Iterator[tuple[list[Tensor], Tensor | None]]:
    """Batches of logits (B, C) of every model, on the CPU, with their labels (B,)."""
    random = Randomness(settings["seed"])
    for step, batch in enumerate(in_order(shown.data, settings["batch_size"], count=settings["examples"])):
        random.begin(step)
        inputs = batch.clean if shown.change is None else shown.change(batch.clean, random)
        logits = []
        for module in modules:
            module.to(device)
            with in_mode(module, False):
                weight = next((p for p in module.parameters() if p.is_floating_point()), inputs)
                logits.append(logits_of(module(inputs.to(device, weight.dtype))).cpu())
        yield logits, batch.labels
