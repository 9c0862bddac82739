"""ISCX-URL-2016: malicious URLs, described by lexical features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file
from r2ad2.datasets.labelled import LabelledTable, Rows, TableFormat

CARD = DatasetCard(
    name="url",
    title="ISCX-URL-2016: malicious URLs by lexical features",
    publisher="Canadian Institute for Cybersecurity, University of New Brunswick",
    url="https://www.unb.ca/cic/datasets/url-2016.html",
    licence="cite the publisher's paper",
    files={"All.csv": ""},
    samples={"All.csv": {"All_Infogain.csv": "only 12 of 79 features and 36,417 of 36,707 rows"}},
    normal=("benign",),
    anomalous=("defacement", "malware", "phishing", "spam"),
    known_transfer=("defacement", "malware"),
    architecture="60-30-15",
    alarm_units=(1000, 500, 200, 75),
    batch_size=64,
    rows=36_707,
    class_counts={
        "benign": 7781,
        "defacement": 7930,
        "malware": 6712,
        "phishing": 7586,
        "spam": 6698,
    },
)

FORMAT = TableFormat(
    labels=("URL_Type_obf_Type", "class"),
    classes={name: name for name in ("benign", "defacement", "malware", "phishing", "spam")},
)


def read(folder: Path) -> Dataset:
    """Read All.csv, or the publisher's selection All_Infogain.csv.

    As in the original, columns with missing (here also: infinite) values are left out.
    """
    path = find_file(CARD, folder, "All.csv")
    table = LabelledTable([path], FORMAT)
    rows = Rows.concatenate(table.read())
    is_complete = np.isfinite(rows.x).all(axis=0)
    if not is_complete.any():
        raise ValueError(f"{str(path)!r} has no column without missing values")
    names = np.asarray(table.feature_names)
    return Dataset(
        CARD,
        rows.x[:, is_complete],
        rows.classes,
        names[is_complete].tolist(),
        dropped_columns=tuple(names[~is_complete].tolist()),
    )
