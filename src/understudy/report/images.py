"""Inputs as pictures: PNG data URIs for images, bar strips for flat inputs, differences with their scale."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from understudy.report.markup import Markup, el

_SIDE = 128  # pictures are enlarged by whole factors until they reach this many pixels
_THUMB = 64  # a small one has at most this many
_STRIP = 64  # a flat input shows at most this many features
# ends of the diverging scale (its middle is transparent): readable without telling red from green
_LESS, _MORE = np.array([33, 112, 190]), np.array([205, 92, 8])


def is_image(values: Float[np.ndarray, "*shape"]) -> bool:
    """Whether (C, H, W) with one or three channels, or (H, W)."""
    return values.ndim == 2 or (values.ndim == 3 and values.shape[0] in (1, 3))


def picture(values: Float[np.ndarray, "*shape"], low: float, high: float, alt: str) -> Markup:
    """An input in [low, high] as an <img> with its PNG inside. Values: (C, H, W) or (H, W)."""
    return inline(pixels_of(values, low, high), alt, _SIDE)


def thumbnail(values: Float[np.ndarray, "*shape"], low: float, high: float, alt: str) -> Markup:
    """The same as small as the input is; inputs of more than 64 pixels a side lose every second, third, ..."""
    return inline(thinned(pixels_of(values, low, high), _THUMB), alt, 1)


def thinned(pixels: UInt8[np.ndarray, "h w channels"], side: int) -> UInt8[np.ndarray, "v u channels"]:
    """Every second, third, ... pixel of an image of more than `side` pixels a side."""
    skip = max(1, -(-max(pixels.shape[:2]) // side))
    return np.ascontiguousarray(pixels[::skip, ::skip])


def pixels_of(
    values: Float[np.ndarray, "*shape"], low: float, high: float
) -> UInt8[np.ndarray, "h w channels"]:
    """An input in [low, high] as bytes of red, green and blue. Values: (C, H, W) or (H, W)."""
    channels = values[None] if values.ndim == 2 else values
    scaled = np.clip((channels - low) / max(high - low, 1e-12), 0, 1)
    pixels = np.rint(255 * np.moveaxis(scaled, 0, -1)).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def difference(values: Float[np.ndarray, "*shape"], reach: float, alt: str) -> Markup:
    """A signed difference: full colour at -reach and +reach. One channel diverges from blue (less) over
    transparent to orange (more); three channels are drawn around middle grey."""
    channels = values[None] if values.ndim == 2 else values
    share = np.clip(channels / max(reach, 1e-12), -1, 1)
    if len(channels) == 3:
        return inline(np.rint(127.5 + 127.5 * np.moveaxis(share, 0, -1)).astype(np.uint8), alt, _SIDE)
    towards = np.where(share[0][..., None] < 0, _LESS, _MORE)
    weight = np.rint(255 * np.abs(share[0]))[..., None]
    return inline(np.concatenate([towards, weight], axis=-1).astype(np.uint8), alt, _SIDE)


def inline(pixels: UInt8[np.ndarray, "h w channels"], alt: str, side: int) -> Markup:
    """An <img> with its PNG inside, enlarged by a whole factor until it reaches `side` pixels."""
    height, width = pixels.shape[:2]
    factor = max(1, -(-side // max(height, width)))
    image = Image.fromarray(pixels).resize((width * factor, height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return el(
        "img", src=f"data:image/png;base64,{data}", alt=alt, width=width * factor, height=height * factor
    )


def shown_features(moved: Float[np.ndarray, "*shape"]) -> list[int]:
    """Which features of a flat input to draw: all, or the ones that moved most, in their order."""
    flat = np.abs(moved.reshape(-1))
    if flat.size <= _STRIP:
        return list(range(flat.size))
    return sorted(int(i) for i in np.argsort(-flat, kind="stable")[:_STRIP])


def strip(
    values: Float[np.ndarray, "*shape"], features: list[int], reach: float, alt: str, look: str
) -> Markup:
    """A small bar a feature, upwards for positive, downwards for negative values; full height at `reach`."""
    flat = values.reshape(-1)
    width, height = 200.0, 72.0
    step = width / max(len(features), 1)
    signed = bool((flat[features] < 0).any()) if features else False
    zero = height / 2 if signed else height - 1
    bars = []
    for place, feature in enumerate(features):
        length = float(np.clip(abs(flat[feature]) / max(reach, 1e-12), 0, 1)) * (zero - 2)
        up = flat[feature] >= 0
        bars.append(
            el(
                "rect",
                x=place * step + step * 0.12,
                y=zero - length if up else zero,
                width=step * 0.76,
                height=max(length, 0.3),
                class_=f"{look} {'up' if up else 'down'}",
            )
        )
    return el(
        "svg",
        el("title", alt),
        el("line", x1=0, x2=width, y1=zero, y2=zero, class_="axis"),
        *bars,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        class_="strip",
    )
