"""CSE-CIC-IDS2018, one file per day."""

from __future__ import annotations

import pandas as pd
import pytest

from r2ad2.datasets import load_dataset
from tests.datasets.sets.cases import assert_sample, write_lines

# As published; of the columns, those that are treated in a special way and some others
HEADER = "Dst Port,Protocol,Timestamp,Flow Duration,Tot Fwd Pkts,Flow Byts/s,Flow Pkts/s,Label"
LONG_HEADER = f"Flow ID,Src IP,Src Port,Dst IP,{HEADER}"
SHORT_DAY = "Friday-02-03-2018_TrafficForML_CICFlowMeter.csv"
LONG_DAY = "Thuesday-20-02-2018_TrafficForML_CICFlowMeter.csv"


def row(label, protocol=6, rate="12.5", duration=100):
    return f"443,{protocol},02/03/2018 08:47:38,{duration},3,{rate},0.5,{label}"


def test_all_days_are_read_with_repeated_headers_and_two_layouts(tmp_path):
    data_dir = write_lines(
        tmp_path / "ids2018",
        SHORT_DAY,
        [
            HEADER,
            row("Benign"),
            row("Bot", protocol=17),
            HEADER,  # as in the published file of 28 February
            row("Infilteration", protocol=0, rate="Infinity"),
            row("Infilteration", protocol=0),
            row("SSH-Bruteforce", rate="NaN"),
            row("Brute Force -XSS"),
            HEADER,
            row("SQL Injection"),
            row("FTP-BruteForce"),
            row("DoS attacks-Hulk"),
        ],
    )
    addresses = "172.31.69.25-94.231.103.172-22-45498-6,94.231.103.172,45498,172.31.69.25"
    lines = [LONG_HEADER, f"{addresses},{row('DDoS attacks-LOIC-HTTP')}"]
    write_lines(tmp_path / "ids2018", LONG_DAY, lines)
    dataset = load_dataset("ids2018", data_dir)
    assert dataset.class_counts == {
        "benign": 1,
        "bot": 1,
        "infiltration": 1,
        "web attacks": 2,
        "brute force": 1,
        "DoS": 1,
        "DDoS": 1,
    }
    assert dataset.n_dropped == 2
    slots = [dataset.feature_names.index(f"Protocol_{p}") for p in (0, 6, 17)]
    assert dataset.x[:, slots].sum(axis=0).tolist() == [1, 6, 1]
    assert not {"Protocol", "Timestamp", "Src IP", "Src Port"} & set(dataset.feature_names)


@pytest.mark.parametrize(
    ("bad_row", "message"),
    [
        (row("Unheard-of"), r"Friday.*row 1: 'Unheard-of' is not a known Label"),
        (row("Benign", protocol=99), r"row 1: 99 is not a published value of Protocol"),
        (
            row("Benign", duration="soon"),
            r"line 3, row 1: not a number in column 'Flow Duration': soon \(.*download",
        ),
        ("1,2,3", r"Friday.*header has 8 fields, line 3 has 3: 1,2,3 \(.*download"),
    ],
)
def test_unpublished_values_are_refused_with_their_row(tmp_path, bad_row, message):
    data_dir = write_lines(tmp_path / "ids2018", SHORT_DAY, [HEADER, row("Benign"), bad_row])
    with pytest.raises(ValueError, match=message):
        load_dataset("ids2018", data_dir)


def test_files_of_incomplete_rows_are_named(tmp_path):
    incomplete = row("Benign", duration="NaN")
    data_dir = write_lines(tmp_path / "ids2018", SHORT_DAY, [HEADER, incomplete, incomplete])
    with pytest.raises(ValueError, match=r"ids2018: all of 2 rows are incomplete$"):
        load_dataset("ids2018", data_dir)


def test_files_with_other_columns_are_named(tmp_path):
    data_dir = write_lines(tmp_path / "ids2018", SHORT_DAY, [HEADER, row("Benign")])
    other = HEADER.replace("Tot Fwd Pkts", "Total Fwd Packets")
    write_lines(tmp_path / "ids2018", LONG_DAY, [other, row("Benign")])
    with pytest.raises(ValueError, match=r"differ in their columns: 'Tot Fwd Pkts' is only in"):
        load_dataset("ids2018", data_dir)


def test_without_files_the_days_and_the_source_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Wednesday-14-02-2018.*data fetch ids2018"):
        load_dataset("ids2018", tmp_path)


def test_row_numbers_in_copies_of_the_files_are_not_features(tmp_path):
    lines = [f",{HEADER}", *(f"{i},{row('Benign')}" for i in range(3))]
    data_dir = write_lines(tmp_path / "ids2018", SHORT_DAY, lines)
    assert load_dataset("ids2018", data_dir).feature_names[0] == "Dst Port"


def test_the_sample_depends_on_the_seed_only(tmp_path):
    lines = [HEADER, *(row("Benign", duration=i) for i in range(400))]
    data_dir = write_lines(tmp_path / "ids2018", SHORT_DAY, lines)

    def durations(**options):
        return load_dataset("ids2018", data_dir, n_rows=50, **options).x[:, 1].tolist()

    first = durations(seed=1)
    assert len(set(first)) == 50
    assert first == sorted(first)  # the order of the file
    assert durations(seed=1) == first
    assert durations(seed=2) != first
    with pytest.raises(ValueError, match="n_rows=0"):
        load_dataset("ids2018", data_dir, n_rows=0)


def test_a_sample_of_the_published_files(real_data):
    dataset = load_dataset("ids2018", real_data)
    assert_sample(dataset, real_data / "ids2018", (1_000, 80))
    labels = pd.read_csv(real_data / "ids2018" / "sample1000.csv")["Label"]
    assert dataset.class_counts["benign"] == (labels == "Benign").sum() == 721
    assert dataset.class_counts["brute force"] == labels.str.contains("Brute", case=False).sum()
