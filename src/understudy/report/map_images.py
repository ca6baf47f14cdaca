"""Maps of where a model looks, laid over the input: one model's by its strength, two models' by who looks where.

The map decides the colour, the input how bright it is: either can be read whatever the other is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from understudy.report.images import inline, pixels_of, thinned
from understudy.report.markup import Markup

_SIDE, _MOST = 128, 96  # small inputs are enlarged to so many pixels a side, large ones are thinned to these
_NONE, _LOOK = np.array([200, 200, 200]), np.array([255, 128, 0])  # ends of the scale of one map
# who looks: told apart by lightness as well, for readers who do not see all colours (Okabe and Ito)
BOTH, TEACHER, STUDENT = np.array([255, 235, 40]), np.array([225, 90, 0]), np.array([0, 92, 184])
_DARKEST = 0.6  # brightness of an input's least value


def seen(values: Float[np.ndarray, "c h w"], low: float, high: float, alt: str) -> Markup:
    """The input itself, as large as the maps beside it."""
    return inline(thinned(pixels_of(values, low, high), _MOST), alt, _SIDE)


def looked(
    values: Float[np.ndarray, "c h w"],
    low: float,
    high: float,
    strength: Float[np.ndarray, "v u"],
    alt: str,
) -> Markup:
    """An input and a map in [0, 1] over it, each place as it was measured, without smoothing."""
    light = _light(values, low, high)
    weight = _enlarged(np.asarray(strength, dtype=np.float64), light.shape[:2])[..., None]
    return _lit(light, (1 - weight) * _NONE + weight * _LOOK, alt)


def shared(
    values: Float[np.ndarray, "c h w"],
    low: float,
    high: float,
    teacher: Bool[np.ndarray, "v u"],
    student: Bool[np.ndarray, "v u"],
    alt: str,
) -> Markup:
    """An input, and over it where both look, where the teacher alone and where the student alone."""
    light = _light(values, low, high)
    one, other = (
        _enlarged(where.astype(np.float64), light.shape[:2])[..., None] > 0.5 for where in (teacher, student)
    )
    colours = np.where(one, np.where(other, BOTH, TEACHER), np.where(other, STUDENT, _NONE))
    return _lit(light, colours.astype(np.float64), alt)


def _light(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(h, w, 3) brightness in [_DARKEST, 1] of an input, thinned."""
    pixels = thinned(pixels_of(values.mean(0, keepdims=True), low, high), _MOST)
    return _DARKEST + (1 - _DARKEST) * pixels / 255.0


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(v, u) -> (h, w), each place a block."""
    image = Image.fromarray(values.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(image, dtype=np.float64)


def _lit(light: np.ndarray, colours: np.ndarray, alt: str) -> Markup:
    return inline(np.clip(np.rint(light * colours), 0, 255).astype(np.uint8), alt, _SIDE)
