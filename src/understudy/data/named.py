"""The named data sets: what each is, and the one that is embedded (UCI digits, from scikit-learn)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version

from understudy.data.decoded import Decoded
from understudy.data.tabular import COMPAS_OUTCOMES

DIGITS = tuple(str(digit) for digit in range(10))
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Declaration:
    """What is known of a named set before it is opened.

    Attributes:
        hub: id on the Hugging Face hub, or None for an embedded set and for one that is only read from files.
        class_names: in class order.
        mean, std: statistics a channel in [0, 1], where models of the field normalise by them.
    """

    hub: str | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


NAMED: dict[str, Declaration] = {
    "digits": Declaration(None, DIGITS),
    "mnist": Declaration("ylecun/mnist", DIGITS),
    "fashion_mnist": Declaration(
        "zalando-datasets/fashion_mnist",
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "cifar10": Declaration(
        "uoft-cs/cifar10",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "compas": Declaration(None, COMPAS_OUTCOMES),
    "digit_mosaic": Declaration(None, DIGITS),
}

DIGITS_SCALE = 16.0
DIGITS_TEST = 450


def digits_key(split: str) -> str:
    """What the embedded set is cached under: it comes with scikit-learn, so it is fixed by its version."""
    return hashlib.sha256(f"digits {split}, scikit-learn {version('scikit-learn')}".encode()).hexdigest()


def decode_digits(split: str) -> Decoded:
    """UCI digits, (N, 1, 8, 8) uint8 in 0..16: 1,347 for training, 450 for testing.

    The split is fixed, stratified by class, and in random order, so that the first N are a fair sample:
    `train_test_split(arange(1797), test_size=450, stratify=labels, random_state=0)` of scikit-learn.
    """
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    rows = train_test_split(
        np.arange(len(bunch.target)), test_size=DIGITS_TEST, stratify=bunch.target, random_state=0
    )[SPLITS.index(split)]
    inputs = bunch.images[rows].astype(np.uint8)[:, None]
    return Decoded(inputs, bunch.target[rows].astype(np.int64), DIGITS)
