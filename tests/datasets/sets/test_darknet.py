"""CIC-Darknet2020."""

from __future__ import annotations

import numpy as np

from r2ad2.datasets import load_dataset
from tests.datasets.sets.cases import write_lines

# As published; of the columns, those that are treated in a special way and some others
HEADER = (
    "Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Total Fwd Packet,"
    "Flow Bytes/s,Flow Packets/s,Label,Label"
)
ROW = "10.0.2.15-1,10.0.2.15,53913,216.58.220.99,80,6,24/07/2015 04:09:48 PM,229,1,{},8733.6,{},{}"


def test_the_first_label_is_used_and_incomplete_rows_are_dropped(tmp_path):
    values = [
        ("5.5", "Non-Tor", "AUDIO-STREAMING"),
        ("NaN", "Non-Tor", "Browsing"),
        ("Infinity", "VPN", "Chat"),
        ("7", "NonVPN", "P2P"),
        ("8", "Tor", "Audio-Streaming"),
        ("9", "VPN", "VOIP"),
    ]
    lines = [HEADER, *(ROW.format(*v) for v in values)]
    dataset = load_dataset("darknet", write_lines(tmp_path / "darknet", "Darknet.CSV", lines))
    assert list(dataset.classes) == ["Non-Tor", "NonVPN", "Tor", "VPN"]
    assert dataset.n_dropped == 2
    assert dataset.feature_names == [
        "Src Port",
        "Dst Port",
        "Protocol",
        "Flow Duration",
        "Total Fwd Packet",
        "Flow Bytes/s",
        "Flow Packets/s",
    ]
    np.testing.assert_allclose(dataset.x[:, 5], [5.5, 7, 8, 9])
    assert not dataset.is_whole
