"""Readers of three network data sets of the CIC: Darknet2020, DoHBrw2020, CSE-CIC-IDS2018.

All three are tables of numbers per flow, written by the publisher's flow meters: a missing rate is
"NaN" and a division by zero "Infinity". As in the original such rows are dropped.
"""

from __future__ import annotations

from pathlib import Path

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.labelled import LabelledTable, RowSample, TableFormat, complete_rows
from r2ad2.datasets.readers import find_file, missing_files, register_reader

# The second column of the same name (the kind of traffic) is "Label.1" or "Label1".
DARKNET = TableFormat(
    labels=("Label", "Label1", "Label2"),
    classes={"non-tor": "Non-Tor", "nonvpn": "NonVPN", "tor": "Tor", "vpn": "VPN"},
    drop=("Flow ID", "Src IP", "Dst IP", "Timestamp"),
)
DOH = TableFormat(
    labels=("Label", "DoH"),
    classes={"benign": "benign", "malicious": "malicious"},
    drop=("SourceIP", "DestinationIP", "SourcePort", "DestinationPort", "TimeStamp"),
)
# One of the days has addresses and ports, the others have not.
IDS2018 = TableFormat(
    labels=("Label",),
    classes={
        "benign": "benign",
        "bot": "bot",
        "ftp-bruteforce": "brute force",
        "ssh-bruteforce": "brute force",
        "infilteration": "infiltration",
        "infiltration": "infiltration",
        "brute force -web": "web attacks",
        "brute force -xss": "web attacks",
        "sql injection": "web attacks",
        "dos attacks-goldeneye": "DoS",
        "dos attacks-hulk": "DoS",
        "dos attacks-slowhttptest": "DoS",
        "dos attacks-slowloris": "DoS",
        "ddos attacks-loic-http": "DDoS",
        "ddos attack-loic-udp": "DDoS",
        "ddos attack-hoic": "DDoS",
    },
    drop=("Timestamp", "Flow ID", "Src IP", "Src Port", "Dst IP"),
    one_hot={"Protocol": (0, 6, 17)},
)


def _read_all(card: DatasetCard, paths: list[Path], layout: TableFormat) -> Dataset:
    table = LabelledTable(paths, layout)
    rows, n_dropped = complete_rows(table.read())
    return Dataset(card, rows.x, rows.classes, table.feature_names, n_dropped=n_dropped)


@register_reader("darknet")
def read_darknet(card: DatasetCard, folder: Path) -> Dataset:
    """Read Darknet.CSV; addresses and time stamps are left out, ports and protocol are not."""
    return _read_all(card, [find_file(card, folder, "Darknet.CSV")], DARKNET)


@register_reader("doh")
def read_doh(card: DatasetCard, folder: Path) -> Dataset:
    """Read l2-benign.csv and l2-malicious.csv; addresses, ports and time stamps are left out."""
    return _read_all(card, [find_file(card, folder, name) for name in card.files], DOH)


@register_reader("ids2018")
def read_ids2018(
    card: DatasetCard, folder: Path, n_rows: int = 1_000_000, seed: int = 42
) -> Dataset:
    """Read a random sample of all .csv files in the folder, one per day, with bounded memory.

    Args:
        card: the data set's card.
        folder: where the files are; all ten for the whole data set.
        n_rows: rows to keep of the 16 million, drawn without replacement.
        seed: decides which.

    Returns:
        The sample. Protocol becomes three one-hot columns, attacks are grouped into the classes of
        the publication; the classes "DoS" and "DDoS" are not used there.
    """
    paths = sorted(path for path in folder.glob("*.csv*") if path.is_file())
    if not paths:
        raise missing_files(card, folder, *card.files)
    table = LabelledTable(paths, IDS2018)
    sample = RowSample(n_rows, seed)
    n_dropped = 0
    for rows in table.read():
        complete = rows.is_complete
        n_dropped += int((~complete).sum())
        sample.add(rows[complete])
    drawn = sample.rows()
    return Dataset(card, drawn.x, drawn.classes, table.feature_names, n_dropped=n_dropped)
