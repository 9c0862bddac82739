"""CSE-CIC-IDS2018: network intrusion detection, one file per day."""

from __future__ import annotations

from pathlib import Path

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import missing_files
from r2ad2.datasets.labelled import LabelledTable, Rows, TableFormat
from r2ad2.support.messages import count
from r2ad2.support.random_sample import RandomSample

_DAYS = (
    "Wednesday-14-02-2018",
    "Thursday-15-02-2018",
    "Friday-16-02-2018",
    "Thuesday-20-02-2018",  # the publisher's spelling
    "Wednesday-21-02-2018",
    "Thursday-22-02-2018",
    "Friday-23-02-2018",
    "Wednesday-28-02-2018",
    "Thursday-01-03-2018",
    "Friday-02-03-2018",
)
_FILES = tuple(f"{day}_TrafficForML_CICFlowMeter.csv" for day in _DAYS)
_SAMPLE = {"sample1000.csv": "only 1,000 rows of several days, without time stamps"}
_BUCKET = (
    "https://cse-cic-ids2018.s3.ca-central-1.amazonaws.com/"
    "Processed%20Traffic%20Data%20for%20ML%20Algorithms/"
)

CARD = DatasetCard(
    name="ids2018",
    title="CSE-CIC-IDS2018: network intrusion detection",
    publisher=(
        "Communications Security Establishment and Canadian Institute for Cybersecurity, "
        "University of New Brunswick"
    ),
    url="https://www.unb.ca/cic/datasets/ids-2018.html",
    licence="cite the publisher's paper",
    files=dict.fromkeys(_FILES, ""),
    samples=dict.fromkeys(_FILES, _SAMPLE),
    downloads={file: _BUCKET + file for file in _FILES},
    normal=("benign",),
    anomalous=("bot", "brute force", "infiltration", "web attacks"),
    known_transfer=("bot", "brute force"),
    architecture="60-40-20",
    alarm_units=(1000, 500, 200, 75),
    batch_size=8192,
    rows=16_232_943,
    class_counts={
        "benign": 13_484_708,
        "bot": 286_191,
        "brute force": 380_949,
        "infiltration": 161_934,
        "web attacks": 928,
        "DoS": 654_300,
        "DDoS": 1_263_933,
    },
)

# Only the file of 20 February has addresses and ports.
FORMAT = TableFormat(
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


def read(folder: Path, n_rows: int = 1_000_000, seed: int = 42) -> Dataset:
    """Read a random sample of all .csv files in the folder, one per day, with bounded memory.

    As in the original, rows with a missing ("NaN") or infinite ("Infinity") rate are dropped.

    Args:
        folder: where the files are; all ten for the whole data set.
        n_rows: rows to keep of the 16 million, drawn without replacement.
        seed: seed of the draw.

    Returns:
        The sample. Protocol becomes three one-hot columns, attacks are grouped into the classes of
        the paper, which does not use the classes "DoS" and "DDoS".
    """
    paths = sorted(path for path in folder.glob("*.csv*") if path.is_file())
    if not paths:
        raise missing_files(CARD, folder, *CARD.files)
    if n_rows < 1:
        raise ValueError(f"a sample needs at least one row, got n_rows={n_rows}")
    table = LabelledTable(paths, FORMAT)
    sample = RandomSample(n_rows, seed, Rows.concatenate)
    n_dropped = 0
    for rows in table.read():
        is_complete = rows.is_complete
        n_dropped += int((~is_complete).sum())
        sample.add(rows[is_complete])
    if not len(sample):
        raise ValueError(f"{folder}: all of {count(n_dropped, 'row')} are incomplete")
    drawn, _ = sample.rows()
    return Dataset(CARD, drawn.x, drawn.classes, table.feature_names, n_dropped=n_dropped)
