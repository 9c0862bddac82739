"""Labelled tables: what their reader refuses, and random samples of their rows."""

from __future__ import annotations

import pytest

from r2ad2.datasets import rows as row_reading
from r2ad2.datasets.labelled import (
    LabelledTable,
    TableFormat,
    complete_rows,
    read_complete,
)
from r2ad2.tables import reader

FORMAT = TableFormat(
    labels=("kind", "class"), classes={"good": "normal", "bad": "anomalous"}, drop=("time",)
)


def write(tmp_path, *lines):
    path = tmp_path / "table.csv"
    path.write_text("\n".join([*lines, ""]))
    return path


def test_labels_are_compared_without_case_and_either_label_column_is_found(tmp_path):
    rows, names = read_complete(write(tmp_path, "time,x,class", "7,1,Good", "8,2,BAD"), FORMAT)
    assert names == ["x"]
    assert rows.x.tolist() == [[1], [2]]
    assert rows.classes.tolist() == ["normal", "anomalous"]


def test_row_numbers_that_pandas_wrote_are_no_feature(tmp_path):
    rows, names = read_complete(write(tmp_path, ",x,kind", "0,1,good", "1,2,bad"), FORMAT)
    assert names == ["x"]
    assert rows.x.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x,kind"], "table.csv' contains no rows"),
        (["x,other", "1,good"], "has no label column 'kind' or 'class' among its 2 columns"),
        (["time,kind", "1,good"], "has no feature columns"),
        ([",x,kind", ".5,1,good"], "column 1 has no name and is not the row numbers"),
        (["x,,kind", "1,0,good"], "column 2 has no name and is not the row numbers"),
        (["x,kind", "1,good", "2,ugly"], "row 1: 'ugly' is not a known kind; .* good, bad"),
        (["x,kind", "1,good", "soon,bad"], "line 3, row 1: not a number in column 'x': soon"),
        (["x,kind", "1,good", "1"], "the header has 2 fields, line 3 has 1: 1 .*download it again"),
        (["x,kind", "1,good", "inf,bad"], r"row 1: .*'x' is missing or infinite \(1 such row\)"),
        (["x,kind", ",good", ",bad"], r"row 0: .*'x' is missing or infinite \(2 such rows\)"),
    ],
)
def test_bad_tables_are_refused_with_the_reason(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_complete(write(tmp_path, *lines), FORMAT)


def test_rows_are_numbered_as_in_the_file_also_after_repeated_headers(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(row_reading, "CHUNK_VALUES", 200)
    rows = ["1,good"] * 2_000
    rows[5] = rows[300] = "x,kind"
    rows[1_500] = "1,ugly"
    table = LabelledTable([write(tmp_path, "x,kind", *rows)], FORMAT)
    with pytest.raises(ValueError, match="row 1500: 'ugly'"):
        list(table.read())


def test_files_without_a_header_have_the_columns_of_their_format(tmp_path):
    layout = TableFormat(
        labels=("kind",), classes={"good": "good"}, columns=("x", "kind", "y", "z"), n_optional=1
    )
    for line, values in (("1,good,2", [1, 2]), ("1,good,2,3", [1, 2, 3])):
        rows, names = read_complete(write(tmp_path, line), layout)
        assert rows.x.tolist() == [values]
        assert names == ["x", "y", "z"][: len(values)]
    message = r"has 2 columns; expected 4: x, kind, y, \.\.\., z \(optional\)"
    with pytest.raises(ValueError, match=message):
        read_complete(write(tmp_path, "1,good"), layout)


def test_incomplete_rows_are_dropped_and_counted(tmp_path):
    table = LabelledTable([write(tmp_path, "x,kind", ",good", "1,bad", "inf,bad")], FORMAT)
    rows, n_dropped = complete_rows(table.read())
    assert rows.x.tolist() == [[1]]
    assert n_dropped == 2
    table = LabelledTable([write(tmp_path, "x,kind", ",good")], FORMAT)
    with pytest.raises(ValueError, match="all of 1 row have missing or infinite values"):
        complete_rows(table.read())
