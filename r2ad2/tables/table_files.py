"""Reads and writes tables in files: CSV and Parquet, plain or gzipped, whole or in chunks."""

from __future__ import annotations

import gzip
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from r2ad2.support.files import require_file, write_atomically
from r2ad2.support.messages import reason_of

CHUNK_ROWS = 50_000


def _suffix(path: Path) -> str:
    """Return the extension in lower case, without a final .gz."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _csv_chunks(path: Path, header: bool, texts: Iterable[str]) -> Iterator[pd.DataFrame]:
    # Columns without a header are called by their position.
    types: dict[Hashable, type[str]] = {
        name if header else int(name): str for name in texts if header or name.isdecimal()
    }
    with pd.read_csv(
        path,
        sep="\t" if _suffix(path) == ".tsv" else ",",
        header=0 if header else None,
        dtype=types,
        chunksize=CHUNK_ROWS,
        low_memory=False,
    ) as reader:
        for chunk in reader:
            yield chunk.set_axis([str(name) for name in chunk.columns], axis=1)


def _parquet_chunks(path: Path, header: bool, texts: Iterable[str]) -> Iterator[pd.DataFrame]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(CHUNK_ROWS):
            yield batch.to_pandas()


_READERS = {".parquet": _parquet_chunks, ".pq": _parquet_chunks}


def read_chunks(
    path: str | Path, *, header: bool = True, texts: Iterable[str] = ()
) -> Iterator[pd.DataFrame]:
    """Read a table file piece by piece, with row numbers as index.

    Args:
        path: .parquet or .pq, else comma-separated (.tsv: tab-separated); each also with .gz.
        header: whether a comma-separated file names its columns in the first line; if not, they
            are called "0", "1", ...
        texts: columns to be read as text whatever they look like.

    Yields:
        Tables of at most `CHUNK_ROWS` rows.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read as a table, or has no rows.
    """
    path = Path(path)
    require_file(path)
    first_row = 0
    try:
        for chunk in _READERS.get(_suffix(path), _csv_chunks)(path, header, texts):
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


def _write_csv(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w") as file:
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


_WRITERS: Mapping = {".parquet": _write_parquet, ".pq": _write_parquet, ".csv": _write_csv}


def check_writable(path: str | Path) -> None:
    """Check that `write_tables` knows the file's format.

    Raises:
        ValueError: for another extension than .csv, .csv.gz or .parquet.
    """
    if _suffix(Path(path)) not in _WRITERS:
        raise ValueError(f"cannot write {str(path)!r}: use the extension .csv, .csv.gz or .parquet")


def write_tables(path: str | Path, tables: Iterable[pd.DataFrame]) -> Path:
    """Write tables one below the other to a .csv, .csv.gz or .parquet file, all or nothing.

    Raises:
        ValueError: for another extension.
    """
    check_writable(path)
    writer = _WRITERS[_suffix(Path(path))]
    return write_atomically(path, lambda temporary: writer(temporary, tables))
