"""Reader of NSL-KDD: network connections, attacks grouped into four classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.readers import find_file, register_reader

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
_CLASS_OF = {attack: name for name, attacks in ATTACKS.items() for attack in attacks}


def read_nsl_kdd_file(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Read one of the publisher's .txt files.

    Returns:
        The table of 41 features with its three category columns, and the class of each row.

    Raises:
        ValueError: if the file does not have the published form.
    """
    names = [*FEATURES, "attack", "difficulty"]
    n_columns = len(pd.read_csv(path, header=None, nrows=1).columns)
    if n_columns not in (len(names) - 1, len(names)):
        raise ValueError(
            f"{str(path)!r} has {n_columns} columns; expected 41 features, the attack's name and, "
            "optionally, the difficulty"
        )
    table = pd.read_csv(path, header=None, names=names[:n_columns])
    for name, values in CATEGORIES.items():
        odd = table.index[~table[name].isin(values)]
        if len(odd):
            raise ValueError(
                f"{str(path)!r}, row {odd[0]}: {table[name][odd[0]]!r} is not a published value of "
                f"{name}"
            )
    for name in table.columns.difference([*CATEGORIES, "attack"]):
        if not pd.api.types.is_numeric_dtype(table[name]) or table[name].isna().any():
            odd = table.index[pd.to_numeric(table[name], errors="coerce").isna()]
            raise ValueError(
                f"{str(path)!r}, row {odd[0]}: {table[name][odd[0]]!r} in numeric column {name}"
            )
    classes = table["attack"].map(_CLASS_OF)
    odd = table.index[classes.isna()]
    if len(odd):
        raise ValueError(
            f"{str(path)!r}, row {odd[0]}: {table['attack'][odd[0]]!r} is not a known attack"
        )
    return table[FEATURES], classes.to_numpy(dtype=str)


@register_reader("nsl_kdd")
def read_nsl_kdd(card: DatasetCard, folder: Path, training_file: str | None = None) -> Dataset:
    """Read training and test file; categories become one-hot columns, 122 in all.

    Args:
        card: the data set's card.
        folder: where the files are.
        training_file: by default KDDTrain+.txt, where that is absent KDDTrain+_20Percent.txt.
    """
    training_names = (
        [training_file] if training_file else ["KDDTrain+.txt", "KDDTrain+_20Percent.txt"]
    )
    train, train_classes = read_nsl_kdd_file(find_file(card, folder, *training_names))
    test, test_classes = read_nsl_kdd_file(find_file(card, folder, "KDDTest+.txt"))
    table = pd.concat([train, test], ignore_index=True)
    types = {name: pd.CategoricalDtype(values) for name, values in CATEGORIES.items()}
    encoded = pd.get_dummies(table.astype(types), columns=list(CATEGORIES), dtype=np.float32)
    return Dataset(
        card,
        encoded.to_numpy(dtype=np.float32),
        np.concatenate([train_classes, test_classes]),
        list(encoded.columns),
        np.repeat([False, True], [len(train), len(test)]),
    )
