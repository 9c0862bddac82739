"""CIRA-CIC-DoHBrw-2020."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.datasets import load_dataset
from tests.datasets.sets.cases import write_lines

# As published; of the columns, those that are treated in a special way and some others
HEADER = (
    "SourceIP,DestinationIP,SourcePort,DestinationPort,TimeStamp,Duration,FlowBytesSent,"
    "ResponseTimeTimeMedian,ResponseTimeTimeSkewFromMedian,Label"
)
ROW = "192.168.20.191,176.103.130.131,50749,443,2020-01-14 15:49:11,{},62311,{},0.1,{}"


def test_both_files_are_read_without_addresses_and_times(tmp_path):
    benign = [HEADER, ROW.format(95.08, 0.02, "Benign"), ROW.format(1, "", "Benign")]
    write_lines(tmp_path / "doh", "l2-benign.csv", benign)
    with pytest.raises(FileNotFoundError, match=r"l2-malicious\.csv.*unb\.ca"):
        load_dataset("doh", tmp_path)
    malicious = [HEADER, ROW.format(2.5, 0.03, "Malicious")]
    write_lines(tmp_path / "doh", "l2-malicious.csv", malicious)
    dataset = load_dataset("doh", tmp_path)
    assert list(dataset.classes) == ["benign", "malicious"]
    assert dataset.n_dropped == 1
    assert dataset.feature_names[0] == "Duration"
    assert len(dataset.feature_names) == 4
    np.testing.assert_allclose(dataset.x[:, 0], [95.08, 2.5], rtol=1e-6)
