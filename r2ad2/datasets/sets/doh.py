"""CIRA-CIC-DoHBrw-2020: DNS over HTTPS, benign traffic and malware."""

from __future__ import annotations

from pathlib import Path

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file
from r2ad2.datasets.labelled import LabelledTable, TableFormat, complete_rows

CARD = DatasetCard(
    name="doh",
    title="CIRA-CIC-DoHBrw-2020: DNS over HTTPS, benign and of malware",
    publisher="Canadian Institute for Cybersecurity, University of New Brunswick, for CIRA",
    url="https://www.unb.ca/cic/datasets/dohbrw-2020.html",
    licence="cite the publisher's paper",
    files={"l2-benign.csv": "", "l2-malicious.csv": ""},
    normal=("benign",),
    anomalous=("malicious",),
    known_transfer=("malicious",),
    architecture="20-10-5",
    alarm_units=(1000, 500, 200, 75),
    batch_size=512,
    rows=269_643,
    class_counts={"benign": 19_807, "malicious": 249_836},
)

FORMAT = TableFormat(
    labels=("Label", "DoH"),
    classes={"benign": "benign", "malicious": "malicious"},
    drop=("SourceIP", "DestinationIP", "SourcePort", "DestinationPort", "TimeStamp"),
)


def read(folder: Path) -> Dataset:
    """Read l2-benign.csv and l2-malicious.csv; addresses, ports and time stamps are left out.

    As in the original, rows with missing values are dropped.
    """
    table = LabelledTable([find_file(CARD, folder, name) for name in CARD.files], FORMAT)
    rows, n_dropped = complete_rows(table.read())
    return Dataset(CARD, rows.x, rows.classes, table.feature_names, n_dropped=n_dropped)
