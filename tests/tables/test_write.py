"""Tables that are written can be read; a failure leaves what was there."""

from __future__ import annotations

import pandas as pd
import pytest

from r2ad2.tables.pandas_reader import read_chunks, read_table
from r2ad2.tables.write import check_writable, write_tables

TABLES = [pd.DataFrame({"a": [1, 2], "b": ["x", "ü,\n"]}), pd.DataFrame({"a": [3], "b": ['"']})]


@pytest.mark.parametrize("name", ["t.csv", "t.CSV.gz", "t.parquet", "t.pq"])
def test_tables_are_written_one_after_another(tmp_path, name):
    path = write_tables(tmp_path / "new" / name, TABLES)
    expected = pd.concat(TABLES, ignore_index=True)
    pd.testing.assert_frame_equal(read_table(path), expected, check_dtype=False)
    assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.gz"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"use the extension \.csv"):
        check_writable(tmp_path / name)
    with pytest.raises(ValueError, match=r"use the extension \.csv"):
        write_tables(tmp_path / name, TABLES)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_failure_leaves_the_earlier_file(tmp_path, name):
    path = tmp_path / name
    path.write_text("earlier")

    def tables():
        yield TABLES[0]
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_tables(path, tables())
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "earlier")]


def test_chunks_are_numbered_through_and_texts_stay_texts(tmp_path, monkeypatch):
    monkeypatch.setattr("r2ad2.tables.pandas_reader.FRAME_ROWS", 2)
    (tmp_path / "a.csv").write_text("key,n\n007,1\n008,2\n009,3\n010,4\n011,5\n")
    chunks = list(read_chunks(tmp_path / "a.csv", texts=["key"]))
    assert [chunk.index.tolist() for chunk in chunks] == [[0, 1], [2, 3], [4]]
    assert pd.concat(chunks)["key"].tolist() == ["007", "008", "009", "010", "011"]
    (tmp_path / "b.csv").write_text("007,1\n")
    assert next(read_chunks(tmp_path / "b.csv", header=False, texts=["0"]))["0"].tolist() == ["007"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n", "holds no rows"),
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "cannot read '.*' as a table: .*line 3"),
        ("a.csv", b"a,b\n\xff,2\n", "is not UTF-8 text"),
        ("a.csv.gz", b"a,b\n1,2\n", "is not a complete gzip file"),
        ("a.parquet", b"a,b\n1,2\n", "cannot read '.*' as a table"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.\w+.*{message}|{message}"):
        read_table(tmp_path / name)
