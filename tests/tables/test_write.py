"""Tables that are written can be read; a failure leaves what was there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

from r2ad2.tables.reader import TableReader
from r2ad2.tables.write import check_writable, write_tables

TABLES = [pd.DataFrame({"a": [1, 2], "b": ["x", "ü,\n"]}), pd.DataFrame({"a": [3], "b": ['"']})]


@pytest.mark.parametrize("name", ["t.csv", "t.CSV.gz", "t.parquet", "t.pq"])
def test_tables_are_written_one_after_another(tmp_path, name):
    path = write_tables(tmp_path / "new" / name, TABLES)
    expected = pd.concat(TABLES, ignore_index=True)
    reader = TableReader(path)
    found = pd.concat([pd.DataFrame(b.arrays) for b in reader.batches(reader.columns)])
    pd.testing.assert_frame_equal(found.astype(str), expected.astype(str), check_dtype=False)
    assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_text_files_are_in_utf_8_whatever_the_locale(tmp_path, name):
    code = f"""
        import pandas as pd
        from r2ad2.tables.write import write_tables

        write_tables({str(tmp_path / name)!r}, [pd.DataFrame({{"a": ["\\u00fc"]}})])
    """
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    subprocess.run(command, check=True, env=os.environ | plain)
    assert pd.read_csv(tmp_path / name)["a"].tolist() == ["\u00fc"]


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
