"""Readers of three tables of one file each: credit card fraud, covertype, ISCX-URL-2016."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_covtype

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.labelled import LabelledTable, Rows, TableFormat, read_complete
from r2ad2.datasets.readers import find_file, register_reader

CREDITCARD = TableFormat(
    labels=("Class",), classes={"0": "normal", "1": "anomalous"}, drop=("Time",)
)
_COVERTYPE_FEATURES = [
    "Elevation",
    "Aspect",
    "Slope",
    "Horizontal_Distance_To_Hydrology",
    "Vertical_Distance_To_Hydrology",
    "Horizontal_Distance_To_Roadways",
    "Hillshade_9am",
    "Hillshade_Noon",
    "Hillshade_3pm",
    "Horizontal_Distance_To_Fire_Points",
    *(f"Wilderness_Area_{i}" for i in range(4)),
    *(f"Soil_Type_{i}" for i in range(40)),
]
COVERTYPE = TableFormat(
    labels=("Cover_Type",),
    classes={str(i): str(i) for i in range(1, 8)},
    columns=(*_COVERTYPE_FEATURES, "Cover_Type"),
)
URL = TableFormat(
    labels=("URL_Type_obf_Type", "class"),
    classes={name: name for name in ("benign", "defacement", "malware", "phishing", "spam")},
)


@register_reader("creditcard")
def read_creditcard(card: DatasetCard, folder: Path) -> Dataset:
    """Read creditcard.csv: 28 principal components and the amount; the time is left out."""
    rows, names = read_complete(find_file(card, folder, "creditcard.csv"), CREDITCARD)
    return Dataset(card, rows.x, rows.classes, names)


@register_reader("covertype")
def read_covertype(card: DatasetCard, folder: Path) -> Dataset:
    """Read covtype.data or .data.gz: 10 numbers, 44 binary columns, the class in the last one.

    Without the file, scikit-learn's copy is used where `sklearn.datasets.fetch_covtype` has
    downloaded one.
    """
    try:
        path = find_file(card, folder, "covtype.data.gz")
    except FileNotFoundError as error:
        try:
            bunch = fetch_covtype(download_if_missing=False)
        except OSError:
            raise error from None
        return Dataset(
            card, bunch.data.astype(np.float32), bunch.target.astype(str), _COVERTYPE_FEATURES
        )
    rows, names = read_complete(path, COVERTYPE)
    return Dataset(card, rows.x, rows.classes, names)


@register_reader("url")
def read_url(card: DatasetCard, folder: Path) -> Dataset:
    """Read All.csv, or the publisher's selection All_Infogain.csv.

    As in the original, columns with missing (here also: infinite) values are left out.
    """
    path = find_file(card, folder, "All.csv")
    table = LabelledTable([path], URL)
    rows = Rows.concatenate(table.read())
    complete = np.isfinite(rows.x).all(axis=0)
    if not complete.any():
        raise ValueError(f"{str(path)!r} has no column without missing values")
    names = np.asarray(table.feature_names)
    return Dataset(
        card,
        rows.x[:, complete],
        rows.classes,
        names[complete].tolist(),
        dropped_columns=tuple(names[~complete].tolist()),
    )
