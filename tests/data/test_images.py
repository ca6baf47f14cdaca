from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from understudy.data.images import decode_image, decode_images
from understudy.errors import InputError

Make = Callable[..., np.ndarray]
Encode = Callable[..., bytes]


def _row(row: int) -> str:
    return f"row {row}"


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_formats_come_back_exactly(pixels: Make, encode: Encode, shape: tuple, kind: str) -> None:
    original = pixels(6, *shape)
    told: list[tuple[int, int]] = []
    found = decode_images([encode(p, kind) for p in original], 6, _row, lambda *at: told.append(at))
    expected = original[:, None] if len(shape) == 2 else original.transpose(0, 3, 1, 2)
    assert np.array_equal(found, expected)
    assert told[-1] == (6, 6)


def test_palette_and_black_and_white_are_understood(pixels: Make, encode: Encode) -> None:
    grey = (pixels(1, 4, 4)[0] > 127).astype(np.uint8) * 255
    assert np.array_equal(decode_image(encode(grey, mode="1"), "x")[0], grey)
    assert decode_image(encode(grey, "GIF", mode="P"), "x").shape == (3, 4, 4)


def test_photographs_are_turned_as_their_header_says(pixels: Make) -> None:
    import io

    from PIL import Image

    image = Image.fromarray(pixels(1, 8, 16)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue(), "x").shape == (1, 16, 8)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ((5, 7, 3), "row 2 is colour 7x5, but row 0 is grey 7x5"),
        ((7, 5), "row 2 is grey 5x7, but row 0 is grey 7x5"),
    ],
)
def test_the_first_that_differs_is_named(pixels: Make, encode: Encode, other: tuple, message: str) -> None:
    images = [encode(p) for p in [*pixels(2, 5, 7), *pixels(1, *other)]]
    with pytest.raises(InputError, match=message):
        decode_images(images, 3, _row)


def test_what_is_no_image_is_named(pixels: Make, encode: Encode) -> None:
    good = encode(pixels(1, 40, 40)[0])
    for bad in (b"", b"nothing", good[: len(good) // 2]):
        with pytest.raises(InputError, match="row 1 is not a readable image"):
            decode_images([good, bad], 2, _row)


def test_transparency_is_refused_rather_than_dropped(pixels: Make, encode: Encode) -> None:
    with pytest.raises(InputError, match=r"row 0 has pixels of mode RGBA.*convert"):
        decode_images([encode(pixels(1, 4, 4, 4)[0])], 1, _row)
