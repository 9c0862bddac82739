"""Covertype: forest cover types from cartographic variables."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file
from r2ad2.datasets.labelled import TableFormat, read_complete

CARD = DatasetCard(
    name="covertype",
    title="Covertype: forest cover types from cartographic variables",
    publisher="Blackard, Dean and Anderson (1998), UCI Machine Learning Repository",
    url="https://archive.ics.uci.edu/dataset/31/covertype",
    licence="CC BY 4.0",
    files={"covtype.data.gz": "614360d0257557dd1792834a85a1cdebfadc3c4f30b011d56afee7ffb5b15771"},
    contents={
        "covtype.data.gz": "0a9371cef7c964b5475d6053cc3e0894a5aa6f65ad1ed3ecb01c45aa96217945"
    },
    alternatives={"covtype.data.gz": ("covtype.data",)},
    samples={
        "covtype.data.gz": {"covtype.sample20k.data": "only the first 20,000 of 581,012 rows"}
    },
    downloads={"covtype.data.gz": "https://ndownloader.figshare.com/files/5976039"},
    normal=("1", "2", "3"),
    anomalous=("4", "5", "6", "7"),
    known_transfer=("4", "5"),
    architecture="40-20-10",
    alarm_units=(1000, 500, 200, 75),
    batch_size=2048,
    rows=581_012,
    class_counts={
        "1": 211_840,
        "2": 283_301,
        "3": 35_754,
        "4": 2747,
        "5": 9493,
        "6": 17_367,
        "7": 20_510,
    },
)

FEATURES = (
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
)

FORMAT = TableFormat(
    labels=("Cover_Type",),
    classes={str(i): str(i) for i in range(1, 8)},
    columns=(*FEATURES, "Cover_Type"),
)


def read(folder: Path) -> Dataset:
    """Read covtype.data or .data.gz: 10 numbers, 44 binary columns, the class in the last one.

    Without the file, scikit-learn's copy is used if `sklearn.datasets.fetch_covtype` has
    downloaded one.
    """
    try:
        path = find_file(CARD, folder, "covtype.data.gz")
    except FileNotFoundError as error:
        from sklearn.datasets import fetch_covtype

        try:
            bunch = fetch_covtype(download_if_missing=False)
        except OSError:
            raise error from None
        return Dataset(CARD, bunch.data.astype(np.float32), bunch.target.astype(str), [*FEATURES])
    rows, names = read_complete(path, FORMAT)
    return Dataset(CARD, rows.x, rows.classes, names)
