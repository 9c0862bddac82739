"""NSL-KDD."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.datasets import load_dataset
from r2ad2.datasets.sets.nsl_kdd import CATEGORIES, FEATURES
from tests.datasets.sets.cases import assert_published, write_lines


def connection(attack="normal", service="http", duration="0"):
    values = dict.fromkeys(FEATURES, "0")
    values |= {"protocol_type": "tcp", "service": service, "flag": "SF", "duration": duration}
    return ",".join([*values.values(), attack, "21"])


def write(data_dir, train, test):
    write_lines(data_dir / "nsl_kdd", "KDDTrain+_20Percent.txt", train)
    write_lines(data_dir / "nsl_kdd", "KDDTest+.txt", test)


def test_attacks_are_grouped_and_all_published_categories_encoded(tmp_path):
    write(
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
        (connection("mystery"), "row 1: 'mystery' is not a known attack"),
        (connection(service="telegraph"), "row 1: 'telegraph' is not a published value of service"),
        (connection(duration="long"), "line 2, row 1: not a number in column 'duration': long"),
        ("1,2,3", "20Percent.*line 2, row 1: 3 fields instead of 43: 1,2,3 "),
    ],
)
def test_unpublished_values_are_refused_with_their_row(tmp_path, row, message):
    write(tmp_path, [connection(), row], [connection()])
    with pytest.raises(ValueError, match=message):
        load_dataset("nsl_kdd", tmp_path)


def test_the_published_files(real_data):
    dataset = load_dataset("nsl_kdd", real_data)
    assert_published(dataset, real_data / "nsl_kdd", (148_517, 122))
    in_test = dataset.test_mask
    assert (dataset.classes[~in_test] == "normal").sum() == 67_343
    assert (dataset.classes[in_test] == "normal").sum() == 9_711
    for name in CATEGORIES:
        slots = [i for i, f in enumerate(dataset.feature_names) if f.startswith(f"{name}_")]
        np.testing.assert_array_equal(dataset.x[:, slots].sum(axis=1), 1)


def test_a_fifth_of_the_training_file(real_data):
    dataset = load_dataset("nsl_kdd", real_data, training_file="KDDTrain+_20Percent.txt")
    assert dataset.x.shape == (25_192 + 22_544, 122)
    assert (dataset.classes[~dataset.test_mask] == "normal").sum() == 13_449
    assert not dataset.is_whole
