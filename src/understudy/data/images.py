"""Decoding images into one array, and refusing sets whose images do not go together."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import UInt8

from understudy.data.decoded import Progress
from understudy.errors import InputError

MODES = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB"}
"""Pixel modes that are understood, and what each becomes."""


def decode_images(
    encoded: Iterable[bytes], count: int, where: Callable[[int], str], progress: Progress | None = None
) -> UInt8[np.ndarray, "n c h w"]:
    """Images (PNG, JPEG, ...) as (count, channels, height, width) uint8, in order.

    Args:
        encoded: the files' bytes, `count` of them.
        where: names a row in messages ("row 7", a file).
        progress: told now and then how far it is.

    Raises:
        InputError: an image that cannot be read, or differs from the first in mode or size.
    """
    out = np.empty((0, 0, 0, 0), dtype=np.uint8)
    for row, data in enumerate(encoded):
        pixels = decode_image(data, where(row))
        if row == 0:
            out = np.empty((count, *pixels.shape), dtype=np.uint8)
        elif pixels.shape != out.shape[1:]:
            raise InputError(
                f"{where(row)} is {_describe(pixels.shape)}, but {where(0)} is {_describe(out.shape[1:])}: "
                "all images of a set must have one mode and one size"
            )
        out[row] = pixels
        if progress is not None and (row % 256 == 255 or row == count - 1):
            progress(row + 1, count)
    return out


def decode_image(data: bytes, where: str) -> UInt8[np.ndarray, "c h w"]:
    """One image as (channels, height, width) uint8; grey has one channel, colour three."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in MODES:
                raise InputError(
                    f"{where} has pixels of mode {image.mode}; understood are {', '.join(MODES)}: "
                    "convert it to L or RGB"
                )
            if image.format == "JPEG":
                ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(
                image if MODES[image.mode] == image.mode else image.convert(MODES[image.mode])
            )
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{where} is not a readable image: {error}") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _describe(shape: tuple[int, ...]) -> str:
    return f"{'grey' if shape[0] == 1 else 'colour'} {shape[2]}x{shape[1]}"
