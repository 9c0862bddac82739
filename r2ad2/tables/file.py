"""Reads table files piece by piece with Apache Arrow: any size, bounded memory, in several shards.

Columns are read with stated types, so that a block with odd values cannot change them.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from r2ad2.support.files import require_file
from r2ad2.support.messages import quoted, reason_of

# Arrow reads up to 32 blocks of text ahead: small ones keep memory low, ...
BLOCK_BYTES = 1 << 20
# ... but every batch has its price for each column: hence several blocks make a batch.
BATCH_BYTES = 8 << 20
_BATCH_ROWS = 1 << 14  # of Parquet per batch
_PARQUET = (".parquet", ".pq")
# As in pandas, without those that begin like a number: they would slow down each number, and "-nan"
# is read as one anyway.
MISSING = ("", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")


@dataclass(frozen=True)
class Piece:
    """Part of a table file that can be read on its own.

    Attributes:
        path: the file.
        start: first byte, or first row group of a Parquet file.
        stop: the one behind the last.
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
        names: what the columns of a file without header are called; by default "0", "1", ...
        n_optional: how many of the last names may have no column.
    """

    path: Path
    header: bool = True
    names: tuple[str, ...] = ()
    n_optional: int = 0

    @property
    def _suffix(self) -> str:
        return Path(self.path.name.lower().removesuffix(".gz")).suffix

    @property
    def is_packed(self) -> bool:
        """Whether the file is gzipped."""
        return self.path.name.lower().endswith(".gz")

    @property
    def is_parquet(self) -> bool:
        """Whether this is a Parquet file."""
        return self._suffix in _PARQUET

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
        """Make the error that tells that the file cannot be read."""
        return ValueError(f"cannot read {str(self.path)!r} as a table: {reason_of(error)}")

    def columns(self) -> list[str]:
        """Read the names of all columns; a repeated name gets ".1", ".2" as in pandas.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is empty, not a table, or has not as many columns as names.
        """
        require_file(self.path)
        if self.is_parquet:
            return list(self._parquet().schema_arrow.names)
        try:
            # What is wrong in later lines is their readers' business.
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
        """Divide the file into at most `n` pieces of about equal size, in the order of its rows.

        Gzipped files cannot be divided. Rows of a comma-separated file must not span lines.
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
            if self.header:
                file.readline()
            elif file.read(3) != b"\xef\xbb\xbf":  # the byte order mark is no part of a number
                file.seek(0)
            first = file.tell()
            size = self.path.stat().st_size
            starts = []
            for edge in _edges(size - first, n)[1:-1]:
                file.seek(first + edge)
                file.readline()
                starts.append(file.tell())
        return sorted({first, *starts, size})

    def rows_before(self, piece: Piece) -> int:
        """Count the rows of the file before a piece; for messages: this reads all of them."""
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
            repeated_header: whether lines that repeat the header are no texts, but missing values.

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
            missing_texts: whether they mean a missing value in columns of text, too.

        Raises:
            ValueError: for a value that does not fit its column, or a broken file.
        """
        read = self._parquet_batches if self.is_parquet else self._csv_batches
        try:
            for batch in read(piece, types, missing, missing_texts):
                if batch.num_rows:
                    yield batch
        except pa.ArrowException as error:
            raise self._explained(error) from error
        except (EOFError, OSError) as error:
            raise self.unreadable(error) from error

    def _csv_batches(
        self,
        piece: Piece,
        types: Mapping[str, pa.DataType | None],
        missing: Sequence[str],
        missing_texts: bool,
    ) -> Iterator[pa.RecordBatch]:
        if self.is_packed:
            source = pa.input_stream(str(self.path), compression="gzip")
        else:
            source = pa.OSFile(str(self.path)).get_stream(piece.start, piece.stop - piece.start)
        with self.open_csv(source, types, missing, missing_texts) as reader:
            yield from _joined(reader)

    def open_csv(
        self,
        source: pa.NativeFile,
        types: Mapping[str, pa.DataType | None],
        missing: Sequence[str] = (),
        missing_texts: bool = False,
        on_ragged: Callable[[pa.csv.InvalidRow], str] | None = None,
        long_rows: bool = False,
    ) -> pa.csv.CSVStreamingReader:
        """Read comma-separated rows from a stream that begins with the first of them.

        Args:
            source: the stream; of a packed file unpacked and with its header.
            types: as for `batches`.
            missing: as for `batches`.
            missing_texts: as for `batches`.
            on_ragged: is told of each row with another number of fields, and answers "skip" or
                "error"; by default they are errors.
            long_rows: whether quoted values may hold line breaks, which is slower.
        """
        return pa.csv.open_csv(
            source,
            read_options=pa.csv.ReadOptions(
                # Only without threads are rows numbered.
                use_threads=on_ragged is None,
                block_size=BLOCK_BYTES,
                column_names=self.columns(),
                skip_rows=int(self.is_packed and self.header),
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=long_rows,
                invalid_row_handler=on_ragged,
            ),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(types),
                column_types={name: kind for name, kind in types.items() if kind is not None},
                null_values=[*MISSING, *missing],
                strings_can_be_null=missing_texts,
            ),
        )

    @contextlib.contextmanager
    def open_stream(self) -> Iterator[tuple[pa.NativeFile, Callable[[], int]]]:
        """Open a comma-separated file for `open_csv`.

        Yields:
            The stream, and a function that says how many bytes of the file have been read.
        """
        with self.path.open("rb") as raw:
            if not self.is_packed:
                raw.seek(self._line_starts(1)[0])
            stream = pa.PythonFile(raw, mode="r")
            yield pa.CompressedInputStream(stream, "gzip") if self.is_packed else stream, raw.tell

    def _parquet_batches(
        self,
        piece: Piece,
        types: Mapping[str, pa.DataType | None],
        missing: Sequence[str],
        missing_texts: bool,
    ) -> Iterator[pa.RecordBatch]:
        groups = list(range(piece.start, piece.stop))
        for batch in self._parquet().iter_batches(
            _BATCH_ROWS, row_groups=groups, columns=list(types)
        ):
            columns = {
                name: batch.column(name) if kind is None else batch.column(name).cast(kind)
                for name, kind in types.items()
            }
            yield pa.RecordBatch.from_pydict(columns)

    def _explained(self, error: pa.ArrowException) -> ValueError:
        """Say in which column and row the value is that Arrow stumbled over."""
        found = re.search(r"CSV column #(\d+): .*?invalid value '(.*)'", str(error), re.DOTALL)
        if found is None:
            return self.unreadable(error)
        column, value = int(found[1]), found[2]
        name = self.columns()[column]
        row = self._row_of(column, value)
        return ValueError(
            f"{str(self.path)!r}, row {row}: {quoted(value)} in numeric column {name}"
        )

    def _row_of(self, column: int, value: str) -> str:
        with self._open_text() as file:
            rows = csv.reader(file, delimiter=self._delimiter)
            for row, fields in enumerate(rows, start=-1 if self.header else 0):
                if row >= 0 and column < len(fields) and fields[column] == value:
                    return f"{row}"
        return "unknown"


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small batches to greater ones."""
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
    """Return the type for the whole column: the first rows' integers may be followed by floats."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return pa.float64() if numeric or pa.types.is_null(kind) else kind
