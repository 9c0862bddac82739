"""Writes tables to CSV and Parquet files, all or nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from r2ad2.support.files import format_suffix, write_atomically


def _write_csv(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    # What readers of tables expect, whatever the locale and the system.
    form: dict[str, Any] = {"encoding": "utf-8", "newline": ""}
    with gzip.open(path, "wt", **form) if path.suffix == ".gz" else path.open("w", **form) as file:
        for i, table in enumerate(tables):
            table.to_csv(file, index=False, header=i == 0)


def _write_parquet(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    writer = None
    try:
        for table in tables:
            arrow = pa.Table.from_pandas(table, preserve_index=False)
            writer = writer or pyarrow.parquet.ParquetWriter(path, arrow.schema)
            writer.write_table(arrow)
    finally:
        if writer is not None:
            writer.close()


_WRITERS: dict[str, Callable[[Path, Iterable[pd.DataFrame]], None]] = {
    ".parquet": _write_parquet,
    ".pq": _write_parquet,
    ".csv": _write_csv,
}


def check_writable(path: str | Path) -> None:
    """Check that `write_tables` knows the file's format.

    Raises:
        ValueError: for an extension other than .csv, .csv.gz or .parquet.
    """
    if format_suffix(Path(path)) not in _WRITERS:
        raise ValueError(f"cannot write {str(path)!r}: use the extension .csv, .csv.gz or .parquet")


def require_other_file(path: Path, table: Path) -> None:
    """Check that a file to write is not the table that is read.

    Raises:
        ValueError: if it is.
    """
    # Where they are: "x/../file" exists for the system only if there is a folder x.
    place, read = path.resolve(), table.resolve()
    if place == read or (place.exists() and read.exists() and place.samefile(read)):
        raise ValueError(
            f"{str(path)!r} is the table that is read, and would be lost: name another file to "
            "write"
        )


def check_output(path: Path, table: Path) -> None:
    """Check that a file to write leaves the table it is made from as it is.

    Raises:
        ValueError: for an extension other than .csv, .csv.gz or .parquet, or a file that is the
            table, or would be a part of it.
    """
    check_writable(path)
    require_other_file(path, table)
    place, read = path.resolve(), table.resolve()
    if read in place.parents and _WRITERS[format_suffix(path)] is _write_parquet:
        raise ValueError(
            f"{str(path)!r} would become a part of the table in the folder {str(table)!r}: name a "
            "file elsewhere"
        )


def write_tables(path: str | Path, tables: Iterable[pd.DataFrame]) -> Path:
    """Write tables one after another to one .csv, .csv.gz or .parquet file, all or nothing.

    Raises:
        ValueError: for any other extension.
    """
    check_writable(path)
    write = _WRITERS[format_suffix(Path(path))]
    return write_atomically(path, lambda temporary: write(temporary, tables))
