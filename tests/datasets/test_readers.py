"""Readers take the publishers' files as they are, and say what is wrong with others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.io

from r2ad2.datasets import dataset_names, load_dataset
from r2ad2.datasets.nsl_kdd import CATEGORIES, FEATURES

MAMMOGRAPHY_X = np.arange(60, dtype=float).reshape(10, 6)
MAMMOGRAPHY_Y = np.r_[np.zeros(8), np.ones(2)]


def test_every_data_set_is_listed():
    assert {"mammography", "nsl_kdd", "digits", "breast_cancer"} <= set(dataset_names())
    with pytest.raises(ValueError, match=r"'mamography'.*mammography"):
        load_dataset("mamography")


def test_embedded_sets_need_no_files():
    digits = load_dataset("digits", "nowhere")
    assert digits.x.shape == (1797, 8, 8, 1)
    cancer = load_dataset("breast_cancer", "nowhere")
    assert Counter(cancer.classes) == {"benign": 357, "malignant": 212}


def test_missing_files_are_named_with_their_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mammography\.mat.*http"):
        load_dataset("mammography", tmp_path)


def write_mat(path):
    scipy.io.savemat(path, {"X": MAMMOGRAPHY_X, "y": MAMMOGRAPHY_Y[:, None]})


def write_npz(path):
    np.savez(path, X=MAMMOGRAPHY_X, y=MAMMOGRAPHY_Y)


def write_csv(path):
    labels = np.where(MAMMOGRAPHY_Y == 1, "'1'", "'-1'")
    rows = [",".join([*map(str, x), y]) for x, y in zip(MAMMOGRAPHY_X, labels, strict=True)]
    path.write_text("\n".join(["a,b,c,d,e,f,class", *rows]))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("mammography.mat", write_mat),
        ("mammography.npz", write_npz),
        ("mammography.csv", write_csv),
    ],
)
def test_mammography_in_three_formats(tmp_path, name, write):
    (tmp_path / "mammography").mkdir()
    write(tmp_path / "mammography" / name)
    dataset = load_dataset("mammography", tmp_path)
    np.testing.assert_array_equal(dataset.x, MAMMOGRAPHY_X)
    assert list(dataset.classes) == ["normal"] * 8 + ["malignant"] * 2


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file, cut off"),
        lambda path: scipy.io.savemat(path, {"A": MAMMOGRAPHY_X}),
        lambda path: scipy.io.savemat(path, {"X": MAMMOGRAPHY_X[:, :4], "y": MAMMOGRAPHY_Y}),
        lambda path: scipy.io.savemat(path, {"X": MAMMOGRAPHY_X, "y": MAMMOGRAPHY_Y + 5}),
    ],
)
def test_broken_mammography_files_are_refused(tmp_path, write):
    (tmp_path / "mammography").mkdir()
    write(tmp_path / "mammography" / "mammography.mat")
    with pytest.raises(ValueError, match=r"mammography\.mat"):
        load_dataset("mammography", tmp_path)


def connection(attack="normal", service="http", duration="0"):
    values = dict.fromkeys(FEATURES, "0")
    values |= {"protocol_type": "tcp", "service": service, "flag": "SF", "duration": duration}
    return ",".join([*values.values(), attack, "21"])


def write_nsl_kdd(folder, train, test):
    (folder / "nsl_kdd").mkdir()
    (folder / "nsl_kdd" / "KDDTrain+_20Percent.txt").write_text("\n".join(train))
    (folder / "nsl_kdd" / "KDDTest+.txt").write_text("\n".join(test))


def test_nsl_kdd_groups_attacks_and_encodes_all_published_categories(tmp_path):
    write_nsl_kdd(
        tmp_path,
        [connection(), connection("neptune", "private")],
        [connection("worm"), connection("httptunnel"), connection("saint", duration="7")],
    )
    dataset = load_dataset("nsl_kdd", tmp_path)
    assert dataset.x.shape == (5, 122)
    assert list(dataset.classes) == ["normal", "DoS", "R2L", "U2R", "Probe"]
    assert list(dataset.test_mask) == [False, False, True, True, True]
    assert dataset.x[4, dataset.feature_names.index("duration")] == 7
    assert dataset.x[1, dataset.feature_names.index("service_private")] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (connection("mystery"), "'mystery' is not a known attack"),
        (connection(service="telegraph"), "'telegraph'"),
        (connection(duration="long"), r"row 1: 'long' in numeric column duration"),
        ("1,2,3", "could not|columns|fields|row 1"),
    ],
)
def test_broken_nsl_kdd_rows_are_named(tmp_path, row, message):
    write_nsl_kdd(tmp_path, [connection(), row], [connection()])
    with pytest.raises(ValueError, match=message):
        load_dataset("nsl_kdd", tmp_path)


def test_real_mammography_has_the_published_counts(real_data):
    dataset = load_dataset("mammography", real_data)
    assert dataset.x.shape == (11_183, 6)
    assert Counter(dataset.classes) == {"normal": 10_923, "malignant": 260}


@pytest.mark.parametrize(
    ("training_file", "n_train", "n_normal"),
    [(None, 125_973, 67_343), ("KDDTrain+_20Percent.txt", 25_192, 13_449)],
)
def test_real_nsl_kdd_has_the_published_counts(real_data, training_file, n_train, n_normal):
    dataset = load_dataset("nsl_kdd", real_data, training_file=training_file)
    in_test = dataset.test_mask
    assert dataset.x.shape == (n_train + 22_544, 122)
    assert Counter(dataset.classes[~in_test])["normal"] == n_normal
    assert Counter(dataset.classes[in_test])["normal"] == 9_711
    for name in CATEGORIES:
        slots = [i for i, f in enumerate(dataset.feature_names) if f.startswith(f"{name}_")]
        np.testing.assert_array_equal(dataset.x[:, slots].sum(axis=1), 1)
