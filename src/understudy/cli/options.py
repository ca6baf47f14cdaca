"""Options that commands share, and how their text is read. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from understudy.errors import InputError
from understudy.numbers import read_number

Eps = Annotated[
    list[str] | None,
    typer.Option(
        "--eps", metavar="E", help="Radius in the data's units; repeat it or give a list: 0,1/255,.03."
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field of the method; repeatable.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder to write; it must be new or empty.")
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="DIR", help="Continue the run in this folder (instead of --out)."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", metavar="DIR", help="Folder of named data sets as parquet; else $UNDERSTUDY_DATA."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Devices = Annotated[int, typer.Option("--devices", metavar="N", help="Processes, one device each.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Examples a step, over all devices.")
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", metavar="N", help="Passes over the data; default by data set.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Of initialisation, order and attacks [default: 0].")
]
LearningRate = Annotated[
    float | None, typer.Option("--lr", metavar="X", help="Learning rate at the start; default by data set.")
]
Examples = Annotated[
    int | None, typer.Option("--examples", metavar="N", help="Train on the first N examples only.")
]
Labelled = Annotated[
    int | None,
    typer.Option(
        "--labelled", metavar="N", help="Hide the labels of all but N examples, for methods that can."
    ),
]
Stored = Annotated[
    Path | None,
    typer.Option(
        "--stored", metavar="DIR", help="Keep the teacher's answers here, and read them if they are there."
    ),
]
StoredViews = Annotated[
    int | None,
    typer.Option(
        "--stored-views", metavar="N", help="Draws of the augmentation that are kept, shown in turn (1)."
    ),
]
TeacherNormalize = Annotated[
    str | None,
    typer.Option(
        "--teacher-normalize", metavar="MEAN:STD", help="For a teacher from outside: .5:.5 or a,b,c:d,e,f."
    ),
]
StudentNormalize = Annotated[
    str | None,
    typer.Option("--student-normalize", metavar="MEAN:STD", help="For a student from outside, likewise."),
]
Data = Annotated[
    str,
    typer.Option(
        "--data", metavar="D", help="digits, mnist, fashion_mnist, cifar10, compas, a path or a hub id."
    ),
]
DataMaybe = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="D", help="digits, mnist, fashion_mnist, cifar10, compas, a path or a hub id."
    ),
]
Teacher = Annotated[
    str,
    typer.Option(
        "--teacher",
        metavar="T",
        help="A run folder, .safetensors, .onnx, 'mlp[200,200]@FILE' or module:callable.",
    ),
]
TeacherMaybe = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="T",
        help="A run folder, .safetensors, .onnx, 'mlp[200,200]@FILE' or module:callable.",
    ),
]
Student = Annotated[
    str, typer.Option("--student", metavar="S", help="The student, in the same forms as --teacher.")
]
NewFolder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder to write; it must be new or empty.")
]
Split = Annotated[str, typer.Option("--split", metavar="NAME", help="Which part of the data set.")]
Points = Annotated[
    int | None,
    typer.Option("--points", metavar="N", help="How many rows [default: 100, or all if there are fewer]."),
]
Start = Annotated[int, typer.Option("--start", metavar="I", help="The first row.")]
ModelMaybe = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="mlp, cnn, resnet20, vit, ...; 'mlp[64,64]'; or module:callable."
    ),
]


class Device(StrEnum):
    """Where to run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Norm(StrEnum):
    """Shape of the ball."""

    linf = "linf"
    l2 = "l2"


class Certify(StrEnum):
    """Which upper bound is computed."""

    none = "none"
    ibp = "ibp"
    crown = "crown"
    alpha = "alpha"
    milp = "milp"
    exact = "exact"


class Augment(StrEnum):
    """What is done to training images."""

    none = "none"
    shift = "shift"
    shift_flip = "shift+flip"


class Schedule(StrEnum):
    """How the learning rate moves."""

    cosine = "cosine"
    constant = "constant"


DeviceOption = Annotated[Device, typer.Option("--device", help="Where to run.")]
ScheduleOption = Annotated[
    Schedule | None,
    typer.Option(
        "--schedule", help="Learning rate: falling to 0 by a cosine, or constant [default: cosine]."
    ),
]
AugmentOption = Annotated[
    Augment | None, typer.Option("--augment", help="Random shifts, or shifts and flips.")
]


def radii(texts: Sequence[str] | None) -> tuple[float, ...] | None:
    """All radii given, by repetition and in comma lists; None if there are none."""
    if not texts:
        return None
    return tuple(read_number("--eps", part) for text in texts for part in text.split(","))


def one_radius(texts: Sequence[str] | None) -> float | None:
    """The one training radius.

    Raises:
        InputError: several were given.
    """
    found = radii(texts)
    if found is not None and len(found) != 1:
        raise InputError(f"a training has one radius, found {len(found)}: {', '.join(texts or [])}")
    return found[0] if found else None


def assignments(texts: Sequence[str] | None) -> dict[str, str] | None:
    """`field=value` pairs.

    Raises:
        InputError: not of that form, or a field twice.
    """
    if not texts:
        return None
    found: dict[str, str] = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals or not field:
            raise InputError(f"--set takes field=value, found {text!r}")
        if field in found:
            raise InputError(f"--set names {field} twice")
        found[field] = value
    return found
