"""ISCX-URL-2016."""

from __future__ import annotations

import pytest

from r2ad2.datasets import load_dataset
from tests.datasets.sets.cases import assert_sample, write_lines

LINES = [
    "Querylength,NumberRate_Extension,argPathRatio,Entropy_Domain,URL_Type_obf_Type",
    "0,,0.5,0.9,Defacement",
    "2,0.25,Infinity,0.8,benign",
    "3,0.5,0.5,0.7,phishing",
    "4,NaN,0.5,0.6,malware",
    "5,1,0.5,0.5,spam",
]


def test_columns_with_missing_values_are_dropped(tmp_path):
    dataset = load_dataset("url", write_lines(tmp_path / "url", "All.csv", LINES))
    assert dataset.feature_names == ["Querylength", "Entropy_Domain"]
    assert dataset.dropped_columns == ("NumberRate_Extension", "argPathRatio")
    assert list(dataset.classes) == ["defacement", "benign", "phishing", "malware", "spam"]


def test_a_file_without_complete_columns_is_refused(tmp_path):
    lines = ["Querylength,URL_Type_obf_Type", ",benign", "1,spam"]
    data_dir = write_lines(tmp_path / "url", "All.csv", lines)
    with pytest.raises(ValueError, match=r"All\.csv' has no column without missing values"):
        load_dataset("url", data_dir)


def test_the_publishers_selection(real_data):
    dataset = load_dataset("url", real_data)
    assert_sample(dataset, real_data / "url", (36_417, 12))
    assert dataset.class_counts == {
        "benign": 7_776,
        "defacement": 7_930,
        "malware": 6_707,
        "phishing": 7_311,
        "spam": 6_693,
    }
