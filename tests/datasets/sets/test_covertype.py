"""Covertype."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils import Bunch

from r2ad2.datasets import load_dataset
from r2ad2.datasets.sets.covertype import CARD
from tests.datasets.sets.cases import assert_published, write_lines


@pytest.mark.parametrize("name", CARD.accepted_names("covtype.data.gz"))
def test_files_have_no_header_and_the_class_last(tmp_path, name):
    values = np.arange(3 * 54).reshape(3, 54)
    lines = [",".join(map(str, [*row, i + 1])) for i, row in enumerate(values)]
    dataset = load_dataset("covertype", write_lines(tmp_path / "covertype", name, lines))
    np.testing.assert_array_equal(dataset.x, values)
    assert list(dataset.classes) == ["1", "2", "3"]
    assert dataset.feature_names[:2] == ["Elevation", "Aspect"]
    assert dataset.feature_names[9:11] == [
        "Horizontal_Distance_To_Fire_Points",
        "Wilderness_Area_0",
    ]
    assert dataset.feature_names[13:15] == ["Wilderness_Area_3", "Soil_Type_0"]
    assert dataset.feature_names[-1] == "Soil_Type_39"


def test_missing_columns_are_refused(tmp_path):
    data_dir = write_lines(tmp_path / "covertype", "covtype.data", ["1,2,3,5"])
    with pytest.raises(ValueError, match=r"has 4 columns; expected 55"):
        load_dataset("covertype", data_dir)


def test_without_the_file_scikit_learns_copy_is_read(tmp_path, monkeypatch):
    def fetch_covtype(download_if_missing):
        assert not download_if_missing
        return Bunch(data=np.ones((2, 54)), target=np.array([1, 7], dtype=np.int32))

    monkeypatch.setattr("sklearn.datasets.fetch_covtype", fetch_covtype)
    assert list(load_dataset("covertype", tmp_path).classes) == ["1", "7"]


def test_without_any_copy_the_source_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"covtype\.data\.gz.*r2ad2 data fetch covertype"):
        load_dataset("covertype", tmp_path)


def test_the_published_file(real_data):
    dataset = load_dataset("covertype", real_data)
    assert_published(dataset, real_data / "covertype", (581_012, 54))
