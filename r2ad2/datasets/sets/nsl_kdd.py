"""NSL-KDD: network intrusion detection; attacks are grouped into four classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import find_file
from r2ad2.datasets.labelled import Rows, TableFormat, read_complete

CARD = DatasetCard(
    name="nsl_kdd",
    title="NSL-KDD: network intrusion detection",
    publisher="Canadian Institute for Cybersecurity, University of New Brunswick",
    url="https://www.unb.ca/cic/datasets/nsl.html",
    licence="cite the publisher's paper",
    files={
        "KDDTrain+.txt": "1b86d2f957b33082081bba410fe129b475efebcc13c9014c3f447c8271aadf95",
        "KDDTest+.txt": "fa46b0935342616aa83b7c2578db355b6a7aaabbc492248172c7a1e8b7ab8f84",
    },
    samples={"KDDTrain+.txt": {"KDDTrain+_20Percent.txt": "only 25,192 of 125,973 training rows"}},
    normal=("normal",),
    anomalous=("DoS", "Probe", "R2L", "U2R"),
    known_transfer=("DoS", "Probe"),
    architecture="40-20-10",
    alarm_units=(1000, 500, 200, 75),
    batch_size=512,
    rows=148_517,
    class_counts={"normal": 77_054, "DoS": 53_385, "Probe": 14_077, "R2L": 3749, "U2R": 252},
)

# Names and categories as in the publisher's KDDTest+.arff.
FEATURES = [
    "duration",
    "protocol_type",
    "service",
    "flag",
    "src_bytes",
    "dst_bytes",
    "land",
    "wrong_fragment",
    "urgent",
    "hot",
    "num_failed_logins",
    "logged_in",
    "num_compromised",
    "root_shell",
    "su_attempted",
    "num_root",
    "num_file_creations",
    "num_shells",
    "num_access_files",
    "num_outbound_cmds",
    "is_host_login",
    "is_guest_login",
    "count",
    "srv_count",
    "serror_rate",
    "srv_serror_rate",
    "rerror_rate",
    "srv_rerror_rate",
    "same_srv_rate",
    "diff_srv_rate",
    "srv_diff_host_rate",
    "dst_host_count",
    "dst_host_srv_count",
    "dst_host_same_srv_rate",
    "dst_host_diff_srv_rate",
    "dst_host_same_src_port_rate",
    "dst_host_srv_diff_host_rate",
    "dst_host_serror_rate",
    "dst_host_srv_serror_rate",
    "dst_host_rerror_rate",
    "dst_host_srv_rerror_rate",
]
CATEGORIES = {
    "protocol_type": ["tcp", "udp", "icmp"],
    "service": [
        "aol",
        "auth",
        "bgp",
        "courier",
        "csnet_ns",
        "ctf",
        "daytime",
        "discard",
        "domain",
        "domain_u",
        "echo",
        "eco_i",
        "ecr_i",
        "efs",
        "exec",
        "finger",
        "ftp",
        "ftp_data",
        "gopher",
        "harvest",
        "hostnames",
        "http",
        "http_2784",
        "http_443",
        "http_8001",
        "imap4",
        "IRC",
        "iso_tsap",
        "klogin",
        "kshell",
        "ldap",
        "link",
        "login",
        "mtp",
        "name",
        "netbios_dgm",
        "netbios_ns",
        "netbios_ssn",
        "netstat",
        "nnsp",
        "nntp",
        "ntp_u",
        "other",
        "pm_dump",
        "pop_2",
        "pop_3",
        "printer",
        "private",
        "red_i",
        "remote_job",
        "rje",
        "shell",
        "smtp",
        "sql_net",
        "ssh",
        "sunrpc",
        "supdup",
        "systat",
        "telnet",
        "tftp_u",
        "tim_i",
        "time",
        "urh_i",
        "urp_i",
        "uucp",
        "uucp_path",
        "vmnet",
        "whois",
        "X11",
        "Z39_50",
    ],
    "flag": ["OTH", "REJ", "RSTO", "RSTOS0", "RSTR", "S0", "S1", "S2", "S3", "SF", "SH"],
}
# The original's grouping; some attacks occur in the test file only.
ATTACKS = {
    "normal": ["normal"],
    "DoS": [
        "apache2",
        "back",
        "land",
        "mailbomb",
        "neptune",
        "pod",
        "processtable",
        "smurf",
        "teardrop",
        "udpstorm",
    ],
    "Probe": ["ipsweep", "mscan", "nmap", "portsweep", "saint", "satan"],
    "R2L": [
        "ftp_write",
        "guess_passwd",
        "imap",
        "multihop",
        "named",
        "phf",
        "sendmail",
        "snmpgetattack",
        "snmpguess",
        "spy",
        "warezclient",
        "warezmaster",
        "worm",
        "xlock",
        "xsnoop",
    ],
    "U2R": [
        "buffer_overflow",
        "httptunnel",
        "loadmodule",
        "perl",
        "ps",
        "rootkit",
        "sqlattack",
        "xterm",
    ],
}
FORMAT = TableFormat(
    labels=("attack",),
    classes={attack: name for name, attacks in ATTACKS.items() for attack in attacks},
    drop=("difficulty",),
    one_hot=CATEGORIES,
    columns=(*FEATURES, "attack", "difficulty"),
    n_optional=1,
)


def read(folder: Path, training_file: str = "KDDTrain+.txt") -> Dataset:
    """Read training and test file; categories become one-hot columns, 122 in all.

    Args:
        folder: where the files are.
        training_file: name of the training file; where KDDTrain+.txt is absent,
            KDDTrain+_20Percent.txt is read instead.
    """
    train, names = read_complete(find_file(CARD, folder, training_file), FORMAT)
    test, _ = read_complete(find_file(CARD, folder, "KDDTest+.txt"), FORMAT)
    rows = Rows.concatenate([train, test])
    return Dataset(
        CARD,
        rows.x,
        rows.classes,
        names,
        test_mask=np.repeat([False, True], [len(train), len(test)]),
    )
