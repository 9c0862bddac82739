"""The reader of table files: rows and their numbers, types over whole columns, bounded samples."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from r2ad2.tables import profile, reader
from r2ad2.tables.profile import ColumnProfile
from r2ad2.tables.reader import TableReader
from r2ad2.tables.schema import Told, read_schema
from r2ad2.tables.source import label_text
from r2ad2.tables.text import unique_names
from r2ad2.tables.values import ColumnType, convert, parse_numbers


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def schema(path, skip=False, **told):
    table = TableReader(path)
    return read_schema(table, table.columns, Told(**told), skip=skip)


def test_rejects_know_their_row_and_line(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 64)
    lines = ["a,b", *(f'{i},"x\n{i}"' if i % 3 == 0 else f"{i},x" for i in range(30))]
    lines[8] += ",more"
    lines.insert(12, "")
    lines.insert(20, "a,b")
    text = "\n".join(lines)
    table = TableReader(write(tmp_path / "a.csv", text))
    assert table.columns == ["a", "b"]
    numbered, rejects, rows = table.numbered_lines(), [], []
    for batch in table.batches(["a"], skip=True, chunk_rows=4):
        rejects += table.with_lines(batch.rejects, numbered)
        rows += list(zip(batch.numbers.tolist(), batch.arrays["a"].to_pylist(), strict=True))
    assert [reject.reason for reject in rejects] == ["3 fields instead of 2", "repeats the header"]
    for reject in rejects:
        assert text.split("\n")[reject.line - 1] == reject.content
    assert [int(value) for _, value in rows] == [i for i in range(30) if i != 7]
    assert [row for row, _ in rows] == [i for i in range(31) if i not in {7, 18}]


def test_a_value_that_equals_its_columns_name_is_no_header(tmp_path):
    table = TableReader(write(tmp_path / "a.csv", "kind,n\nkind,1\nother,2\n"))
    (batch,) = table.batches(["kind"], skip=True)
    assert batch.arrays["kind"].to_pylist() == ["kind", "other"]
    assert list(batch.arrays) == ["kind"]


@pytest.mark.parametrize("last", ["7,x", " 8 ,y", "late,z", "9", "a,b", "", '"1\n2",x'])
@pytest.mark.parametrize("skip", [False, True])
def test_numbers_that_arrow_reads_itself_are_those_of_the_texts(tmp_path, monkeypatch, last, skip):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 64)
    rows = [f"{i}.5,x" if i % 3 else "NA,y" for i in range(50)]
    table = TableReader(write(tmp_path / "a.csv", "\n".join(["a,b", *rows, last, "1e3,z"])))

    def read(numbers):
        rejects, found, types = [], [], []
        for batch in table.batches(["b", "a"], skip=skip, chunk_rows=8, numbers=numbers):
            rejects += batch.rejects
            for i, number in enumerate(batch.numbers.tolist()):
                values, faults = convert("a", batch.arrays["a"], ColumnType("number"))
                found.append((number, batch.arrays["b"][i].as_py(), values[i], bool(faults)))
            types += [array.type for name, array in batch.arrays.items() if name == "a"]
        return rejects, repr(found), types

    (rejects, found, types), (other_rejects, other_found, _) = read(["a"]), read([])
    assert (rejects, found) == (other_rejects, other_found)
    assert types[:5] == [pa.float64()] * 5


def test_repeated_headers_are_found_even_if_they_are_numbers(tmp_path):
    table = TableReader(write(tmp_path / "a.csv", "1,2\n3,4\n1,2\n5,6\n"))
    (batch,) = table.batches(["1", "2"], skip=True, numbers=["1", "2"])
    assert batch.arrays["1"].to_pylist() == ["3", "5"]
    assert [reject.row for reject in batch.rejects] == [1]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("numbers", [True, False])
def test_rows_begin_after_header_and_byte_order_mark(tmp_path, name, header, mark, end, numbers):
    lines = [*(["a,b"] if header else []), "1,2", "3,4"]
    content = (mark + end.join(lines)).encode()
    path = write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    table = TableReader(path, header=header)
    assert table.columns == (["a", "b"] if header else ["0", "1"])
    (batch,) = table.batches(table.columns, numbers=table.columns if numbers else ())
    rows = zip(*(array.to_pylist() for array in batch.arrays.values()), strict=True)
    assert [tuple(map(float, row)) for row in rows] == [(1, 2), (3, 4)]


@pytest.mark.parametrize("numbers", [(), ("a",)])
def test_a_file_with_only_a_header_has_no_rows(tmp_path, numbers):
    table = TableReader(write(tmp_path / "a.csv", "a,b\n"))
    assert not list(table.batches(["a", "b"], numbers=numbers))


@pytest.mark.parametrize("numbers", [(), ("a", "b")])
def test_damaged_gzip_files_are_refused(tmp_path, numbers):
    content = gzip.compress(("a,b\n" + "1,2\n" * 100_000).encode())
    table = TableReader(write(tmp_path / "a.csv.gz", content[:-12]))
    with pytest.raises(ValueError, match=r"cannot read '.*a\.csv\.gz' as a table: .*end"):
        list(table.batches(["a", "b"], numbers=numbers))


def test_a_folder_of_parquet_files_must_have_the_same_columns(tmp_path):
    for name, columns in (("a", ["x", "y"]), ("b", ["x", "z"])):
        table = pd.DataFrame([[1, 2]], columns=columns)
        table.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"the parts of .* differ: only some have column 'y'"):
        schema(tmp_path)


def write_parts(folder, *columns):
    """Write a part for each column x."""
    for i, values in enumerate(columns):
        pa.parquet.write_table(pa.table({"x": values}), folder / f"{i}.parquet")
    return TableReader(folder)


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (pa.array([1, 2]), pa.array([0.5, None]), pa.float64()),
        (pa.nulls(2), pa.array([1, None]), pa.int64()),
        (pa.array(["a"]), pa.nulls(2), pa.string()),
        (
            pa.array(["a", None]).dictionary_encode(),
            pa.array(["b"], pa.large_string()),
            pa.large_string(),
        ),
        (pa.array(["a"]), pa.array(["b", "a"]).dictionary_encode(), pa.string()),
        (pa.array([1], pa.timestamp("s")), pa.array([1], pa.timestamp("ms")), pa.timestamp("ms")),
    ],
    ids=["whole and float", "empty and whole", "text and empty", "dictionary", "texts", "dates"],
)
def test_parts_of_a_folder_may_differ_in_types_that_one_type_holds(tmp_path, first, second, common):
    for parts in ((first, second), (second, first)):
        table = write_parts(tmp_path, *parts)
        (batch,) = table.batches(["x"])
        assert batch.arrays["x"].to_pylist() == [v for part in parts for v in part.to_pylist()]
        assert batch.arrays["x"].type == common


def test_parts_whose_types_have_nothing_in_common_are_named(tmp_path):
    table = write_parts(tmp_path, pa.nulls(1), pa.array([1]), pa.array(["a"]))
    message = r"column 'x' is int64 in '.*1\.parquet', but string in '.*2\.parquet': write this"
    with pytest.raises(ValueError, match=message):
        _ = table.columns
    table = write_parts(tmp_path, pa.array([2**53 + 1]), pa.array([0.5]), pa.nulls(1))
    message = r"column 'x' of '.*0\.parquet' is int64 and cannot be read as double, which other"
    with pytest.raises(ValueError, match=message):
        list(table.batches(["x"]))


def test_columns_in_the_names_of_folders_are_refused(tmp_path):
    (tmp_path / "day=1").mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "day=1" / "a.parquet")
    with pytest.raises(ValueError, match="a column in the names of its sub-folders, 'day=1'"):
        schema(tmp_path)


def test_columns_of_lists_are_refused(tmp_path):
    pa.parquet.write_table(pa.table({"x": [[1], [2]]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'x' has type list.*cannot be encoded"):
        schema(tmp_path / "a.parquet")
    path = write(tmp_path / "a.jsonl", '{"x": 1}\n{"x": [2]}\n')
    with pytest.raises(ValueError, match="row 1: a list in column 'x'"):
        schema(path)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-99", "unknown encoding 'utf-99'"), ("base64", "unknown encoding 'base64'")],
)
def test_unknown_encodings_are_refused(tmp_path, encoding, message):
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match=message):
        _ = TableReader(path, encoding=encoding).columns


@pytest.mark.parametrize("separator", ["ab", '"', "é"])
def test_separators_are_one_character(tmp_path, separator):
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match="the separator must be one character"):
        _ = TableReader(path, separator=separator).columns


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (",a\n0,1\n1,2\n", ["Unnamed: 0"]),
        (",a\n 7 ,1\n-1,2\n\n,a\n5,2,1\nrest\n8,4\n", ["Unnamed: 0"]),
        (",a\n", ["Unnamed: 0"]),
        ("a,__index_level_0__\nx,y\n", ["__index_level_0__"]),
        (",a\n0,1\nx,2\n", "column 1 has no name"),
        (",a\n0,1\n,2\n", "column 1 has no name"),
        ("a,,b\n0,1,2\n", "column 2 has no name.*--drop 'Unnamed: 1'"),
        ("a,Unnamed: 0\n0,1\n", "column 2 has no name.*--drop 'Unnamed: 0'"),
        ("a,b\n0,1\n", []),
    ],
)
def test_row_numbers_that_pandas_wrote(tmp_path, content, names):
    table = TableReader(write(tmp_path / "a.csv", content))
    if isinstance(names, str):
        with pytest.raises(ValueError, match=names):
            table.index_columns()
    else:
        assert table.index_columns() == names
    assert table.index_columns(table.columns) == []


@pytest.mark.parametrize(
    ("name", "content", "separator"),
    [
        ("a.csv", "1,5;2,1;3\n2,5;1,1;3\n", ";"),
        ("a.csv", '"1,5"|"2,1"|3\n"2,5"|"1,1"|3\n', "|"),
        ("a.csv", "1,a\n2,b\n", ","),
        ("a.csv", "1,a;b\n2,b\n", ","),
        ("a.csv", "x;y\n1,5;2\n", ";"),
        ("a.tsv", "a, b\tc\nd, e\tf\n", "\t"),
        ("a.csv", "Preis, EUR;Menge, Stk\n1,5;2,1\n", "commas or by semicolons: .*--separator"),
        ("a.csv", "a;b|c\nd;e|f\n", r'semicolons or by vertical bars: .*--separator "\|"'),
        ("a.csv", "a, b\tc\nd, e\tf\n", 'commas or by tabs: .*"," or --separator tab'),
        ("a.csv", "a b\nc d\n", ","),
    ],
)
def test_separators_are_found_unless_several_may_be_meant(tmp_path, name, content, separator):
    table = TableReader(write(tmp_path / name, content), header=False)
    if len(separator) > 1:
        with pytest.raises(ValueError, match=separator):
            _ = table.columns
    else:
        assert table.text.found_separator == separator


def test_names_are_unique():
    assert unique_names(["a", "a", "a.1", "a"]) == ["a", "a.2", "a.1", "a.3"]


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        ("5,000.12", ".", 5000.12),
        ("5.000,12", ",", 5000.12),
        ("5000,12", ",", 5000.12),
        (" 1 234 567 ", ".", 1234567),
        ("1'234.5", ".", 1234.5),
        ("-.5e-3", ".", -0.0005),
        ("0,5", ".", None),
        ("1,00", ".", None),
        ("12,3456", ".", None),
        ("1.5", ",", None),
        ("0x10", ".", None),
        ("1_000", ".", None),
    ],
)
def test_texts_as_numbers(text, decimal, number):
    values, bad = parse_numbers(pa.array([text]), decimal)
    assert bad[0] == (number is None)
    assert number is None or values[0] == number


def test_values_are_missing_or_faulty_but_never_both():
    texts = pa.array(["1", "", "NA", None, " ", "inf", "x", "-nan"])
    values, faults = convert("a", texts, ColumnType("number"))
    np.testing.assert_array_equal(np.isnan(values), [0, 1, 1, 1, 1, 0, 1, 1])
    assert np.flatnonzero(faults["not a number in column 'a'"]).tolist() == [6]
    assert np.flatnonzero(faults["infinite value in column 'a'"]).tolist() == [5]


def test_types_of_mixed_columns_are_the_same_in_any_order_and_block(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "BLOCK_BYTES", 100)
    values = ["A1"] * 30 + ["7"] * 25
    for order in (values, values[::-1]):
        path = write(tmp_path / "a.csv", "x,n\n" + "".join(f"{v},1\n" for v in order))
        found = schema(path)
        assert found.columns["x"].kind == "category"
        assert found.profiles["x"].n_values == 2
    odd = ["7"] * 30 + ["A1"] * 25
    write(tmp_path / "a.csv", "x,n\n" + "".join(f"{v},1\n" for v in odd))
    with pytest.raises(ValueError, match=r"'x' looks numeric, but holds 'A1' \(line 32\)"):
        schema(tmp_path / "a.csv")
    assert schema(tmp_path / "a.csv", skip=True).columns["x"].kind == "number"


AMBIGUOUS = r"'x' holds '1,100' \(line 2\): say which is the decimal sign"


@pytest.mark.parametrize("odd", [[], ["abc"], ["inf", "true"]])
@pytest.mark.parametrize("types", [{}, {"x": "number"}])
@pytest.mark.parametrize("skip", [False, True])
def test_decimal_signs_are_found_in_what_looks_like_a_number(tmp_path, odd, types, skip):
    path = tmp_path / "a.csv"

    def read(values):
        write(path, "\n".join(["x;y", *(f"{value};1" for value in [*values, *odd])]))
        return schema(path, skip=skip, types=types)

    judged = skip or types or not odd
    with pytest.raises(ValueError, match=AMBIGUOUS if judged else "'x' looks numeric, but holds"):
        read(["1,100", "2,200", "3"])
    if judged:
        found = read(["1,10", "2,11", "1,100"])
        assert (found.columns["x"].kind, found.decimal) == ("number", ",")
        assert read(["1.10", "2.11", "1,100"]).decimal == "."


@pytest.mark.parametrize("kind", ["category", "boolean"])
def test_columns_that_are_no_numbers_tell_no_decimal_sign(tmp_path, kind):
    path = write(tmp_path / "a.csv", "x;y\n1,100;1\n2,5;2\n")
    assert schema(path, types={"x": kind}).decimal == "."
    path = write(tmp_path / "a.csv", "x;y\n1,100;1\na;1\nb;1\nc;1.5\n")
    assert schema(path, skip=True).columns["x"].kind == "category"


def test_counted_texts_are_bounded(monkeypatch):
    monkeypatch.setattr(profile, "_MAX_VALUES", 1000)
    column = ColumnProfile("x", counted=True)
    for _ in range(4):  # texts that were seen before are not new
        for start in range(0, 20_000, 500):
            texts = [f"rare {i}" for i in range(start, start + 500)] + ["often"] * 50
            column.update(pa.array(texts), np.arange(550))
            assert len(column.hashes) <= 1000
            if column.n_rows == 550:
                assert column.n_values == 501
    assert column.n_values == pytest.approx(20_001, rel=0.1)


def test_two_spellings_of_a_code_count_once():
    column = ColumnProfile("x", counted=True)
    column.update(pa.array(["80", "80.0", "443.0", "", "007.0", "007", "-1", "-1.0"]), np.arange(8))
    assert column.n_values == 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"), ("1.0", "1"), (" 01 ", "1"), (1e6 + 1, "1000001"), ("-0", "0"), (2.50, "2.5"),
        (True, "true"), ("FALSE", "false"), ("None", "None"), ("1e3", "1000"), ("a b", "a b"),
        (12345678901234567890, "12345678901234567890"),
    ],
)  # fmt: skip
def test_spellings_of_labels(value, text):
    assert label_text(value) == text
