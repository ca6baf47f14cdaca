"""Claims: a step on a teacher's stored answers costs at most 1.05 (images) or 1.10 (tokens) of a plain supervised
step; they are read at least 50 times faster than one file an example; a token takes at most 64 bytes, without bias.

python benchmarks/teacher_store.py    (Tiny Shakespeare from UNDERSTUDY_DATA, else ../shared/data)
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ratio, save
from torch import Tensor, nn

from understudy.data import Batch, DataSet
from understudy.data.randomness import Randomness
from understudy.models import zoo
from understudy.models.config import ModelConfig
from understudy.models.saved import sha256_state
from understudy.objectives.divergences import cross_entropy, kl
from understudy.objectives.sparse_targets import sparse_cross_entropy
from understudy.sources import Augmented, Cast
from understudy.teachers import (
    Dense,
    DenseTargets,
    Encoding,
    Identity,
    Replay,
    Sampled,
    SparseTargets,
    TeacherStore,
    TopK,
    open_store,
    record_teacher,
    write_store,
)

CAST = Cast(nn.Identity(), None)
Step = Callable[[int], Tensor]  # number of the step -> the loss


def several(step: Step, model: nn.Module, steps: int) -> Callable[[], None]:
    """An arm: `steps` steps of training. Few, and many rounds: the load of a shared machine moves."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)

    def arm() -> None:
        for number in range(steps):
            step(number).backward()
            optimizer.step()
            optimizer.zero_grad()

    return arm


def images(spec: str, shape: tuple[int, ...], folder: Path, steps: int, augment: bool) -> dict[str, Any]:
    """Plain: cross-entropy. Stored: 0.1 cross-entropy + 0.9 * 16 KL at T = 4 to stored float16 logits."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8192, *shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 100, (8192,), generator=generator)
    data = DataSet("random pixels", "train", pixels, labels, 100, scale=255.0)
    teacher, student = (zoo.build(ModelConfig(s, shape, 100)) for s in ("mlp[64]", spec))
    source = Augmented(pixels=2, mirror=True)
    replay = Replay(source, views=2)
    shown = replay if augment else None
    identity = record_teacher(folder, teacher, sha256_state(teacher), data, Dense(), replay=shown)
    store, random = open_store(folder, identity), Randomness(0)
    order = torch.randperm(8192, generator=generator)

    def batch(number: int) -> Batch:
        index = order[128 * number : 128 * (number + 1)]
        return Batch({"clean": data.inputs(index)}, index, labels[index], epoch=1)

    def plain(number: int) -> Tensor:
        seen = batch(number)
        if augment:
            random.begin(number)
            seen = source.show(seen, CAST, random)
        return cross_entropy(student(seen.clean), labels[seen.index]).mean()

    def stored(number: int) -> Tensor:
        seen = batch(number)
        view = replay.number(seen) if augment else 0
        if augment:
            seen = replay.at(seen, view, CAST)
        logits, targets = student(seen.clean), store.read(seen.index, view)
        assert isinstance(targets, DenseTargets)
        soft = 16.0 * kl(targets.logits, logits, 4.0)
        return (0.1 * cross_entropy(logits, labels[seen.index]) + 0.9 * soft).mean()

    def read() -> None:
        for number in range(steps):
            seen = batch(number)
            store.read(seen.index, replay.number(seen) if augment else 0)

    alone = ratio(read, several(plain, student, steps), rounds=10)["ratio"]
    return {
        "making a batch and reading its answers / plain step": alone,
        **ratio(several(stored, student, steps), several(plain, student, steps), rounds=40),
        "target": 1.05,
        "bytes_per_image": round(store.bytes_per_unit, 1),
    }


def words() -> tuple[np.ndarray, int]:
    """Tiny Shakespeare as numbers of its words and signs, rare ones as one; and how many there are."""
    named = os.environ.get("UNDERSTUDY_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    text = (root / "tinyshakespeare" / "input.txt").read_text().lower()
    for sign in ".,:;!?'-\n":
        text = text.replace(sign, f" {sign} " if sign != "\n" else " <line> ")
    found = text.split()
    number = {word: i + 1 for i, (word, _) in enumerate(Counter(found).most_common())}
    return np.array([number[word] for word in found]), len(number) + 1


class Trigram:
    """Interpolated trigram: 0.1 unigram + 0.3 bigram + 0.6 trigram, each where its history was seen."""

    def __init__(self, ids: np.ndarray, vocabulary: int) -> None:
        self.base = np.bincount(ids, minlength=vocabulary) + 0.1
        self.base /= self.base.sum()
        self.after: tuple[dict[Any, Counter[int]], ...] = ({}, {})
        for a, b, c in zip(ids[:-2].tolist(), ids[1:-1].tolist(), ids[2:].tolist(), strict=True):
            self.after[0].setdefault(b, Counter())[c] += 1
            self.after[1].setdefault((a, b), Counter())[c] += 1

    def logits(self, ids: np.ndarray, first: int, stop: int) -> Tensor:
        """ln p of what follows ids[i], ids[i + 1], for i in first..stop-1: (N, V)."""
        rows = np.tile(self.base, (stop - first, 1))
        for row, i in enumerate(range(first, stop)):
            a, b = int(ids[i]), int(ids[i + 1])
            for table, history, share in ((self.after[0], b, 0.75), (self.after[1], (a, b), 2 / 3)):
                if (seen := table.get(history)) is not None:
                    total = sum(seen.values())
                    rows[row] *= 1 - share
                    rows[row, list(seen)] += share * np.array(list(seen.values())) / total
        return torch.from_numpy(np.log(rows)).float()


class Language(nn.Module):
    """A small causal transformer: (B, L) word numbers -> (B L, V) logits."""

    def __init__(self, vocabulary: int, width: int = 128, length: int = 128) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.words(ids) + self.places.weight
        return self.head(self.body(hidden, self.mask, is_causal=True)).flatten(0, 1)


def tokens(folder: Path) -> dict[str, Any]:
    """Plain: cross-entropy to the next word. Stored: to sampled targets, alone and with the label's share mixed in."""
    ids, vocabulary = words()
    units = 64 * 128  # of the last tenth of the text; the teacher is counted on the rest
    held = ids[-(units + 3) :]
    teacher = Trigram(ids[: len(ids) * 9 // 10], vocabulary)
    said = teacher.logits(held, 0, units)
    stores = {
        str(encoding): kept(folder / str(number), said, encoding)
        for number, encoding in enumerate((Sampled(50), Sampled(35), TopK(12), TopK(50)))
    }
    store = stores[str(Sampled(50))]
    torch.manual_seed(0)
    student = Language(vocabulary)
    sequence = torch.from_numpy(held[1:-2].copy()).view(-1, 128)
    following = torch.from_numpy(held[2:-1].copy()).view(-1, 128)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0)).view(-1, 8)

    def plain(number: int) -> Tensor:
        rows = order[number]
        return cross_entropy(student(sequence[rows]), following[rows].flatten()).mean()

    def stored(share: float) -> Step:
        def step(number: int) -> Tensor:
            rows = order[number]
            targets = store.read((rows[:, None] * 128 + torch.arange(128)).flatten())
            assert isinstance(targets, SparseTargets)
            if share:
                targets = targets.with_labels(following[rows].flatten(), share)
            logits = student(sequence[rows])
            return sparse_cross_entropy(logits, targets.indices, targets.probabilities).mean()

        return step

    steps = 1
    found = store.read(torch.arange(units))
    assert isinstance(found, SparseTargets)
    return {
        "vocabulary": vocabulary,
        "setting": f"transformer of 2 layers of width 128, 8 x 128 tokens a step, {steps} step a round",
        "teacher_entropy_nats": round(float(-(said.exp() * said).sum(1).mean()), 3),
        "classes_per_token_of_50_draws": round(float((found.probabilities > 0).sum(1).float().mean()), 2),
        "stores": {
            name: {
                "bytes_per_token": round(one.bytes_per_unit, 1),
                "lost_mass_mean": 0.0 if one.lost_mass is None else round(one.lost_mass[0], 4),
                "dense_float16_bytes": 2 * vocabulary,
            }
            for name, one in stores.items()
        },
        "sampled / plain": {
            **ratio(several(stored(0.0), student, steps), several(plain, student, steps), rounds=15),
            "target": 1.10,
        },
        "sampled with 0.1 of the label / plain": {
            **ratio(several(stored(0.1), student, steps), several(plain, student, steps), rounds=15),
            "target": 1.10,
        },
    }


def kept(folder: Path, said: Tensor, encoding: Encoding) -> TeacherStore:
    """A store of these logits."""
    identity = Identity(
        teacher="trigram", data="tinyshakespeare", fingerprint="last", units=len(said), classes=said.shape[1],
        unit="token", temperature=1.0,
    )  # fmt: skip
    write_store(folder, identity, encoding, lambda view, first, stop: said[first:stop])
    return open_store(folder, identity)


def reading(folder: Path, encoding: Encoding) -> dict[str, Any]:
    """Batches of 128 of 2,048 examples of 100 classes, shuffled: the store against a file each, caches warm."""
    logits = 4 * torch.randn(2048, 100, generator=torch.Generator().manual_seed(0))
    identity = Identity(
        teacher="random", data="random", fingerprint="random", units=2048, classes=100,
        temperature=1.0 if encoding.tempered else None,
    )  # fmt: skip
    write_store(folder / "store", identity, encoding, lambda view, first, stop: logits[first:stop])
    store = open_store(folder / "store", identity)
    for kind in ("pt", "npy"):
        (folder / kind).mkdir()
    for i, row in enumerate(logits.half()):
        torch.save(row.clone(), folder / "pt" / f"{i}.pt")
        np.save(folder / "npy" / f"{i}.npy", row.numpy())
    order = torch.randperm(2048, generator=torch.Generator().manual_seed(1))[:512].view(-1, 128)

    def ours() -> None:
        for _ in range(32):  # so that the clock sees enough of it
            for rows in order:
                store.read(rows)

    def files_pt() -> None:
        for rows in order:
            torch.stack(
                [torch.load(folder / "pt" / f"{i}.pt", weights_only=True) for i in rows.tolist()]
            ).float()

    def files_npy() -> None:
        for rows in order:
            parts = [np.load(folder / "npy" / f"{i}.npy", allow_pickle=False) for i in rows.tolist()]
            torch.from_numpy(np.stack(parts)).float()

    rows: dict[str, Any] = {"bytes_per_example": round(store.bytes_per_unit, 1)}
    for kind, theirs in (("pt", files_pt), ("npy", files_npy)):
        found = ratio(ours, theirs, clock=time.perf_counter)
        low, high = found["ratio_range"]
        rows[f"times faster than .{kind}"] = {
            "median": round(32 * found["theirs_seconds"] / found["ours_seconds"], 1),
            "range": [round(32 / high, 1), round(32 / low, 1)],
            "seconds_of_512_from_files": found["theirs_seconds"],
            "target": 50,
            "bytes_per_file": sum(p.stat().st_blocks * 512 for p in (folder / kind).iterdir()) // 2048,
        }
    return rows


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        claims = {
            "images cnn[16,32,100] 1x28x28": images("cnn[16,32,100]", (1, 28, 28), place / "a", 4, False),
            "images cnn[16,32,100] 1x28x28 augmented": images(
                "cnn[16,32,100]", (1, 28, 28), place / "b", 4, True
            ),
            "images resnet8 3x32x32": images("resnet8", (3, 32, 32), place / "c", 1, False),
            "tokens": tokens(place / "tokens"),
        }
        for label, encoding in (("dense float16", Dense()), ("sampled", Sampled(50))):
            (place / label).mkdir()
            claims[f"reading, {label}"] = reading(place / label, encoding)
    setting = (
        "batch 128, 100 classes, random pixels; one thread; seconds of processor time, reading by the clock"
    )
    save(
        "teacher_store",
        {"claim": "a step on stored answers / a plain supervised step", "setting": setting, **claims},
    )


if __name__ == "__main__":
    main()
