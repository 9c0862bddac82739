"""Reads rows of table files for data sets: values may be missing or infinite, but not odd."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd

from r2ad2.tables.reader import CHUNK_ROWS, TableReader
from r2ad2.tables.schema import malformed_error
from r2ad2.tables.text import UNDECODABLE
from r2ad2.tables.types import REPEATED_HEADER, Batch, Reject
from r2ad2.tables.values import MISSING, ColumnType, convert

CHUNK_VALUES = 1_000_000  # read at a time


def read_batches(
    reader: TableReader,
    columns: Sequence[str],
    numbers: Collection[str],
    remedy: str,
    skip_headers: bool = True,
) -> Iterator[Batch]:
    """Read columns batch by batch.

    Args:
        reader: the file.
        columns: their names.
        numbers: those that hold numbers; see `TableReader.batches`.
        remedy: what to do about a malformed row.
        skip_headers: whether rows that repeat the header are only listed in the batch's rejects.

    Raises:
        ValueError: for a row that cannot be divided into columns.
    """
    n_rows = min(CHUNK_ROWS, max(CHUNK_VALUES // len(columns), 1))
    for batch in reader.batches(columns, chunk_rows=n_rows, numbers=numbers):
        for reject in batch.rejects:
            if not skip_headers or reject.reason != REPEATED_HEADER:
                raise malformed_error(reader, reject, remedy)
        yield batch


def read_values(
    reader: TableReader, batch: Batch, name: str, column: ColumnType, decimal: str, remedy: str
) -> pd.Series:
    """Return the values of a column as `convert` does, missing or infinite ones included.

    Raises:
        ValueError: for a value that does not suit the column.
    """
    array = batch.arrays[name]
    values, faults = convert(name, array, column, decimal, MISSING if reader.is_text else ())
    for reason, bad in faults.items():
        odd = bad & ~np.isinf(values) if column.kind in ("number", "boolean") else bad
        if odd.any():
            i = int(odd.argmax())
            text = str(array[i].as_py()).replace(UNDECODABLE, "\ufffd")
            raise malformed_error(reader, Reject(int(batch.numbers[i]), None, reason, text), remedy)
    return values
