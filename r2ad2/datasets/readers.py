"""Readers of the publishers' files, one registered function per data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io
from sklearn import datasets as embedded

from r2ad2.datasets.cards import DatasetCard, read_cards
from r2ad2.datasets.dataset import Dataset

Reader = Callable[..., Dataset]
_READERS: dict[str, Reader] = {}


def register_reader(name: str) -> Callable[[Reader], Reader]:
    """Register the reader of a data set that has a card of this name.

    A reader takes the card, the folder with the data set's files, and options of its own.
    """

    def register(reader: Reader) -> Reader:
        _READERS[name] = reader
        return reader

    return register


def dataset_names() -> list[str]:
    """List the data sets that can be loaded."""
    from r2ad2.datasets import flows, images, nsl_kdd, tabular  # noqa: F401  (register readers)

    return sorted(_READERS)


def load_dataset(name: str, data_dir: str | os.PathLike | None = None, **options: Any) -> Dataset:
    """Load a data set from its publisher's files.

    Args:
        name: one of `dataset_names()`.
        data_dir: folder with one sub-folder per data set; by default that of the environment
            variable R2AD2_DATA, else "data" in the current folder. Embedded sets need none.
        options: options of the reader.

    Raises:
        ValueError: for an unknown name, or a file that is not as published.
        FileNotFoundError: if files are missing; the message says which and where to get them.
    """
    if name not in dataset_names():
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(dataset_names())}")
    return _READERS[name](read_cards()[name], data_folder(data_dir) / name, **options)


def data_folder(data_dir: str | os.PathLike | None = None) -> Path:
    """Return the folder of all data sets: the argument, else $R2AD2_DATA, else "data"."""
    return Path(data_dir or os.environ.get("R2AD2_DATA") or "data")


def find_file(card: DatasetCard, folder: Path, *names: str) -> Path:
    """Return the first of the named files, or of what the card accepts in their place.

    Raises:
        FileNotFoundError: if none is in the folder.
    """
    accepted = list(dict.fromkeys(other for name in names for other in card.names_of(name)))
    for name in accepted:
        if (folder / name).is_file():
            return folder / name
    raise missing_files(card, folder, *accepted)


def missing_files(card: DatasetCard, folder: Path, *names: str) -> FileNotFoundError:
    """Make the error that says which files are missing and where to get them."""
    download = f"run `r2ad2 data fetch {card.name}`, " if card.downloads else ""
    return FileNotFoundError(
        f"data set {card.name} needs {' or '.join(names)} in folder {str(folder)!r}: {download}"
        f"get it from {card.url}, or set R2AD2_DATA to the folder that has {card.name}/"
    )


def _read_mammography_mat(path: Path) -> tuple[Any, Any]:
    content = scipy.io.loadmat(path)
    return content["X"], content["y"]


def _read_mammography_npz(path: Path) -> tuple[Any, Any]:
    with np.load(path) as content:
        return content["X"], content["y"]


def _read_mammography_csv(path: Path) -> tuple[Any, Any]:
    table = pd.read_csv(path)
    return table.iloc[:, :-1].to_numpy(), table.iloc[:, -1].astype(str).str.strip("'\" ")


_MAMMOGRAPHY = {
    "mammography.mat": _read_mammography_mat,
    "mammography.csv": _read_mammography_csv,
    "mammography.npz": _read_mammography_npz,
}


@register_reader("mammography")
def read_mammography(card: DatasetCard, folder: Path) -> Dataset:
    """Read mammography.mat or .npz (X, y), or .csv with the label in the last column."""
    path = find_file(card, folder, "mammography.mat")
    try:
        features, labels = _MAMMOGRAPHY[path.name](path)
        x = np.asarray(features, dtype=np.float32)
        y = np.asarray(labels).reshape(-1).astype(np.float64)
    except Exception as e:  # of broken files, the format's library may raise anything
        raise ValueError(f"cannot read {str(path)!r} as the mammography data (X, y): {e}") from e
    # OpenML spells the classes -1 and 1, ODDS 0 and 1.
    if x.ndim != 2 or x.shape[1] != 6 or len(y) != len(x) or not np.isin(y, [-1, 0, 1]).all():
        raise ValueError(
            f"{str(path)!r} holds X of shape {x.shape} and {len(y):,} labels; expected six columns "
            "and one label 0 or 1 per row"
        )
    names = [f"feature_{i}" for i in range(6)]
    return Dataset(card, x, np.where(y == 1, "malignant", "normal"), names)


@register_reader("digits")
def read_digits(card: DatasetCard, folder: Path) -> Dataset:
    """Load the 8x8 digits that come with scikit-learn, with pixels in [0, 1]."""
    digits = embedded.load_digits()
    images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
    return Dataset(card, images, digits.target.astype(str))


@register_reader("breast_cancer")
def read_breast_cancer(card: DatasetCard, folder: Path) -> Dataset:
    """Load the breast cancer table that comes with scikit-learn."""
    bunch = embedded.load_breast_cancer()
    classes = np.asarray(bunch.target_names)[bunch.target].astype(str)
    return Dataset(card, bunch.data.astype(np.float32), classes, list(bunch.feature_names))
