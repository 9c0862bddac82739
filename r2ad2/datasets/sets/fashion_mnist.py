"""Fashion-MNIST: articles of clothing, 28x28 pixels."""

from __future__ import annotations

from pathlib import Path

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.images import (
    IMAGE_FILES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    read_images,
)

_SOURCE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

CARD = DatasetCard(
    name="fashion_mnist",
    title="Fashion-MNIST: articles of clothing, 28x28 pixels",
    publisher="Xiao, Rasul and Vollgraf (2017), Zalando Research",
    url="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    files={
        TRAIN_IMAGES: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        TRAIN_LABELS: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        TEST_IMAGES: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        TEST_LABELS: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    alternatives={file: (file.removesuffix(".gz"),) for file in IMAGE_FILES},
    downloads={file: _SOURCE + file for file in IMAGE_FILES},
    normal=("0", "1", "2", "3"),
    anomalous=("4", "5", "6", "7", "8", "9"),
    known_transfer=("4", "5", "6"),
    architecture="8C3-8C3-8",
    alarm_units=(1000, 500, 200, 75),
    batch_size=512,
    rows=70_000,
    class_counts={
        "0": 7000,
        "1": 7000,
        "2": 7000,
        "3": 7000,
        "4": 7000,
        "5": 7000,
        "6": 7000,
        "7": 7000,
        "8": 7000,
        "9": 7000,
    },
)


def read(folder: Path, download: bool = False) -> Dataset:
    """Read the four idx files or, without them, the copy of tensorflow-datasets.

    Args:
        folder: where the files are.
        download: whether tensorflow-datasets may download the set if it has not prepared it yet.
    """
    return read_images(CARD, folder, download)
