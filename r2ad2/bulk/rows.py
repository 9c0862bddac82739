"""Reads the rows of large table files for scoring, and sets malformed ones aside."""

from __future__ import annotations

import bisect
import contextlib
import csv
import functools
import io
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

Reject = tuple[int, str, str]  # number, reason, content


@dataclass
class Rows:
    """Some consecutive rows of a file.

    Attributes:
        table: features and id columns of the well-formed rows; the index holds their numbers in the
            file, from 0.
        rejects: number, reason and content (comma-separated) of each malformed row.
        position: how much of the file has been read, of `RowReader.total`.
    """

    table: pd.DataFrame
    rejects: list[Reject]
    position: int


@dataclass
class _Ragged:
    """Rows with another number of fields than the file has columns, as Arrow meets them."""

    n_before: int  # lines that Arrow counts before the first row
    numbers: list[int] = field(default_factory=list)
    found: list[Reject] = field(default_factory=list)
    n_taken: int = 0

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        number = row.number - 1 - self.n_before
        reason = f"{row.actual_columns} fields instead of {row.expected_columns}"
        self.numbers.append(number)
        self.found.append((number, reason, row.text))
        return "skip"

    def numbers_of(self, first: int, n: int) -> np.ndarray:
        """Find the numbers in the file of n well-formed rows, the first one being `first`-th."""
        ordinals = np.arange(first, first + n)
        # In front of a well-formed row are those ragged ones with at most so many well-formed ones.
        well_formed_before = np.array(self.numbers) - np.arange(len(self.numbers))
        return ordinals + np.searchsorted(well_formed_before, ordinals, side="right")

    def take_before(self, number: float) -> list[Reject]:
        """Hand on those in front of a row, each once."""
        end = bisect.bisect_left(self.numbers, number)
        taken, self.n_taken = self.found[self.n_taken : end], end
        return taken


@dataclass(frozen=True)
class RowReader:
    """Reads a table file of any size in the order of its rows.

    Attributes:
        path: CSV or Parquet file, plain or gzipped.
        encoder: of the detector that shall score the rows.
        source: how the training table was read.
        ids: columns to read besides.
        skip: whether to set malformed rows aside; otherwise they are an error.
    """

    path: Path
    encoder: TableEncoder
    source: TableSource
    ids: tuple[str, ...] = ()
    skip: bool = False

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
        """Check that the file has the columns it must have, and no unknown ones.

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
            "unexpected": " (copy such columns by --id)",
        }
        for kind, names in wrong.items():
            if names:
                more = ", ..." if len(names) > 5 else ""
                raise ValueError(
                    f"{str(self.path)!r}: columns differ from those of training: {kind} column "
                    f"{', '.join(map(quoted, names[:5]))}{more}{hints[kind]}"
                )

    def __iter__(self) -> Iterator[Rows]:
        """Yield chunks of at most `CHUNK_ROWS` rows.

        Raises:
            ValueError: if the file cannot be read, has no rows, or a row is malformed.
        """
        self.check()
        # Arrow counts the header of a packed file as a line.
        ragged = _Ragged(int(self._file.is_packed and self.source.header))
        n_read = 0
        for batch, position in self._batches(ragged):
            numbers = ragged.numbers_of(n_read, batch.num_rows)
            n_read += batch.num_rows
            table, faults = self._decoded(batch)
            table.index = pd.Index(numbers)
            numeric = self._with_numeric_booleans(table)
            good, rejects = _divided(table, numeric, faults | self.encoder.faults(numeric))
            if rejects and not self.skip:
                number, reason, content = rejects[0]
                raise ValueError(
                    f"{str(self.path)!r}, row {number:,}: {shortened(reason)}: {content[:200]} "
                    "(set such rows aside with --on-error skip)"
                )
            rejects += ragged.take_before(numbers[-1] + 1)
            yield Rows(good, sorted(rejects), position)
        rest = ragged.take_before(np.inf)
        if rest:
            yield Rows(pd.DataFrame(columns=self._columns), rest, self.total)
        if not n_read and not ragged.found:
            raise ValueError(f"{str(self.path)!r} holds no rows")

    def _batches(self, ragged: _Ragged) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Read batches of at most `CHUNK_ROWS` rows, with the position behind each."""
        file = self._file
        if file.is_parquet:
            pieces = file.pieces()
            types = dict.fromkeys(self._columns)
            batches = file.batches(pieces[0], types) if pieces else iter(())
            position = itertools.accumulate(CHUNK_ROWS for _ in itertools.count())
            yield from zip(_of_size(batches), position, strict=False)
            return
        # Everything is read as bytes: a single odd value must not decide on its column.
        types = dict.fromkeys(self._columns, pa.binary())
        try:
            with file.open_stream() as (stream, tell), _without_tracebacks():
                reader = file.open_csv(
                    stream,
                    types,
                    missing_texts=True,
                    on_ragged=ragged if self.skip else None,
                    long_rows=True,
                )
                for batch in _of_size(reader):
                    yield batch, tell()
        except (pa.ArrowException, EOFError, OSError) as error:
            if "Empty CSV file" not in str(error):  # that is, a header only
                raise file.unreadable(error) from error

    def _decoded(self, batch: pa.RecordBatch) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """Turn bytes to texts; find rows that are no UTF-8."""
        if self._file.is_parquet:
            # So that types do not depend on what is missing in a chunk.
            return batch.to_pandas(types_mapper=pd.ArrowDtype), {}
        columns, faults = {}, {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                texts = column.cast(pa.string())
            except pa.ArrowInvalid:
                values = [v and v.decode("utf-8", "replace") for v in column.to_pylist()]
                texts = pa.array(values, pa.string())
                bad = pc.not_equal(texts.cast(pa.binary()), column).fill_null(False)
                faults[_NOT_UTF8.format(name)] = bad.to_numpy(zero_copy_only=False)
            columns[name] = texts.to_pandas()
        return pd.DataFrame(columns), faults

    def _with_numeric_booleans(self, table: pd.DataFrame) -> pd.DataFrame:
        """Replace "True" and "False" in texts by 1 and 0, where the training had truth values."""
        if self._file.is_parquet:
            return table
        named = [name for name in self._columns if self.encoder.types.get(name) == "bool"]
        return table.assign(
            **{n: table[n].str.lower().map(_BOOLEANS).fillna(table[n]) for n in named}
        )


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Hide what Arrow prints about a ragged row that is not UTF-8.

    It cannot hand on such a row, but prints why, and then raises an error of its own as well.
    """
    usual = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not isinstance(unraisable.object, _Ragged):
            usual(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual


def _of_size(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut and join batches to `CHUNK_ROWS` rows each, so that chunks are the same in every run."""
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for batch in batches:
        waiting.append(batch)
        n_waiting += batch.num_rows
        while n_waiting >= CHUNK_ROWS:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, CHUNK_ROWS).combine_chunks().to_batches()[0]
            waiting = table.slice(CHUNK_ROWS).to_batches()
            n_waiting -= CHUNK_ROWS
    if n_waiting:
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]


def _divided(
    original: pd.DataFrame, table: pd.DataFrame, faults: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, list[Reject]]:
    """Divide rows into well-formed and malformed ones, these with all reasons and as they were."""
    if not faults:
        return table, []
    is_bad = np.logical_or.reduce(list(faults.values()))
    rejects = [
        (
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
