"""Reads the table files of data sets with Apache Arrow, in bounded memory and in pieces to share.

The caller states the columns' types, so that a block with odd values cannot change them.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from r2ad2.support.files import format_suffix, require_file
from r2ad2.support.messages import quoted, reason_of
from r2ad2.tables.numbers import first_non_number

# Arrow reads up to 32 blocks of text ahead, so small blocks keep memory low. Every batch has a cost
# per column, so several blocks are joined into one batch.
BLOCK_BYTES = 1 << 20
BATCH_BYTES = 8 << 20
_PARQUET_BATCH_ROWS = 1 << 14
_PARQUET_SUFFIXES = (".parquet", ".pq")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# As in pandas, without those that begin like a number: they would slow down reading every number,
# and "-nan" is read as a number anyway.
MISSING = ("", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")

RowStream = io.BufferedReader | gzip.GzipFile


@dataclass(frozen=True)
class Piece:
    """Part of a table file that can be read on its own.

    Attributes:
        path: the file.
        start: first byte, or first row group of a Parquet file.
        stop: the byte or row group after the last one.
    """

    path: Path
    start: int
    stop: int


@dataclass(frozen=True)
class TableFile:
    """A table file: comma-separated (.tsv: tab-separated) or .parquet/.pq, each also with .gz.

    Attributes:
        path: the file.
        header: whether a comma-separated file names its columns in the first line.
        names: column names of a file without a header; by default "0", "1", ...
        n_optional: how many of the last names may be absent from the file.
    """

    path: Path
    header: bool = True
    names: tuple[str, ...] = ()
    n_optional: int = 0

    @property
    def _suffix(self) -> str:
        return format_suffix(self.path)

    @property
    def is_packed(self) -> bool:
        """Whether the file is gzipped."""
        return self.path.name.lower().endswith(".gz")

    @property
    def is_parquet(self) -> bool:
        """Whether this is a Parquet file."""
        return self._suffix in _PARQUET_SUFFIXES

    @property
    def _delimiter(self) -> str:
        return "\t" if self._suffix == ".tsv" else ","

    def _open_text(self, errors: str = "strict") -> TextIO:
        # Some publishers' files begin with a byte order mark.
        if self.is_packed:
            return gzip.open(self.path, "rt", encoding="utf-8-sig", errors=errors, newline="")
        return self.path.open(encoding="utf-8-sig", errors=errors, newline="")

    def _parquet(self) -> pa.parquet.ParquetFile:
        try:
            return pa.parquet.ParquetFile(gzip.open(self.path) if self.is_packed else self.path)
        except pa.ArrowException as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: Exception) -> ValueError:
        """Build the error for a file that cannot be read."""
        return ValueError(f"cannot read {str(self.path)!r} as a table: {reason_of(error)}")

    def columns(self) -> list[str]:
        """Read the names of all columns; a repeated name gets ".1", ".2" as in pandas.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is empty or not a table, or the number of `names` does not fit.
        """
        require_file(self.path)
        if self.is_parquet:
            return list(self._parquet().schema_arrow.names)
        try:
            # Only the first line matters here; later lines are checked when they are read.
            with self._open_text("replace") as file:
                first = next(csv.reader(file, delimiter=self._delimiter), None)
        except (UnicodeDecodeError, EOFError, OSError, zlib.error, csv.Error) as error:
            raise self.unreadable(error) from error
        if not first:
            raise ValueError(f"{str(self.path)!r} holds no rows")
        if not self.header:
            return self._given_names(len(first))
        if any("\ufffd" in name for name in first):
            raise ValueError(
                f"the header of {str(self.path)!r} is not UTF-8 text: convert it first"
            )
        seen: dict[str, int] = {}
        names = []
        for name in (text.strip() for text in first):
            names.append(f"{name}.{seen[name]}" if name in seen else name)
            seen[name] = seen.get(name, 0) + 1
        return names

    def _given_names(self, n_columns: int) -> list[str]:
        names = self.names or [str(i) for i in range(n_columns)]
        if not len(names) - self.n_optional <= n_columns <= len(names):
            raise ValueError(
                f"{str(self.path)!r} has {n_columns} columns; expected {len(names)}: "
                f"{', '.join(names[:3])}, ..., {names[-1]}"
                f"{' (optional)' if self.n_optional else ''}"
            )
        return list(names[:n_columns])

    def schema(self) -> dict[str, pa.DataType]:
        """Return the types of a Parquet file's columns."""
        return {field.name: field.type for field in self._parquet().schema_arrow}

    @property
    def n_rows(self) -> int:
        """Rows of a Parquet file."""
        return self._parquet().metadata.num_rows

    def pieces(self, n: int = 1) -> list[Piece]:
        """Split the file into up to `n` pieces of about equal size, in row order.

        Gzipped files cannot be split. Rows of a comma-separated file must not span lines.
        """
        if self.is_parquet:
            edges = _edges(self._parquet().num_row_groups, 1 if self.is_packed else n)
        elif self.is_packed:
            edges = [0, 1]
        else:
            edges = self._line_starts(n)
        return [Piece(self.path, a, b) for a, b in itertools.pairwise(edges) if a < b]

    def _line_starts(self, n: int) -> list[int]:
        with self.path.open("rb") as file:
            self._skip_to_rows(file)
            first = file.tell()
            size = self.path.stat().st_size
            starts = []
            for edge in _edges(size - first, n)[1:-1]:
                file.seek(first + edge)
                file.readline()
                starts.append(file.tell())
        return sorted({first, *starts, size})

    def _skip_to_rows(self, file: RowStream) -> None:
        """Move from the start of a comma-separated file to its first row."""
        if self.header:
            line = file.readline()
            end = line.find(b"\r")
            if end >= 0 and line[end:] != b"\r\n":  # lines end with \r alone
                file.seek(end + 1)
        elif file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)

    def rows_before(self, piece: Piece) -> int:
        """Count the rows of the file before a piece by reading them; used for messages."""
        if self.is_parquet:
            metadata = self._parquet().metadata
            return sum(metadata.row_group(i).num_rows for i in range(piece.start))
        if self.is_packed:
            return 0
        with self.path.open("rb") as file:
            blocks = iter(lambda: file.read(min(BLOCK_BYTES, piece.start - file.tell())), b"")
            n_lines = sum(block.count(b"\n") for block in blocks)
        return n_lines - int(self.header)

    def types(self, repeated_header: bool = False) -> dict[str, pa.DataType]:
        """Guess each column's type from the file's first rows: float64, boolean, text, ...

        Args:
            repeated_header: whether lines that repeat the header count as missing values.

        Raises:
            ValueError: if there are no rows.
        """
        if self.is_parquet:
            return {name: _wide(kind) for name, kind in self.schema().items()}
        names, pieces = self.columns(), self.pieces()
        missing = names if repeated_header else ()
        batches = self.batches(pieces[0], dict.fromkeys(names), missing) if pieces else iter(())
        first = next(batches, None)
        if first is None:
            raise ValueError(f"{str(self.path)!r} holds no rows")
        return {field.name: _wide(field.type) for field in first.schema}

    def batches(
        self,
        piece: Piece,
        types: Mapping[str, pa.DataType | None],
        missing: Sequence[str] = (),
        missing_texts: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Read a piece batch by batch.

        Args:
            piece: one of `pieces()`.
            types: columns to read, in this order, with their types; None leaves one to Arrow.
            missing: texts that stand for a missing number besides the usual ones.
            missing_texts: whether they also mean a missing value in text columns.

        Raises:
            ValueError: for a value that does not fit its column, or a damaged file.
        """
        read = self._parquet_batches if self.is_parquet else self._csv_batches
        try:
            for batch in read(piece, types, missing, missing_texts):
                if batch.num_rows:
                    yield batch
        except pa.ArrowException as error:
            raise self._first_misfit(types, missing) or self.unreadable(error) from error
        except (EOFError, OSError, zlib.error) as error:
            raise self.unreadable(error) from error

    def _csv_batches(
        self,
        piece: Piece,
        types: Mapping[str, pa.DataType | None],
        missing: Sequence[str],
        missing_texts: bool,
    ) -> Iterator[pa.RecordBatch]:
        if self.is_packed:
            with self.open_rows() as (rows, _):
                yield from _joined(self.csv_batches(rows, types, missing, missing_texts))
            return
        source = pa.OSFile(str(self.path)).get_stream(piece.start, piece.stop - piece.start)
        yield from _joined(self.csv_batches(source, types, missing, missing_texts))

    def csv_batches(
        self,
        source: pa.NativeFile | RowStream,
        types: Mapping[str, pa.DataType | None],
        missing: Sequence[str] = (),
        missing_texts: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Read comma-separated rows from a stream that begins with the first of them.

        Args:
            source: the stream, uncompressed.
            types: as for `batches`.
            missing: as for `batches`.
            missing_texts: as for `batches`.

        Raises:
            pyarrow.ArrowException: for rows that cannot be read.
        """
        if isinstance(source, RowStream) and not source.peek(1):
            return  # Arrow raises an error for an empty stream
        with pa.csv.open_csv(
            source,
            read_options=pa.csv.ReadOptions(
                block_size=BLOCK_BYTES,
                column_names=self.columns(),
            ),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(types),
                column_types={name: kind for name, kind in types.items() if kind is not None},
                null_values=[*MISSING, *missing],
                strings_can_be_null=missing_texts,
            ),
        ) as reader:
            yield from reader

    @contextlib.contextmanager
    def open_rows(self) -> Iterator[tuple[RowStream, Callable[[], int]]]:
        """Open a comma-separated file at its first row, for `csv_batches`.

        Yields:
            The uncompressed stream, and a function that returns the number of bytes of the file
            that have been read.
        """
        with self.path.open("rb") as raw:
            rows = gzip.GzipFile(fileobj=raw) if self.is_packed else raw
            self._skip_to_rows(rows)
            yield rows, raw.tell

    def _parquet_batches(
        self,
        piece: Piece,
        types: Mapping[str, pa.DataType | None],
        missing: Sequence[str],
        missing_texts: bool,
    ) -> Iterator[pa.RecordBatch]:
        groups = list(range(piece.start, piece.stop))
        for batch in self._parquet().iter_batches(
            _PARQUET_BATCH_ROWS, row_groups=groups, columns=list(types)
        ):
            columns = {
                name: batch.column(name) if kind is None else batch.column(name).cast(kind)
                for name, kind in types.items()
            }
            yield pa.RecordBatch.from_pydict(columns)

    def _first_misfit(
        self, types: Mapping[str, pa.DataType | None], missing: Sequence[str]
    ) -> ValueError | None:
        """Find the first value of a comma-separated file that does not fit its number column.

        This reads the file again, as text.
        """
        if self.is_parquet:
            return None
        numbers = {name: pa.binary() for name, kind in types.items() if kind == pa.float64()}
        first_row = 0
        try:
            for batch in self._csv_batches(self.pieces()[0], numbers, missing, True):
                places = [
                    (place, name)
                    for name, values in zip(numbers, batch.columns, strict=True)
                    if (place := first_non_number(values)) is not None
                ]
                if places:
                    place, name = min(places)
                    text = batch.column(name)[place].as_py().decode("utf-8", "replace")
                    return ValueError(
                        f"{str(self.path)!r}, row {first_row + place}: {quoted(text)} in numeric "
                        f"column {name}"
                    )
                first_row += batch.num_rows
        except pa.ArrowException:  # the file is damaged in another way
            pass
        return None


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small batches into larger ones."""
    gathered: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        gathered.append(batch)
        size += batch.nbytes
        if size >= BATCH_BYTES:
            yield from pa.Table.from_batches(gathered).combine_chunks().to_batches()
            gathered, size = [], 0
    if gathered:
        yield from pa.Table.from_batches(gathered).combine_chunks().to_batches()


def _edges(total: int, n: int) -> list[int]:
    return [total * i // n for i in range(n + 1)]


def _wide(kind: pa.DataType) -> pa.DataType:
    """Return the type for the whole column: integers in the first rows may precede floats."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return pa.float64() if numeric or pa.types.is_null(kind) else kind
