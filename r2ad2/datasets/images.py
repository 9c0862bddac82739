"""Images in idx files, the format of MNIST."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file
from r2ad2.datasets.tfds import from_tfds
from r2ad2.support.messages import reason_of
from r2ad2.tables.container import DAMAGED

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
IMAGE_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
_UNSIGNED_BYTE = 8  # the idx format's code of the only element type used here


def read_images(card: DatasetCard, folder: Path, download: bool = False) -> Dataset:
    """Read the four idx files of MNIST or a set like it or, without them, tensorflow-datasets.

    Args:
        card: the data set's card; tensorflow-datasets has the set under the same name.
        folder: where the files are.
        download: whether tensorflow-datasets may download the set if it has not prepared it yet.
    """
    try:
        parts = [
            _read_part(card, folder, TRAIN_IMAGES, TRAIN_LABELS),
            _read_part(card, folder, TEST_IMAGES, TEST_LABELS),
        ]
    except FileNotFoundError as error:
        try:
            return _read_tfds(card, download)
        except FileNotFoundError:
            raise error from None
    images = np.concatenate([images for images, _ in parts])
    return Dataset(
        card,
        (images / np.float32(255))[..., np.newaxis],
        np.concatenate([labels for _, labels in parts]).astype(str),
        test_mask=np.repeat([False, True], [len(labels) for _, labels in parts]),
    )


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes, plain or gzipped.

    Returns:
        uint8 array of the shape that the file states.

    Raises:
        ValueError: if the file is not of this format, or damaged.

    Source: the description of the format at http://yann.lecun.com/exdb/mnist/.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except DAMAGED as error:
        raise ValueError(
            f"cannot read {str(path)!r} ({reason_of(error)}): if it is damaged, download it again"
        ) from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise ValueError(f"{str(path)!r} is not an idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").astype(int).tolist())
    if len(content) - start != np.prod(shape):
        raise ValueError(
            f"{str(path)!r} states the shape {shape}, but contains {len(content) - start:,} "
            "values: the file is truncated or damaged, download it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read_part(
    card: DatasetCard, folder: Path, images_name: str, labels_name: str
) -> tuple[np.ndarray, np.ndarray]:
    images_path = find_file(card, folder, images_name)
    labels_path = find_file(card, folder, labels_name)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{str(images_path)!r} has shape {images.shape} and {str(labels_path)!r} "
            f"{labels.shape}; expected images of 28x28 pixels and one label for each"
        )
    if len(labels) and labels.max() > 9:
        row = int(np.flatnonzero(labels > 9)[0])
        raise ValueError(f"{str(labels_path)!r}, row {row}: label {labels[row]} is not one of 0-9")
    return images, labels


def _read_tfds(card: DatasetCard, download: bool) -> Dataset:
    dataset = from_tfds(
        card.name,
        normal=[int(name) for name in card.normal],
        anomalous=[int(name) for name in card.anomalous],
        test_split="test",
        download=download,
    )
    # Fashion-MNIST's classes have names there, but numbers in the paper.
    names = [*dataset.card.normal, *dataset.card.anomalous]
    numbers = dict(zip(names, [*card.normal, *card.anomalous], strict=True))
    classes = np.asarray([numbers[name] for name in dataset.classes])
    return dataclasses.replace(dataset, card=card, classes=classes)
