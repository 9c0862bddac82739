"""Reading table files with Arrow: names, pieces, rows and what is said of faulty ones."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet
import pytest

from r2ad2.tables import file as table_file
from r2ad2.tables.file import TableFile
from r2ad2.tables.numbers import first_non_number

NUMBERS = {"a": pa.float64(), "b": pa.float64()}


def write(path, text):
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path, types=NUMBERS, header=True, **options):
    file = TableFile(path, header=header)
    batches = [batch for piece in file.pieces() for batch in file.batches(piece, types, **options)]
    return pa.Table.from_batches(batches).to_pylist() if batches else []


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b\n1,2\n3,4\n", True),
        ("a,b\r\n1,2\r\n3,4\r\n", True),
        ("\ufeffa,b\n1,2\n3,4", True),
        ("1,2\n3,4\n", False),
        ("\ufeff1,2\n3,4\n", False),
    ],
)
def test_rows_begin_after_header_and_byte_order_mark(tmp_path, name, text, header):
    path = write(tmp_path / name, text)
    names = ("a", "b") if header else ("0", "1")
    assert TableFile(path, header=header).columns() == list(names)
    found = read(path, dict.fromkeys(names, pa.float64()), header)
    assert [tuple(row.values()) for row in found] == [(1, 2), (3, 4)]
    with TableFile(path, header=header).open_rows() as (rows, _):
        assert rows.readline() in (b"1,2\n", b"1,2\r\n")


def test_lines_may_end_with_carriage_returns_alone(tmp_path):
    with TableFile(write(tmp_path / "a.csv.gz", "a,b\r1,2\r3,4\r")).open_rows() as (rows, _):
        assert rows.read() == b"1,2\r3,4\r"


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_file_with_only_a_header_has_no_rows(tmp_path, name):
    assert read(write(tmp_path / name, "a,b\n")) == []


def test_repeated_names_are_numbered(tmp_path):
    path = write(tmp_path / "a.csv", "a, b ,a,a\n1,2,3,4\n")
    assert TableFile(path).columns() == ["a", "b", "a.1", "a.2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b"\xff\xfea\x00,\x00", "the header of .* is not UTF-8 text"),
    ],
)
def test_files_without_a_readable_header_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        TableFile(write(tmp_path / "a.csv", content)).columns()


def test_names_that_are_given_must_fit_the_number_of_columns(tmp_path):
    path = write(tmp_path / "a.csv", "1,2\n")
    assert TableFile(path, header=False, names=("x", "y", "z"), n_optional=1).columns() == [
        "x",
        "y",
    ]
    with pytest.raises(ValueError, match=r"has 2 columns; expected 3: x, y, z, \.\.\., z"):
        TableFile(path, header=False, names=("x", "y", "z")).columns()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 50])
def test_pieces_hold_every_row_once_and_know_the_rows_before(tmp_path, n):
    path = write(tmp_path / "a.csv", "a,b\n" + "".join(f"{i},{i * 37}\n" for i in range(40)))
    file, rows = TableFile(path), []
    assert len(file.pieces(n)) <= n
    for piece in file.pieces(n):
        assert file.rows_before(piece) == len(rows)
        for batch in file.batches(piece, NUMBERS):
            rows += batch.column("a").to_pylist()
    assert rows == list(range(40))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_the_first_value_that_is_not_a_number_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setattr(table_file, "BLOCK_BYTES", 100)
    monkeypatch.setattr(table_file, "BATCH_BYTES", 200)
    lines = [f"{i}, {i}.5 ,x" for i in range(300)]
    lines[123] = "123,soon,x"
    lines[200] = "never,,x"
    path = write(tmp_path / name, "\n".join(["a,b,c", *lines]))
    with pytest.raises(ValueError, match=rf"{name}', row 123: 'soon' in numeric column b"):
        read(path, NUMBERS | {"c": pa.string()})
    assert len(read(path, NUMBERS, missing=["soon", "never"])) == 300


def test_rows_with_another_number_of_fields_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n1,2\n3,4,5\n")
    with pytest.raises(ValueError, match=r"cannot read '.*a\.csv' as a table: .*got 3"):
        read(path)


def test_damaged_gzip_files_are_refused(tmp_path):
    path = write(tmp_path / "a.csv.gz", "a,b\n" + "1,2\n" * 1000)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"cannot read '.*a\.csv\.gz' as a table: .*end"):
        read(path)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (["1", " 2.5 ", "-3e5", "inf", None], None),
        (["x", "1"], 0),
        (["1", None, "2", "1_000", "y"], 3),
        (["1"] * 99 + [""], 99),
        ([], None),
    ],
)
def test_the_position_of_the_first_text_that_is_not_a_number(values, place):
    column = pa.array([v and v.encode() if v else (None if v is None else b"") for v in values])
    assert first_non_number(column.cast(pa.binary())) == place


def test_types_are_those_of_whole_columns(tmp_path):
    table = pa.table({"n": [1, 2], "flag": [True, False], "text": ["a", "b"]})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    write(tmp_path / "a.csv", "n,flag,text,none\n1,true,a,\n2,false,b,\n")
    expected = {"n": pa.float64(), "flag": pa.bool_(), "text": pa.string()}
    assert TableFile(tmp_path / "a.parquet").types() == expected
    assert TableFile(tmp_path / "a.csv").types() == expected | {"none": pa.float64()}
    with pytest.raises(ValueError, match="holds no rows"):
        TableFile(write(tmp_path / "b.csv", "a,b\n")).types()
