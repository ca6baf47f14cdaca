"""Running an ONNX file with onnxruntime, which the interpreter is held against."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError
from understudy.models.onnx.read import first_line

TOLERANCE = 1e-4  # of the largest logit in absolute value, or of 1 if that is smaller


class Reference:
    """An onnxruntime session over an ONNX model's bytes, on one CPU thread."""

    def __init__(self, proto: bytes, source: str) -> None:
        try:
            import onnxruntime
        except ImportError as missing:
            raise InputError(
                f"ONNX files are checked with onnxruntime ({missing}): pip install 'understudy[onnx]'"
            ) from missing
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # failures come as exceptions
        options.intra_op_num_threads = 1
        self.source = source
        try:
            self.session: Any = onnxruntime.InferenceSession(
                proto, options, providers=["CPUExecutionProvider"]
            )
        except Exception as broken:  # onnxruntime has no public base class for its errors
            raise InputError(f"onnxruntime cannot load {source}: {first_line(broken)}") from broken
        self.input = self.session.get_inputs()[0]

    def __call__(self, x: Float[Tensor, "b ..."]) -> Tensor:
        """The file's first output for a batch in the file's layout, as float32.

        Raises:
            InputError: onnxruntime refuses the batch.
        """
        kinds = {"tensor(double)": torch.float64, "tensor(float16)": torch.float16}
        array = x.detach().to(kinds.get(self.input.type, torch.float32)).contiguous().numpy()
        try:
            found = self.session.run(None, {self.input.name: array})[0]
        except Exception as broken:  # see above
            shape = tuple(x.shape)
            raise InputError(
                f"onnxruntime cannot run {self.source} on {shape}: {first_line(broken)}"
            ) from broken
        return torch.from_numpy(found).float()


def random_inputs(count: int, shape: tuple[int, ...], low: float, high: float) -> Float[Tensor, "n ..."]:
    """The same inputs every time: uniform in [low, high], standard normal where a side is unbounded."""
    generator = torch.Generator().manual_seed(0)
    if abs(low) == float("inf") or abs(high) == float("inf"):
        return torch.randn(count, *shape, generator=generator)
    return low + (high - low) * torch.rand(count, *shape, generator=generator)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest deviation, as a share of the largest value (or 1); infinite if shapes differ, or on NaN."""
    if found.shape != expected.shape or found.isnan().any() or expected.isnan().any():
        return float("inf")
    scale = max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
    return float((found - expected).abs().max()) / scale
