"""Readers of MNIST and Fashion-MNIST: idx files, or what tensorflow-datasets has prepared."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.readers import find_file, register_reader
from r2ad2.datasets.tfds_sets import from_tfds

_UNSIGNED_BYTE = 8  # the idx format's code of the only element type used here


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes, plain or gzipped.

    Returns:
        uint8 array of the shape that the file states.

    Raises:
        ValueError: if the file is not of this format, or cut off.

    Source: the description of the format at http://yann.lecun.com/exdb/mnist/.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{str(path)!r} is not a complete gzip file: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise ValueError(f"{str(path)!r} is not an idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").astype(int).tolist())
    if len(content) - start != np.prod(shape):
        raise ValueError(
            f"{str(path)!r} states the shape {shape}, but holds {len(content) - start:,} values: "
            "the file is cut off or damaged, get it anew"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read_part(card: DatasetCard, folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images_path = find_file(card, folder, f"{part}-images-idx3-ubyte.gz")
    labels_path = find_file(card, folder, f"{part}-labels-idx1-ubyte.gz")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{str(images_path)!r} has shape {images.shape} and {str(labels_path)!r} "
            f"{labels.shape}; expected images of 28x28 pixels and one label for each"
        )
    if len(labels) and labels.max() > 9:
        row = int(np.flatnonzero(labels > 9)[0])
        raise ValueError(f"{str(labels_path)!r}, row {row}: label {labels[row]} is not one of 0-9")
    return images, labels


@register_reader("mnist")
@register_reader("fashion_mnist")
def read_images(card: DatasetCard, folder: Path, download: bool = False) -> Dataset:
    """Read the four idx files, or, where they are absent, use tensorflow-datasets.

    Args:
        card: the data set's card.
        folder: where the files are.
        download: whether tensorflow-datasets may download what it has not prepared yet.
    """
    try:
        parts = [_read_part(card, folder, part) for part in ("train", "t10k")]
    except FileNotFoundError as error:
        try:
            dataset = from_tfds(
                card.name,
                normal=[int(name) for name in card.normal],
                anomalous=[int(name) for name in card.anomalous],
                test_split="test",
                download=download,
            )
        except FileNotFoundError:
            raise error from None
        # Fashion-MNIST's classes have names there, but numbers in the publication.
        names = [*dataset.card.normal, *dataset.card.anomalous]
        numbers = dict(zip(names, [*card.normal, *card.anomalous], strict=True))
        classes = np.asarray([numbers[name] for name in dataset.classes])
        return dataclasses.replace(dataset, card=card, classes=classes)
    images = np.concatenate([images for images, _ in parts])
    return Dataset(
        card,
        (images / np.float32(255))[..., np.newaxis],
        np.concatenate([labels for _, labels in parts]).astype(str),
        test_mask=np.repeat([False, True], [len(labels) for _, labels in parts]),
    )
