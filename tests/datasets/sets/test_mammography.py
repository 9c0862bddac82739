"""Mammography, in the three formats that its distributors offer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.io
from sklearn.utils import Bunch

from r2ad2.datasets import load_dataset
from r2ad2.datasets.fetch import fetch_dataset
from r2ad2.datasets.sets.mammography import CARD
from tests.datasets.sets.cases import assert_published

X = np.arange(60, dtype=float).reshape(10, 6)
Y = np.r_[np.zeros(8), np.ones(2)]


def write_mat(path):
    scipy.io.savemat(path, {"X": X, "y": Y[:, None]})


def write_npz(path):
    np.savez(path, X=X, y=Y)


def write_csv(path):
    labels = np.where(Y == 1, "'1'", "'-1'")
    rows = [",".join([*map(str, x), y]) for x, y in zip(X, labels, strict=True)]
    path.write_text("\n".join(["a,b,c,d,e,f,class", *rows]))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("mammography.mat", write_mat),
        ("mammography.npz", write_npz),
        ("mammography.csv", write_csv),
    ],
)
def test_three_formats(tmp_path, name, write):
    (tmp_path / "mammography").mkdir()
    write(tmp_path / "mammography" / name)
    dataset = load_dataset("mammography", tmp_path)
    np.testing.assert_array_equal(dataset.x, X)
    assert list(dataset.classes) == ["normal"] * 8 + ["malignant"] * 2


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file, cut off"), "cannot read"),
        (lambda path: scipy.io.savemat(path, {"A": X}), "cannot read .*'X'"),
        (lambda path: scipy.io.savemat(path, {"X": X[:, :4], "y": Y}), "expected six columns"),
        (lambda path: scipy.io.savemat(path, {"X": X, "y": Y + 5}), "one label 0 or 1 per row"),
    ],
    ids=["damaged", "other key", "too few columns", "other labels"],
)
def test_damaged_files_are_refused(tmp_path, write, reason):
    (tmp_path / "mammography").mkdir()
    write(tmp_path / "mammography" / "mammography.mat")
    with pytest.raises(ValueError, match=reason) as raised:
        load_dataset("mammography", tmp_path)
    assert "mammography.mat" in str(raised.value)


def test_it_is_downloaded_from_openml(tmp_path, monkeypatch):
    x = pd.DataFrame(np.arange(24.0).reshape(4, 6), columns=[f"attr{i}" for i in range(1, 7)])
    y = pd.Series(["-1", "-1", "1", "-1"], name="class", dtype="category")

    def fetch_openml(data_id, as_frame, parser):
        assert (data_id, as_frame) == (310, True)
        return Bunch(data=x, target=y)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    fetch_dataset(CARD, tmp_path / "mammography", verbose=0)
    dataset = load_dataset("mammography", tmp_path)
    np.testing.assert_array_equal(dataset.x, x)
    assert list(dataset.classes) == ["normal", "normal", "malignant", "normal"]


def test_the_published_file(real_data):
    dataset = load_dataset("mammography", real_data)
    assert_published(dataset, real_data / "mammography", (11_183, 6))
