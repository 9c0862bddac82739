"""MNIST: handwritten digits, 28x28 pixels."""

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

_SOURCE = "https://storage.googleapis.com/cvdf-datasets/mnist/"

CARD = DatasetCard(
    name="mnist",
    title="MNIST: handwritten digits, 28x28 pixels",
    publisher="LeCun, Cortes and Burges (1998)",
    url="http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0",
    files={
        TRAIN_IMAGES: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        TRAIN_LABELS: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        TEST_IMAGES: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        TEST_LABELS: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    contents={
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    alternatives={file: (file.removesuffix(".gz"),) for file in IMAGE_FILES},
    downloads={file: _SOURCE + file for file in IMAGE_FILES},
    normal=("0", "1", "2", "3"),
    anomalous=("4", "5", "6", "7", "8", "9"),
    known_transfer=("4", "5", "6"),
    architecture="8C3-8C3-8",
    alarm_units=(1000, 500, 200, 75),
    batch_size=256,
    rows=70_000,
    class_counts={
        "0": 6903,
        "1": 7877,
        "2": 6990,
        "3": 7141,
        "4": 6824,
        "5": 6313,
        "6": 6876,
        "7": 7293,
        "8": 6825,
        "9": 6958,
    },
)


def read(folder: Path, download: bool = False) -> Dataset:
    """Read the four idx files or, without them, the copy of tensorflow-datasets.

    Args:
        folder: where the files are.
        download: whether tensorflow-datasets may download the set if it has not prepared it yet.
    """
    return read_images(CARD, folder, download)
