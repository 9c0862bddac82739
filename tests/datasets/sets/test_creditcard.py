"""Credit card fraud."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.datasets import load_dataset
from tests.datasets.sets.cases import assert_published, write_lines


def lines():
    # The publisher quotes the names and the class.
    columns = ["Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class"]
    values = [f"{i / 10}" for i in range(28)]
    return [
        ",".join(f'"{name}"' for name in columns),
        ",".join(["0", *values, "149.62", '"0"']),
        ",".join(["1", *values, "2.69", '"1"']),
        ",".join(["1e+05", *values, "0", '"0"']),
    ]


@pytest.mark.parametrize("name", ["creditcard.csv", "creditcard.csv.gz"])
def test_the_time_is_left_out(tmp_path, name):
    dataset = load_dataset("creditcard", write_lines(tmp_path / "creditcard", name, lines()))
    assert list(dataset.classes) == ["normal", "anomalous", "normal"]
    assert dataset.feature_names == [*(f"V{i}" for i in range(1, 29)), "Amount"]
    np.testing.assert_allclose(dataset.x[:, -1], [149.62, 2.69, 0])


def test_missing_values_are_refused_with_row_and_column(tmp_path):
    header, first, second, third = lines()
    damaged = [header, first, second.replace("2.69", ""), third]
    data_dir = write_lines(tmp_path / "creditcard", "creditcard.csv", damaged)
    with pytest.raises(ValueError, match=r"creditcard\.csv', row 1: .*'Amount' is missing"):
        load_dataset("creditcard", data_dir)


def test_the_published_file(real_data):
    dataset = load_dataset("creditcard", real_data)
    assert_published(dataset, real_data / "creditcard", (284_807, 29))
