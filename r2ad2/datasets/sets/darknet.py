"""CIC-Darknet2020: traffic through Tor and VPN."""

from __future__ import annotations

from pathlib import Path

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file
from r2ad2.datasets.labelled import LabelledTable, TableFormat, complete_rows

CARD = DatasetCard(
    name="darknet",
    title="CIC-Darknet2020: traffic through Tor and VPN",
    publisher="Canadian Institute for Cybersecurity, University of New Brunswick",
    url="https://www.unb.ca/cic/datasets/darknet2020.html",
    licence="cite the publisher's paper",
    files={"Darknet.CSV": ""},
    alternatives={"Darknet.CSV": ("Darknet.csv",)},
    normal=("Non-Tor", "NonVPN"),
    anomalous=("Tor", "VPN"),
    known_transfer=("Tor",),
    architecture="60-30-15",
    alarm_units=(1000, 500, 200, 75),
    batch_size=1024,
    rows=141_530,
    class_counts={"Non-Tor": 93_356, "NonVPN": 23_863, "Tor": 1392, "VPN": 22_919},
)

# The second column of the same name (the kind of traffic) is "Label.1" or "Label1".
FORMAT = TableFormat(
    labels=("Label", "Label1", "Label2"),
    classes={"non-tor": "Non-Tor", "nonvpn": "NonVPN", "tor": "Tor", "vpn": "VPN"},
    drop=("Flow ID", "Src IP", "Dst IP", "Timestamp"),
)


def read(folder: Path) -> Dataset:
    """Read Darknet.CSV; addresses and time stamps are left out, ports and protocol are kept.

    As in the original, rows with a missing ("NaN") or infinite ("Infinity") rate are dropped.
    """
    table = LabelledTable([find_file(CARD, folder, "Darknet.CSV")], FORMAT)
    rows, n_dropped = complete_rows(table.read())
    return Dataset(CARD, rows.x, rows.classes, table.feature_names, n_dropped=n_dropped)
