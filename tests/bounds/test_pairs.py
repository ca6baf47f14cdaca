"""The benchmark pairs: the fast bounds are at least as tight as the known fast passes, and above an attack."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from understudy.attacks.ball import Ball
from understudy.bounds import PairBounds

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(os.environ.get("UNDERSTUDY_DATA", SHARED / "data"))
PAIRS = SHARED / "pairs"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "mnist").is_dir() or not PAIRS.is_dir(),
        reason="needs MNIST and the pairs: set UNDERSTUDY_DATA",
    ),
]


def mlp(first: int, second: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 10),
    )


def cnn(first: int, second: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, first, 4, 2, 1), nn.ReLU(), nn.Conv2d(first, second, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(49 * second, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


BUILD = {
    "tiny": (mlp(40, 40), mlp(20, 20)),
    "mlp": (mlp(200, 200), mlp(50, 50)),
    "cnn": (cnn(16, 32, 100), cnn(8, 16, 50)),
}


@pytest.fixture(scope="module")
def points() -> Tensor:
    table = pq.read_table(next((DATA / "mnist").glob("test-*.parquet"))).slice(0, 8).to_pylist()
    images = [np.array(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in table]
    return torch.from_numpy(np.stack(images))[:, None].double() / 255


@pytest.mark.parametrize(
    ("base", "kind", "eps", "count", "known"),
    [
        # known: plain CROWN on pairwise margins, each network alone; at .01 the best fast joint bound
        ("tiny", "kd", 0.01, 8, 0.0380),
        ("tiny", "kd", 0.03, 8, 0.340),
        ("mlp", "adv", 0.01, 8, 0.0151),
        ("mlp", "adv", 0.03, 8, 0.074),
        ("mlp", "kd", 0.01, 8, 0.0285),
        ("cnn", "adv", 0.03, 2, 0.0034),
    ],
)
def test_tightness(base: str, kind: str, eps: float, count: int, known: float, points: Tensor, tools) -> None:
    teacher, student = BUILD[base]
    teacher.load_state_dict(load_file(PAIRS / f"T_{base}.safetensors"))
    student.load_state_dict(load_file(PAIRS / f"S_{base}_{kind}.safetensors"))
    pair = PairBounds(teacher, student, (1, 28, 28))
    found = pair.bound(points[:count], Ball(eps))
    assert sum(one.upper for one in found) / count <= known
    generator = torch.Generator().manual_seed(0)
    for x, one in zip(points, found, strict=False):
        reached = tools.attack(pair.teacher, pair.student, x, Ball(eps), generator, count=8)
        assert reached <= one.upper + 1e-9
