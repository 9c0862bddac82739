"""Reads CSV and Parquet files, plain or gzipped, into DataFrames: whole or in chunks."""

from __future__ import annotations

import gzip
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from r2ad2.support.files import format_suffix, require_file
from r2ad2.support.messages import reason_of

FRAME_ROWS = 50_000  # rows per DataFrame


def _csv_chunks(path: Path, header: bool, texts: Iterable[str]) -> Iterator[pd.DataFrame]:
    # Without a header, pandas calls columns by their position.
    types: dict[Hashable, type[str]] = {
        name if header else int(name): str for name in texts if header or name.isdecimal()
    }
    with pd.read_csv(
        path,
        sep="\t" if format_suffix(path) == ".tsv" else ",",
        header=0 if header else None,
        dtype=types,
        chunksize=FRAME_ROWS,
        low_memory=False,
    ) as reader:
        for chunk in reader:
            yield chunk.set_axis([str(name) for name in chunk.columns], axis=1)


def _parquet_chunks(path: Path, header: bool, texts: Iterable[str]) -> Iterator[pd.DataFrame]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(FRAME_ROWS):
            yield batch.to_pandas()


_READERS = {".parquet": _parquet_chunks, ".pq": _parquet_chunks}


def read_chunks(
    path: str | Path, *, header: bool = True, texts: Iterable[str] = ()
) -> Iterator[pd.DataFrame]:
    """Read a table file chunk by chunk; the index holds the row numbers.

    Args:
        path: .parquet or .pq, else comma-separated (.tsv: tab-separated); each also with .gz.
        header: whether a comma-separated file names its columns in the first line; if not, they
            are called "0", "1", ...
        texts: columns to read as text even if they look like numbers.

    Yields:
        Tables of up to `FRAME_ROWS` rows.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read as a table, or has no rows.
    """
    path = Path(path)
    require_file(path)
    first_row = 0
    try:
        for chunk in _READERS.get(format_suffix(path), _csv_chunks)(path, header, texts):
            chunk.index = pd.RangeIndex(first_row, first_row + len(chunk))
            first_row += len(chunk)
            yield chunk
    except pd.errors.EmptyDataError:  # the same as a file with a header only
        pass
    except (pd.errors.ParserError, pa.ArrowException) as error:
        raise ValueError(f"cannot read {str(path)!r} as a table: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 text: convert it first") from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{str(path)!r} is not a complete gzip file: {error}") from error
    if first_row == 0:
        raise ValueError(f"{str(path)!r} holds no rows")


def read_table(path: str | Path, *, header: bool = True) -> pd.DataFrame:
    """Read a whole table file; see `read_chunks`."""
    return pd.concat(list(read_chunks(path, header=header)))
