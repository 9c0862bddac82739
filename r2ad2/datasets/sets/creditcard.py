"""Credit card fraud: transactions of European card holders."""

from __future__ import annotations

from pathlib import Path

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file
from r2ad2.datasets.labelled import TableFormat, read_complete

CARD = DatasetCard(
    name="creditcard",
    title="Credit card fraud: transactions of European card holders in two days of 2013",
    publisher="Machine Learning Group, Université Libre de Bruxelles, with Worldline",
    url="https://www.kaggle.com/datasets/mlg-ulb/creditcardfraud",
    licence="DbCL 1.0",
    files={"creditcard.csv": "76274b691b16a6c49d3f159c883398e03ccd6d1ee12d9d8ee38f4b4b98551a89"},
    alternatives={"creditcard.csv": ("creditcard.csv.gz",)},
    downloads={
        "creditcard.csv": "https://storage.googleapis.com/download.tensorflow.org/data/creditcard.csv"
    },
    normal=("normal",),
    anomalous=("anomalous",),
    known_transfer=("anomalous",),
    architecture="20-10-5",
    alarm_units=(1000, 500, 200, 75),
    batch_size=4096,
    rows=284_807,
    class_counts={"normal": 284_315, "anomalous": 492},
)

FORMAT = TableFormat(labels=("Class",), classes={"0": "normal", "1": "anomalous"}, drop=("Time",))


def read(folder: Path) -> Dataset:
    """Read creditcard.csv: 28 principal components and the amount; the time is left out."""
    rows, names = read_complete(find_file(CARD, folder, "creditcard.csv"), FORMAT)
    return Dataset(CARD, rows.x, rows.classes, names)
