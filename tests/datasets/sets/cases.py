"""What the tests of all data sets share: writing small files, checking the publisher's."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from r2ad2.datasets import Dataset, load_dataset
from r2ad2.datasets.check import check_files

# The publisher's four files, in the order: training images and labels, test images and labels
IMAGE_FILES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def write_lines(folder: Path, name: str, lines: list[str]) -> Path:
    """Write a file in the folder of a data set; return the folder of all data sets."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    content = "\n".join([*lines, ""]).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return folder.parent


def assert_published(dataset: Dataset, folder: Path, shape: tuple[int, ...]) -> None:
    """Check a data set whose whole files are available: checksums, samples, class counts."""
    assert {report.state for report in check_files(dataset.card, folder)} == {"ok"}
    assert_finite(dataset, shape)
    assert dataset.is_whole
    assert dataset.class_counts == dict(dataset.card.class_counts)


def assert_sample(dataset: Dataset, folder: Path, shape: tuple[int, ...]) -> None:
    """Check a data set of which only a sample is available."""
    assert {report.state for report in check_files(dataset.card, folder)} == {"sample"}
    assert_finite(dataset, shape)
    assert not dataset.is_whole
    assert all(n <= dataset.card.class_counts[name] for name, n in dataset.class_counts.items())


def assert_finite(dataset: Dataset, shape: tuple[int, ...]) -> None:
    """Check the samples of a data set."""
    assert dataset.x.shape == shape
    assert dataset.x.dtype == np.float32
    assert np.isfinite(dataset.x).all()


def idx(array: np.ndarray) -> bytes:
    """Return an array as the contents of an idx file."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_images(folder: Path, packed: bool = True) -> list[np.ndarray]:
    """Write four idx files of six training and four test images; return their arrays."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, (6, 28, 28)),
        np.arange(6),
        rng.integers(0, 256, (4, 28, 28)),
        np.arange(6, 10),
    ]
    for name, array in zip(IMAGE_FILES, arrays, strict=True):
        content = idx(array)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return arrays


def assert_reads_images(name: str, data_dir: Path, packed: bool) -> None:
    """Check that a data set's reader gives the images and labels of idx files."""
    train_images, _, test_images, _ = write_images(data_dir / name, packed)
    dataset = load_dataset(name, data_dir)
    assert_finite(dataset, (10, 28, 28, 1))
    images = np.concatenate([train_images, test_images])
    np.testing.assert_allclose(dataset.x[..., 0] * 255, images, rtol=1e-5)
    assert list(dataset.classes) == [str(i) for i in range(10)]
    assert dataset.test_mask.tolist() == [False] * 6 + [True] * 4


def scrambled(packed, start=10):
    """Damage compressed bytes; by default the first ones behind the header of a gzip file."""
    return packed[:start] + b"\xff" * 40 + packed[start + 40 :]
