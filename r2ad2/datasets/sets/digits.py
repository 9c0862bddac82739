"""Optical recognition of handwritten digits, 8x8 pixels; part of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset

CARD = DatasetCard(
    name="digits",
    title="Optical recognition of handwritten digits, 8x8 pixels",
    publisher="Alpaydin and Kaynak (1998), UCI Machine Learning Repository; part of scikit-learn",
    url="https://archive.ics.uci.edu/dataset/80",
    licence="CC BY 4.0",
    files={},
    normal=("0", "1", "2", "3"),
    anomalous=("4", "5", "6", "7", "8", "9"),
    known_transfer=("4", "5", "6"),
    architecture="8C3-8C3-8",
    alarm_units=(100, 50, 25, 10),
    batch_size=64,
    rows=1797,
    class_counts={
        "0": 178,
        "1": 182,
        "2": 177,
        "3": 183,
        "4": 181,
        "5": 182,
        "6": 181,
        "7": 179,
        "8": 174,
        "9": 180,
    },
)


def read(folder: Path) -> Dataset:
    """Load the digits that come with scikit-learn, with pixels in [0, 1]; no files are needed."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
    return Dataset(CARD, images, digits.target.astype(str))
