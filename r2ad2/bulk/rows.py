"""Reads the rows of large table files for scoring, and sets malformed ones aside."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.messages import quoted, shortened, suggestion
from r2ad2.tables.file import TableFile
from r2ad2.tables.source import TableSource

CHUNK_ROWS = 20_000
_BOOLEANS = {"true": "1", "false": "0"}
_NOT_UTF8 = "text that is not UTF-8 in column {!r}"
# Every byte is a character of this encoding, so that Arrow can read and hand over any row. The
# texts are decoded afterwards.
_BYTEWISE = "latin-1"


class Reject(NamedTuple):
    """A malformed row.

    Attributes:
        row: its number in the file, from 0.
        reason: what is wrong with it.
        content: its values, comma-separated, or the line as it is in the file.
    """

    row: int
    reason: str
    content: str


@dataclass
class CheckedRows:
    """Consecutive rows of a file, divided into well-formed and malformed ones.

    Attributes:
        table: features and id columns of the well-formed rows; the index holds their numbers in the
            file, from 0.
        rejects: the malformed rows.
        position: how much of the file has been read, out of `RowReader.total`.
    """

    table: pd.DataFrame
    rejects: list[Reject]
    position: int


@dataclass
class _RaggedRows:
    """Rows with too few or too many fields, which Arrow reports as it reads ahead.

    Attributes:
        skip: whether Arrow leaves them out; otherwise it stops at the first one.
        found: those that have not been taken yet, in the file's order.
        n_found: number of all of them.
    """

    skip: bool
    found: list[Reject] = field(default_factory=list)
    n_found: int = 0
    _next_number: int = 0

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        """Note a row; Arrow counts from 1."""
        reason = f"{row.actual_columns} fields instead of {row.expected_columns}"
        content = row.text.encode(_BYTEWISE).decode("utf-8", "replace")
        self.found.append(Reject(row.number - 1, reason, content))
        self.n_found += 1
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
class RowReader:
    """Reads a table file of any size in the order of its rows.

    Attributes:
        path: CSV or Parquet file, plain or gzipped.
        encoder: that of the detector that will score the rows.
        source: how the training table was read.
        ids: further columns to read.
        skip: whether to set malformed rows aside; otherwise they are an error.
        chunk_rows: rows to read at a time.
    """

    path: Path
    encoder: TableEncoder
    source: TableSource
    ids: tuple[str, ...] = ()
    skip: bool = False
    chunk_rows: int = CHUNK_ROWS

    @property
    def _file(self) -> TableFile:
        return TableFile(self.path, header=self.source.header)

    @functools.cached_property
    def _columns(self) -> list[str]:
        """The columns in use, in the file's order."""
        wanted = {*self.encoder.columns, *self.ids}
        return [name for name in self._file.columns() if name in wanted]

    @property
    def total(self) -> int:
        """Size of the file: bytes, or rows of a Parquet file."""
        if self._file.is_parquet:
            return self._file.n_rows
        return self.path.stat().st_size

    @property
    def total_is_rows(self) -> bool:
        """Whether `total` counts rows, not bytes."""
        return self._file.is_parquet

    @property
    def id_types(self) -> dict[str, pd.ArrowDtype]:
        """Types of the id columns: text, or those of a Parquet file."""
        kinds = self._file.schema() if self._file.is_parquet else {}
        return {name: pd.ArrowDtype(kinds.get(name, pa.string())) for name in self.ids}

    def check(self) -> None:
        """Check that the file has all columns it needs, and no unknown ones.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a column is missing, or one is unexpected; the message names it.
        """
        present = self._file.columns()
        known = {*self._columns, self.source.label, *self.source.drop}
        wrong = {
            "missing": [n for n in (*self.encoder.columns, *self.ids) if n not in present],
            "unexpected": [name for name in present if name not in known],
        }
        hints = {
            "missing": suggestion(wrong["missing"], wrong["unexpected"], present),
            "unexpected": " (copy such columns with --id)",
        }
        for kind, names in wrong.items():
            if names:
                more = ", ..." if len(names) > 5 else ""
                raise ValueError(
                    f"{str(self.path)!r}: columns differ from those of training: {kind} column "
                    f"{', '.join(map(quoted, names[:5]))}{more}{hints[kind]}"
                )

    def __iter__(self) -> Iterator[CheckedRows]:
        """Yield chunks of up to `chunk_rows` rows.

        Raises:
            ValueError: if the file cannot be read, has no rows, or a row is malformed.
        """
        self.check()
        ragged = _RaggedRows(self.skip)
        n_read = 0
        for batch, position in self._batches(ragged):
            n_read += batch.num_rows
            table, faults = self._decoded(batch)
            table.index = pd.Index(ragged.number_others(batch.num_rows))
            numeric = self._with_numeric_booleans(table)
            good, rejects = _divided(table, numeric, faults | self.encoder.faults(numeric))
            rejects += ragged.take(until=table.index[-1] + 1)
            yield CheckedRows(good, self._tolerated(rejects), position)
        rest = self._tolerated(ragged.take())
        if rest:
            yield CheckedRows(pd.DataFrame(columns=self._columns), rest, self.total)
        if not n_read and not ragged.n_found:
            raise ValueError(f"{str(self.path)!r} holds no rows")

    def _tolerated(self, rejects: list[Reject]) -> list[Reject]:
        """Sort malformed rows; they are an error unless they are skipped."""
        rejects = sorted(rejects)
        if rejects and not self.skip:
            row, reason, content = rejects[0]
            raise ValueError(
                f"{str(self.path)!r}, row {row:,}: {shortened(reason)}: {content[:200]} "
                "(set such rows aside with --on-error skip)"
            )
        return rejects

    def _batches(self, ragged: _RaggedRows) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Read batches of up to `chunk_rows` rows, with the position after each."""
        file = self._file
        if file.is_parquet:
            pieces = file.pieces()
            types = dict.fromkeys(self._columns)
            batches = file.batches(pieces[0], types) if pieces else iter(())
            positions = itertools.count(self.chunk_rows, self.chunk_rows)
            yield from zip(_of_size(batches, self.chunk_rows), positions, strict=False)
            return
        # All columns are read as text: a single odd value must not decide a column's type.
        types = dict.fromkeys(self._columns, pa.string())
        try:
            with file.open_rows() as (rows, tell):
                batches = file.csv_batches(
                    rows,
                    types,
                    missing_texts=True,
                    on_ragged=ragged,
                    long_rows=True,
                    encoding=_BYTEWISE,
                )
                for batch in _of_size(batches, self.chunk_rows):
                    yield batch, tell()
        except (pa.ArrowException, EOFError, OSError, zlib.error) as error:
            if ragged.found and not self.skip:
                return  # Arrow stopped at a ragged row, which becomes the error
            raise file.unreadable(error) from error

    def _decoded(self, batch: pa.RecordBatch) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """Return the rows as a DataFrame, and which of them are not UTF-8."""
        if self._file.is_parquet:
            # Arrow types do not depend on whether values are missing in this chunk.
            return batch.to_pandas(types_mapper=pd.ArrowDtype), {}
        columns, faults = {}, {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            texts = column
            if pc.any(pc.invert(pc.string_is_ascii(column))).as_py():
                texts, faults[_NOT_UTF8.format(name)] = _as_utf8(column)
            columns[name] = texts.to_pandas()
        return pd.DataFrame(columns), faults

    def _with_numeric_booleans(self, table: pd.DataFrame) -> pd.DataFrame:
        """Replace the texts "True" and "False" by 1 and 0 where the training column was boolean."""
        if self._file.is_parquet:
            return table
        named = [name for name in self._columns if self.encoder.types.get(name) == "bool"]
        return table.assign(
            **{n: table[n].str.lower().map(_BOOLEANS).fillna(table[n]) for n in named}
        )


def _as_utf8(column: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """Decode texts that were read byte by byte; also return which are not UTF-8 (n,)."""
    originals = [text and text.encode(_BYTEWISE) for text in column.to_pylist()]
    texts = [original and original.decode("utf-8", "replace") for original in originals]
    is_bad = [
        text is not None and text.encode() != original
        for text, original in zip(texts, originals, strict=True)
    ]
    return pa.array(texts, pa.string()), np.array(is_bad)


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


def _divided(
    original: pd.DataFrame, table: pd.DataFrame, faults: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, list[Reject]]:
    """Divide rows into well-formed and malformed ones, these as they were and with all reasons."""
    if not faults:
        return table, []
    is_bad = np.logical_or.reduce(list(faults.values()))
    rejects = [
        Reject(
            int(table.index[i]),
            "; ".join(reason for reason, rows in faults.items() if rows[i]),
            _as_line(original.iloc[i].where(original.iloc[i].notna(), "").tolist()),
        )
        for i in np.flatnonzero(is_bad).tolist()
    ]
    return table[~is_bad], rejects


def _as_line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
