"""A few arbitrary inputs for everything that takes users' data; `make fuzz` tries many."""

from __future__ import annotations

import datetime
import decimal
import gzip

import numpy as np
import pandas as pd
import pytest

from r2ad2.encoders.arrays import VectorEncoder
from r2ad2.encoders.base import mean_of_present
from r2ad2.encoders.columns import check_table
from r2ad2.encoders.labels import encode_labels
from r2ad2.encoders.tables import TableEncoder
from r2ad2.tables.source import TableSource
from tests.fuzzing.run import fuzz
from tests.fuzzing.surfaces import SURFACES, run_command, use_file, valid_file
from tests.helpers.tables import encode

CASES = 40


@pytest.mark.parametrize("name", SURFACES)
def test_arbitrary_input_is_used_or_refused_clearly(name):
    outcomes = fuzz(name, CASES)
    assert not outcomes.faults
    assert sum(outcomes.counts.values()) >= CASES


# ---- faults found this way ---------------------------------------------------------


def test_ranges_wider_than_the_largest_number():
    values = np.array([[-1.7e308], [1.7e308], [0.0]])
    for missing in ("error", "indicator"):
        encoder = VectorEncoder.learn(values, np.ones(3, bool), missing=missing)
        np.testing.assert_allclose(encoder(values).numpy()[:, 0], [0, 1, 0.5])


def test_ranges_smaller_than_any_normal_number_count_as_constant():
    values = np.array([[0.0], [5e-324]])
    encoder = VectorEncoder.learn(values, np.ones(2, bool))
    np.testing.assert_array_equal(encoder(values).numpy(), [[0], [0]])


def test_fills_of_huge_numbers_are_finite():
    values = np.array([1.7e308, 1.7e308, 1.7e308, np.nan])
    means, counts = mean_of_present(values[:, np.newaxis])
    np.testing.assert_allclose(means, 1.7e308, rtol=1e-12)
    assert counts == [3]
    table = pd.DataFrame({"a": values})
    encoder = TableEncoder.learn(table, np.ones(4, bool), missing="indicator")
    assert np.isfinite(encode(encoder, table)).all()


@pytest.mark.parametrize("value", [datetime.time(12), 1j, object(), 10**400])
def test_values_of_arrays_that_are_not_numbers(value):
    array = np.array([[1.0, value], [2.0, 3.0]], dtype=object)
    with pytest.raises(ValueError, match=r"Input X (contains|holds)|Complex data"):
        VectorEncoder.learn(array, np.ones(2, bool))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([b"a", b"b"], "y holds labels that cannot be compared"),
        ([1, "a"], "Unknown label type"),
        ([decimal.Decimal("sNaN"), 1], "y holds labels that cannot be compared"),
    ],
)
def test_labels_that_cannot_be_compared(y, message):
    labels = np.empty(2, dtype=object)
    labels[:] = y
    with pytest.raises(ValueError, match=message):
        encode_labels(labels, 2)


def test_numbers_that_cannot_be_compared():
    table = pd.DataFrame({"a": pd.Series([decimal.Decimal("sNaN")], dtype=object)})
    with pytest.raises(ValueError, match="holds a number that cannot be compared"):
        check_table(table)


@pytest.mark.parametrize("skip", [False, True])
def test_a_damaged_gzip_file(skip):
    packed = bytearray(gzip.compress(valid_file(), 1))
    packed[12] ^= 8
    assert use_file(bytes(packed), ".csv.gz", skip) == "refused"


def test_a_ragged_row_that_is_not_utf8_is_set_aside_without_noise(tmp_path, capfd):
    file, rejects = tmp_path / "new.csv", tmp_path / "rejects.csv"
    file.write_bytes(valid_file() + b"\xff,1,2\n")
    arguments = ["--model", "model.keras", "--output", f"{tmp_path}/scores.csv", "--quiet"]
    arguments += ["--on-error", "skip", "--rejects", str(rejects)]
    assert run_command("score", str(file), *arguments) == (0, "")
    assert capfd.readouterr().err == ""
    reject = pd.read_csv(rejects).iloc[0]
    assert reject["reason"] == "3 fields instead of 5"
    assert reject["content"] == "\ufffd,1,2"


def test_half_a_surrogate_pair_is_named():
    valid = pd.DataFrame({"text": ["a", "b"]})
    odd = pd.DataFrame({"text": pd.Series(["a", "\ud800"], dtype=object)})
    with pytest.raises(ValueError, match=r"'text', row 1: .* surrogate"):
        TableEncoder.learn(odd, np.ones(2, bool))
    with pytest.raises(ValueError, match=r"'text', row 1: .* surrogate"):
        encode(TableEncoder.learn(valid, np.ones(2, bool)), odd)


def test_whole_numbers_beyond_all_floats_are_infinite():
    table = pd.DataFrame({"a": pd.Series([1, 10**400, None], dtype=object)})
    with pytest.raises(ValueError, match=r"'a' holds an infinite value .* first in row 1"):
        TableEncoder.learn(table, np.ones(3, bool), missing="indicator")


def test_a_text_that_stands_for_unknown_ones_is_unknown():
    for other, expected in (("\x1a<unknown>", [[0, 1], [1, 1]]), ("a", [[0, 1, 0], [1, 0, 1]])):
        table = pd.DataFrame({"text": ["\x1a<unknown>", other], "number": [1.0, 2.0]})
        encoded = encode(TableEncoder.learn(table, np.ones(2, bool)), table)
        np.testing.assert_array_equal(encoded, expected)


def test_messages_shorten_long_values():
    long = "x" * 5000
    tables = [pd.DataFrame({"a": [1.0, long]}), pd.DataFrame({"label": [long, "y" * 5000]})]
    for call, message in (
        (lambda: TableEncoder.learn(tables[0], np.ones(2, bool)), "column 'a' mixes values"),
        (lambda: TableSource("label").labels(tables[1]), "2 different values"),
        (lambda: encode_labels([long, "y", "z"], 3), "3 different labels"),
        (lambda: VectorEncoder.learn(np.full((200, 3), 1j), np.ones(200, bool)), "Complex data"),
        (lambda: VectorEncoder.learn([[long, long]], np.ones(1, bool)), "could not convert"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            call()
        assert len(str(raised.value)) < 500
