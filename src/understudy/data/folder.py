"""A folder of images: one sub-folder a class, perhaps below `train/` and `test/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from understudy.data.cache import cached, content_key
from understudy.data.decoded import Decoded, Progress, clean_labels
from understudy.data.images import decode_images
from understudy.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp"})
KINDS = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
SPLIT_NAMES = ("train", "test", "validation", "valid", "val")


def load_image_folder(
    folder: Path, split: str, cache: Path | None = None, progress: Progress | None = None
) -> Decoded:
    """The images of one split, class by class, files in order of their names; other files are passed over.

    `folder` holds `train/`, `test/`, ... or, without those, is the split "train" itself. Classes are the
    sorted names of the sub-folders (of `train/` where there is one, so that a class means the same in every
    split); images that lie in no sub-folder are unlabelled.

    Raises:
        InputError: no such split, no images, an empty class, a class that training does not know, images both
            inside and outside class folders, or images of different modes or sizes.
    """
    place = _split_place(folder, split)
    train = folder / "train"
    classes = _classes(train if train.is_dir() else place)
    loose = _images(place, deep=False)
    inner = _classes(place)
    if inner and loose:
        raise InputError(
            f"{place} holds class folders ({inner[0]}, ...) and loose images ({loose[0].name}, ...)"
        )
    strange = sorted(set(inner) - set(classes))
    if strange:
        raise InputError(
            f"{place} has a class {strange[0]!r} that {train} has not; known: {', '.join(classes)}"
        )
    members = {name: _images(place / name, deep=True) for name in inner}
    if not loose and not any(members.values()):
        raise InputError(
            f"{place} holds no images ({KINDS}), neither in class folders nor loose, and no parquet files"
        )
    empty = [name for name, files in members.items() if not files]
    if empty:
        raise InputError(f"class folder {place / empty[0]} holds no images ({KINDS})")
    files = loose + [file for name in inner for file in members[name]]
    labels = [-1] * len(loose) + [classes.index(name) for name in inner for _ in members[name]]
    key = content_key(["folder", repr(classes), repr(labels), *files])
    return cached(key, lambda: _decode(files, labels, classes, folder.name, progress), cache)


def _split_place(folder: Path, split: str) -> Path:
    there = [name for name in SPLIT_NAMES if (folder / name).is_dir()]
    if there and split in there:
        return folder / split
    if not there and split == "train":
        return folder
    found = ", ".join(there) if there else "no split folders, so it is train"
    raise InputError(
        f"{folder} has no split {split!r}: it has {found}; "
        f"put images into {folder / split}, or ask for a split that is there"
    )


def _classes(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path, deep: bool) -> list[Path]:
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _decode(
    files: list[Path], labels: list[int], classes: list[str], name: str, progress: Progress | None
) -> Decoded:
    def contents() -> Iterator[bytes]:
        for file in files:
            yield file.read_bytes()

    inputs = decode_images(contents(), len(files), lambda row: str(files[row]), progress)
    return Decoded(inputs, clean_labels(labels, name, len(classes) or None), tuple(classes) or None)
