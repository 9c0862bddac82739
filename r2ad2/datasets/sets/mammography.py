"""Mammography: microcalcifications in digitised mammograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file

CARD = DatasetCard(
    name="mammography",
    title="Mammography: microcalcifications in digitised mammograms",
    publisher="Woods et al. (1993); distributed by ODDS, Stony Brook University",
    url="http://odds.cs.stonybrook.edu/mammography-dataset/",
    licence="ask the publisher",
    files={"mammography.mat": "271ebb568314a856666d3504b4882e21b0ea6e1ba9e648ad256d572a36df597e"},
    alternatives={"mammography.mat": ("mammography.csv", "mammography.npz")},
    downloads={"mammography.csv": "openml:310"},
    normal=("normal",),
    anomalous=("malignant",),
    known_transfer=("malignant",),
    architecture="5-3-2",
    alarm_units=(100, 50, 25, 10),
    batch_size=128,
    rows=11_183,
    class_counts={"normal": 10_923, "malignant": 260},
)


def read(folder: Path) -> Dataset:
    """Read mammography.mat or .npz (X, y), or .csv with the label in the last column."""
    path = find_file(CARD, folder, "mammography.mat")
    try:
        features, labels = _READERS[path.name](path)
        x = np.asarray(features, dtype=np.float32)
        y = np.asarray(labels).reshape(-1).astype(np.float64)
    except Exception as e:  # for broken files, the format's library may raise anything
        raise ValueError(f"cannot read {str(path)!r} as the mammography data (X, y): {e}") from e
    # OpenML spells the classes -1 and 1, ODDS 0 and 1.
    if x.ndim != 2 or x.shape[1] != 6 or len(y) != len(x) or not np.isin(y, [-1, 0, 1]).all():
        raise ValueError(
            f"{str(path)!r} contains X of shape {x.shape} and {len(y):,} labels; expected six "
            "columns and one label 0 or 1 per row"
        )
    names = [f"feature_{i}" for i in range(6)]
    return Dataset(CARD, x, np.where(y == 1, "malignant", "normal"), names)


def _read_mat(path: Path) -> tuple[Any, Any]:
    import scipy.io

    content = scipy.io.loadmat(path)
    return content["X"], content["y"]


def _read_npz(path: Path) -> tuple[Any, Any]:
    with np.load(path) as content:
        return content["X"], content["y"]


def _read_csv(path: Path) -> tuple[Any, Any]:
    import pandas as pd

    table = pd.read_csv(path)
    return table.iloc[:, :-1].to_numpy(), table.iloc[:, -1].astype(str).str.strip("'\" ")


_READERS = {
    "mammography.mat": _read_mat,
    "mammography.csv": _read_csv,
    "mammography.npz": _read_npz,
}
