"""Breast cancer Wisconsin (diagnostic); part of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset

CARD = DatasetCard(
    name="breast_cancer",
    title="Breast cancer Wisconsin (diagnostic)",
    publisher="Wolberg et al. (1995), UCI Machine Learning Repository; part of scikit-learn",
    url="https://archive.ics.uci.edu/dataset/17",
    licence="CC BY 4.0",
    files={},
    normal=("benign",),
    anomalous=("malignant",),
    known_transfer=("malignant",),
    architecture="20-10-5",
    alarm_units=(100, 50, 25, 10),
    batch_size=64,
    rows=569,
    class_counts={"benign": 357, "malignant": 212},
)


def read(folder: Path) -> Dataset:
    """Load the table that comes with scikit-learn; no files are needed."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    classes = np.asarray(bunch.target_names)[bunch.target].astype(str)
    return Dataset(CARD, bunch.data.astype(np.float32), classes, list(bunch.feature_names))
