"""A student that speaks its teacher's language can search the teacher's index; one that only copies relations cannot.

LEAF (arXiv 2509.12539) against matching the batch's similarity matrix, on digits, with a teacher of 32 numbers a digit;
with --texts on the sentences of STS-B, teacher TF-IDF and a truncated SVD, student hashed character n-grams. Prints the
cosine to the teacher (mean and 5th percentile), the median place of the teacher's own vector among all of its vectors,
and how often the nearest document is a right one: student on both sides, student's queries and teacher's documents, the
same with the first numbers alone and with one bit a number.

    python examples/leaf.py
    UNDERSTUDY_DATA=folder python examples/leaf.py --texts
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import understudy as us
from understudy.data.ngrams import hashed_ngrams, padded
from understudy.data.resolve import load_data
from understudy.fidelity.retrieval import nearest, place_among, shortened, signs
from understudy.models.embedder import Columns, Embedder, Unit, linear_bag


@dataclass(frozen=True, kw_only=True)
class GramMatch(us.Method):
    """The control: every pair of the batch has the teacher's cosine."""

    needs = us.Needs(vectors=True, whole_batch=True)

    def terms(self, student: us.Outputs, teacher: us.Outputs, batch: us.Batch) -> dict[str, Tensor]:
        """{"gram": (B,)}."""
        s, t = (F.normalize(side.logits, dim=1) for side in (student, teacher))
        return {"gram": (s @ s.T - t @ t.T).square().sum(1)}


@dataclass(frozen=True, eq=False)
class Task:
    """What is learnt from, what is searched, and when a document is a right one."""

    train: Tensor
    queries: Tensor
    documents: Tensor
    right: Callable[[Tensor], Tensor]
    teacher: nn.Module
    student: Callable[[], nn.Module]
    kept: int


def digits(epochs: int) -> Task:
    """The teacher is the body of a classifier; a document is right if it has the query's label."""
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert train.labels is not None
    assert test.labels is not None
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 32), Unit())
    head = nn.Linear(32, 10)
    nn.init.normal_(head.weight, std=3.0)
    us.train("digits", nn.Sequential(body, head), epochs=min(epochs, 30), lr=2e-3, batch_size=64)
    known, asked = train.labels, test.labels
    return Task(
        train.inputs(slice(None)), test.inputs(slice(None)), train.inputs(slice(None)),
        lambda found: known[found] == asked, body.eval(),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 32)), 8,
    )  # fmt: skip


def sentences(root: Path, most: int | None) -> Task:
    """The pairs that people scored 4 or more: a query's right document is the other sentence of its pair."""
    import pyarrow.parquet as pq
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = {
        s: pq.read_table(root / "stsb" / f"{s}-00000-of-00001.parquet").to_pylist() for s in ("train", "test")
    }
    train = sorted({row[side] for row in rows["train"] for side in ("sentence1", "sentence2")})[:most]
    pairs = [row for row in rows["test"] if row["score"] >= 4]
    documents = sorted({row["sentence2"] for row in rows["test"]})
    words = TfidfVectorizer(lowercase=True, min_df=2).fit(train)
    svd = TruncatedSVD(64, random_state=0).fit(words.transform(train))
    teacher = linear_bag(torch.tensor(words.idf_[:, None] * svd.components_.T, dtype=torch.float32))
    split, known = words.build_analyzer(), words.vocabulary_

    def rows_of(texts: list[str]) -> Tensor:
        """96 columns of words for the teacher, 320 of character trigrams for the student."""
        whole = padded([[known[w] + 1 for w in split(text) if w in known] for text in texts], 96)
        return torch.cat([whole, hashed_ngrams(texts, 4096, (3,), 320)], 1).float()

    own = torch.tensor([documents.index(row["sentence2"]) for row in pairs])
    return Task(
        rows_of(train), rows_of([row["sentence1"] for row in pairs]), rows_of(documents),
        lambda found: found == own, Columns(teacher, 0, 96).eval(),
        lambda: Columns(Embedder(4096, 96, 64, hidden=(256,)), 96, 416), 16,
    )  # fmt: skip


@torch.no_grad()
def report(name: str, task: Task, student: nn.Module) -> None:
    """One line of figures."""
    asked, indexed = student(task.queries), student(task.documents)
    said, index = task.teacher(task.queries), task.teacher(task.documents)
    cosine = F.cosine_similarity(asked, said)
    place = place_among(asked, torch.cat([said, index]), torch.arange(len(asked))).median().item()
    modes = {
        "student-student": nearest(asked, indexed),
        "student-teacher": nearest(asked, index),
        f"first {task.kept}": nearest(shortened(asked, task.kept), shortened(index, task.kept)),
        "signs": nearest(signs(asked), signs(index)),
    }
    hits = ", ".join(f"{mode} {task.right(found).double().mean():.3f}" for mode, found in modes.items())
    low = cosine.quantile(0.05).item()
    print(f"  {name:8} cosine {cosine.mean():.3f} (5% {low:.3f}), place {place}; right: {hits}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=None, help="140 for digits, 12 for texts")
    parser.add_argument("--texts", action="store_true", help="STS-B instead of digits")
    parser.add_argument(
        "--examples", type=int, default=None, help="sentences to learn from; all if not given"
    )
    args = parser.parse_args()
    epochs = args.epochs if args.epochs is not None else (12 if args.texts else 140)
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        if args.texts:
            task = sentences(Path(os.environ["UNDERSTUDY_DATA"]), args.examples)
        else:
            task = digits(epochs)
        print(f"seed {seed}")
        report("teacher", task, task.teacher)
        data = us.DataSet("rows", "train", task.train, low=float("-inf"), high=float("inf"))
        for name, method in (("LEAF", "leaf"), ("Gram", GramMatch())):
            student = task.student()
            us.distill(
                task.teacher,
                student,
                data,
                method=method,
                epochs=epochs,
                batch_size=64,
                lr=4e-3 if args.texts else 2e-3,
                seed=seed,
            )
            report(name, task, student)


if __name__ == "__main__":
    main()
