"""The one reader of table files: batches of columns as Arrow arrays, in bounded memory."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from r2ad2.support.messages import quoted
from r2ad2.tables.container import DAMAGED, Container, open_container, unreadable
from r2ad2.tables.json_lines import JsonLines
from r2ad2.tables.parts import cast_part, common_types
from r2ad2.tables.text import UNDECODABLE, TextFile
from r2ad2.tables.types import REPEATED_HEADER, Batch, Reject
from r2ad2.tables.values import MISSING, cast_all

CHUNK_ROWS = 20_000
# Small blocks keep memory low.
BLOCK_BYTES = 1 << 20
# What pandas calls a column that was the index of a table.
_INDEX_NAME = re.compile(r"Unnamed: \d+|__index_level_\d+__")


@dataclass
class _RaggedRows:
    """Rows with too few or too many fields, which Arrow reports as it reads ahead.

    Attributes:
        skip: whether Arrow leaves them out; otherwise it stops at the first one.
        found: those that have not been taken yet, in the file's order.
    """

    skip: bool
    found: list[Reject] = field(default_factory=list)
    _next_number: int = 0

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        """Note a row; Arrow counts from 1."""
        reason = f"{row.actual_columns} fields instead of {row.expected_columns}"
        content = row.text.replace(UNDECODABLE, "\ufffd")
        self.found.append(Reject(row.number - 1, None, reason, content))
        return "skip" if self.skip else "error"

    def number_others(self, n: int) -> np.ndarray:
        """Return the numbers (n,) of the next n other rows: those that no ragged row has."""
        first = self._next_number
        candidates = np.arange(first, first + n + len(self.found))
        numbers = np.setdiff1d(candidates, [reject.row for reject in self.found])[:n]
        self._next_number = int(numbers[-1]) + 1
        return numbers

    def take(self, until: float = np.inf) -> list[Reject]:
        """Hand over, once, the ragged rows with numbers below `until`."""
        taken = [reject for reject in self.found if reject.row < until]
        self.found = self.found[len(taken) :]
        return taken


@dataclass(frozen=True)
class TableReader:
    """Reads a table file of any size in the order of its rows.

    It reads comma-separated and similar text, lines of JSON, Parquet (also a folder of parts) and
    Feather, each also compressed. The file's first bytes say which of them it is.

    Attributes:
        path: the file.
        separator: the character between values; by default found in the file.
        encoding: encoding of the text; by default UTF-8, or as the byte order mark says.
        header: whether the first line of a text file names the columns.
    """

    path: Path
    separator: str = ""
    encoding: str = ""
    header: bool = True

    @functools.cached_property
    def container(self) -> Container:
        """What the file is."""
        return open_container(Path(self.path))

    @functools.cached_property
    def text(self) -> TextFile:
        """The file as text."""
        return TextFile(self.container, self.separator, self.encoding, self.header)

    @property
    def is_text(self) -> bool:
        """Whether this is a text file whose columns are separated by a character."""
        return self.container.format == "text"

    @functools.cached_property
    def columns(self) -> list[str]:
        """Names of all columns.

        Raises:
            ValueError: if the file is empty, or cannot be read.
        """
        if self.is_text:
            return self.text.columns
        if self.container.format == "jsonl":
            return JsonLines(self.text).columns()
        return list(self.types)

    def index_columns(self, wanted: Collection[str] = ()) -> list[str]:
        """Return the columns that pandas wrote because they were a table's index.

        Args:
            wanted: columns that the caller knows, which are not among them.

        Raises:
            ValueError: if another column of a text file has no name.
        """
        found = [
            name for name in self.columns if _INDEX_NAME.fullmatch(name) and name not in wanted
        ]
        for name in found if self.is_text else ():
            position = self.columns.index(name)
            is_unnamed = name.startswith("Unnamed")
            if is_unnamed and not (position == 0 and self.text.begins_with_row_numbers):
                raise ValueError(
                    f"{str(self.path)!r}: column {position + 1} has no name and is not the row "
                    "numbers that pandas writes, which are whole numbers in the first column: "
                    f"name it in the header, or leave it out (--drop {name!r})"
                )
        return found

    @functools.cached_property
    def types(self) -> dict[str, pa.DataType]:
        """Types of the columns of a Parquet or Feather file; empty for text.

        Raises:
            ValueError: if parts of a folder differ in their columns or types.
        """
        if self.container.format in ("text", "jsonl"):
            return {}
        return common_types(self.path, ((p, self._schema(p)) for p in self.container.parts()))

    @functools.cached_property
    def total(self) -> int:
        """Size of the file: bytes, or rows of a Parquet or Feather file."""
        if not self.total_is_rows:
            return self.path.stat().st_size
        n_rows = 0
        for part in self.container.parts():
            with self._opened(part) as file:
                n_rows += (
                    sum(file.get_batch(i).num_rows for i in range(file.num_record_batches))
                    if isinstance(file, pa.RecordBatchFileReader)
                    else file.metadata.num_rows
                )
        return n_rows

    def shown(self, batches: Iterator[Batch], work: str, verbose: int) -> Iterator[Batch]:
        """Yield batches of this file, and show how much of it has been read.

        Args:
            batches: the batches.
            work: what is done with them.
            verbose: 0 shows nothing; see `TrainingProgress`.
        """
        if not verbose:
            yield from batches
            return
        from r2ad2.support.progress import TrainingProgress  # needs Keras

        with TrainingProgress(verbose) as progress:
            phase = progress.steps(work, self.total, "row" if self.total_is_rows else "byte")
            for batch in batches:
                yield batch
                phase.update(min(batch.position, self.total))

    @property
    def total_is_rows(self) -> bool:
        """Whether `total` counts rows, not bytes."""
        return self.container.format in ("parquet", "feather")

    def batches(
        self,
        columns: Sequence[str],
        *,
        skip: bool = False,
        chunk_rows: int = CHUNK_ROWS,
        numbers: Collection[str] = (),
    ) -> Iterator[Batch]:
        """Read columns in batches of `chunk_rows` rows.

        Args:
            columns: names of columns of the file.
            skip: whether rows that cannot be divided into columns are left out; otherwise reading
                stops at the first one, which is the last of the rejects.
            chunk_rows: rows per batch; the last batch may be smaller.
            numbers: those of the columns to read as float64 from a text file, which is faster.
                After the last row for which Arrow can do this, they are texts like the others.

        Raises:
            ValueError: if the file cannot be read.
        """
        try:
            if self.is_text:
                yield from self._text_batches(
                    columns, skip, chunk_rows, set(numbers) & set(columns)
                )
            elif self.container.format == "jsonl":
                yield from JsonLines(self.text).batches(columns, skip=skip, n_rows=chunk_rows)
            else:
                first = 0
                for batch in _of_size(self._typed_batches(columns), chunk_rows):
                    numbers = np.arange(first, first := first + batch.num_rows)
                    yield Batch(_arrays(batch), numbers, [], first)
        except DAMAGED as error:
            raise unreadable(self.path, error) from error

    def with_lines(
        self, rejects: Iterable[Reject], lines: Iterator[tuple[int, int]]
    ) -> list[Reject]:
        """Add the line numbers to rejects, in the order of their rows.

        Args:
            rejects: of a text file; all later than those of earlier calls.
            lines: from `numbered_lines`.
        """
        numbered = []
        for reject in sorted(rejects, key=lambda reject: reject.row):
            line = next((line for row, line in lines if row == reject.row), None)
            numbered.append(reject._replace(line=line) if reject.line is None else reject)
        return numbered

    def numbered_lines(self) -> Iterator[tuple[int, int]]:
        """Yield the number of each row and its first line; nothing if this is not text."""
        return enumerate(self.text.line_numbers()) if self.is_text else iter(())

    # ---- text -----------------------------------------------------------------------------

    def _text_batches(
        self, columns: Sequence[str], skip: bool, n_rows: int, floats: Collection[str]
    ) -> Iterator[Batch]:
        n_done = 0
        # A repeated header is an error for Arrow only if it puts a text in a column of numbers.
        named = pa.array(list(floats), pa.string())
        if floats and not (self.header and cast_all(named, pa.float64()) is not None):
            types = {n: pa.float64() if n in floats else pa.string() for n in columns}
            try:
                with self.text.open_rows() as (rows, tell):
                    for batch in _of_size(self._csv(rows, types), n_rows):
                        numbers = np.arange(n_done, n_done + batch.num_rows)
                        yield Batch(_arrays(batch), numbers, [], tell())
                        n_done += batch.num_rows
                return
            except pa.ArrowInvalid:
                pass  # the texts show what is wrong, if anything
        ragged = _RaggedRows(skip)
        # All columns are read, since only all of them show whether a row repeats the header.
        texts = dict.fromkeys(self.columns, pa.string())
        try:
            with self.text.open_rows() as (rows, tell):
                for batch in _of_size(self._csv(rows, texts, ragged), n_rows):
                    numbers = ragged.number_others(batch.num_rows)
                    if numbers[0] < n_done:
                        continue
                    rejects = ragged.take(until=numbers[-1] + 1)
                    read = self._without_headers(batch, numbers, rejects, tell())
                    read.arrays = {name: read.arrays[name] for name in columns}
                    yield read
        except pa.ArrowInvalid:
            if not ragged.found or skip:
                raise
        rest = ragged.take()
        if rest:
            yield Batch({}, np.empty(0, dtype=np.int64), rest, self.total)

    def _csv(
        self, rows: Any, types: Mapping[str, pa.DataType], ragged: _RaggedRows | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Read columns as given types: no part of the file must decide about a column's type."""
        if not rows.peek(1):
            return  # Arrow raises an error for an empty stream
        with pa.csv.open_csv(
            rows,
            read_options=pa.csv.ReadOptions(
                use_threads=ragged is None,  # Arrow numbers rows only without threads
                block_size=BLOCK_BYTES,
                column_names=self.columns,
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=self.text.found_separator,
                newlines_in_values=True,
                invalid_row_handler=ragged,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=MISSING,
                strings_can_be_null=False,
                check_utf8=False,  # it was decoded before
            ),
        ) as reader:
            yield from reader

    def _without_headers(
        self, batch: pa.RecordBatch, numbers: np.ndarray, rejects: list[Reject], position: int
    ) -> Batch:
        """Set rows aside that repeat the header."""
        arrays, written = _arrays(batch), self.text.written_names
        repeats = np.full(batch.num_rows, self.header and len(written) > 1)
        for name, array in arrays.items():
            if repeats.any():
                texts = pc.utf8_trim_whitespace(array.filter(pa.array(repeats)))
                repeats[repeats] = pc.equal(texts, written[name]).to_numpy(zero_copy_only=False)
        if repeats.any():
            line = self.text.found_separator.join(written.values())
            rejects += [Reject(n, None, REPEATED_HEADER, line) for n in numbers[repeats].tolist()]
            arrays = {name: array.filter(pa.array(~repeats)) for name, array in arrays.items()}
            numbers = numbers[~repeats]
        return Batch(arrays, numbers, rejects, position)

    # ---- Parquet and Feather --------------------------------------------------------------

    @contextlib.contextmanager
    def _opened(self, part: Path) -> Iterator[Any]:
        try:
            source = self.container.open_seekable(part)
            if self.container.format == "feather":
                with pa.ipc.open_file(source) as file:
                    yield file
            else:
                with pa.parquet.ParquetFile(source) as file:
                    yield file
        except DAMAGED as error:
            raise unreadable(part, error) from error

    def _schema(self, part: Path) -> pa.Schema:
        with self._opened(part) as file:
            return file.schema if isinstance(file, pa.RecordBatchFileReader) else file.schema_arrow

    def _typed_batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        types = self.types
        for part in self.container.parts():
            with self._opened(part) as file:
                batches = (
                    (file.get_batch(i).select(columns) for i in range(file.num_record_batches))
                    if self.container.format == "feather"
                    else file.iter_batches(1 << 14, columns=list(columns))
                )
                for batch in batches:
                    if batch.num_rows:
                        arrays = [cast_part(n, batch.column(n), types[n], part) for n in columns]
                        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def index_note(names: Sequence[str]) -> str:
    """Say that index columns are left out."""
    named = ", ".join("the unnamed column" if n.startswith("Unnamed") else quoted(n) for n in names)
    return f"left out: {named} (row numbers that pandas wrote)"


def _arrays(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def _of_size(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    """Cut and join batches to `n_rows` rows each, so that chunks are the same in every run."""
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for batch in batches:
        waiting.append(batch)
        n_waiting += batch.num_rows
        while n_waiting >= n_rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, n_rows).combine_chunks().to_batches()[0]
            waiting = table.slice(n_rows).to_batches()
            n_waiting -= n_rows
    if n_waiting:
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]
