"""Reads the rows of large table files for a detector, and sets malformed ones aside."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from r2ad2.bulk.training_table import table_encoder, training_source
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.messages import did_you_mean, quoted, suggestion
from r2ad2.tables.reader import CHUNK_ROWS, TableReader, index_note
from r2ad2.tables.schema import malformed_error
from r2ad2.tables.source import TableSource
from r2ad2.tables.text import UNDECODABLE
from r2ad2.tables.types import Batch, Reject
from r2ad2.tables.values import MISSING, ColumnType, as_texts, convert, undecodable

_KINDS = {"number": "number", "text": "category", "timestamp": "date"}


@dataclass
class CheckedRows:
    """Consecutive rows of a file, divided into well-formed and malformed ones.

    Attributes:
        table: features of the well-formed rows; the index holds their numbers in the file, from 0.
        extra: further columns of the well-formed rows, as they are in the file.
        rejects: the malformed rows.
        position: how much of the file has been read, out of `RowReader.total`.
    """

    table: pd.DataFrame
    extra: dict[str, pa.Array]
    rejects: list[Reject]
    position: int


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of a table file of any size, in their order.

    Attributes:
        reader: the file.
        columns: types of the features, in the order of training.
        source: how the training table was read.
        missing: "error" if missing values make a row malformed, or "indicator".
        extra: further columns to read.
        skip: whether to set malformed rows aside; otherwise they are an error.
        chunk_rows: rows to read at a time.
        work: what is done with the rows, for the display of progress.
        verbose: 1 shows progress.
    """

    reader: TableReader
    columns: Mapping[str, ColumnType]
    source: TableSource
    missing: str = "error"
    extra: tuple[str, ...] = ()
    skip: bool = False
    chunk_rows: int = CHUNK_ROWS
    work: str = "reading"
    verbose: int = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self.reader.path

    @property
    def total(self) -> int:
        """Size of the file: bytes, or rows of a Parquet or Feather file."""
        return self.reader.total

    @property
    def extra_types(self) -> dict[str, pd.ArrowDtype]:
        """Types of the extra columns: text, or those of a Parquet or Feather file."""
        types = {name: self.reader.types.get(name, pa.string()) for name in self.extra}
        return {
            name: pd.ArrowDtype(t.value_type if pa.types.is_dictionary(t) else t)
            for name, t in types.items()
        }

    def copied(self, rows: CheckedRows) -> pd.DataFrame:
        """Return the extra columns of rows, as they are in the file."""
        types = self.extra_types if rows.extra else {}
        values = {name: pd.array(rows.extra[name], dtype=kind) for name, kind in types.items()}
        return pd.DataFrame(values, index=rows.table.index)

    @property
    def notes(self) -> list[str]:
        """Lines that say which columns are left out without being asked for."""
        known = (*self.columns, *self.extra, self.source.label, *self.source.drop)
        names = self.reader.index_columns(known)
        return [index_note(names)] if names else []

    def check(self) -> None:
        """Check that the file has all columns it needs, and no unknown ones.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a column is missing, unexpected or without a name; the message says
                which.
        """
        present = self.reader.columns
        known = {*self.columns, *self.extra, self.source.label, *self.source.drop}
        absent = [name for name in self.extra if name not in present]
        if absent:
            kind = "label" if absent[0] == self.source.label else "id"
            raise ValueError(
                f"{str(self.path)!r}: there is no {kind} column {absent[0]!r}"
                f"{did_you_mean(absent[0], present)}"
            )
        others = set(self.reader.index_columns(known))
        missing = [name for name in self.columns if name not in present]
        unexpected = [name for name in present if name not in known | others]
        for kind, names, hint in (
            ("missing", missing, suggestion(missing, unexpected, present)),
            ("unexpected", unexpected, " (copy such columns with --id, or leave them out: --drop)"),
        ):
            if names:
                more = ", ..." if len(names) > 5 else ""
                raise ValueError(
                    f"{str(self.path)!r}: columns differ from those of training: {kind} column "
                    f"{', '.join(map(quoted, names[:5]))}{more}{hint}"
                )

    def require_rows(self, n_rows: int) -> None:
        """Check that some of the rows that were read are well-formed.

        Args:
            n_rows: their number.

        Raises:
            ValueError: if all were set aside.
        """
        if not n_rows:
            raise ValueError(f"{str(self.path)!r} holds no well-formed rows")

    def __iter__(self) -> Iterator[CheckedRows]:
        """Yield chunks of up to `chunk_rows` rows.

        Raises:
            ValueError: if the file cannot be read, has no rows, or a row is malformed.
        """
        self.check()
        wanted = [n for n in self.reader.columns if n in self.columns or n in self.extra]
        lines, n_read = self.reader.numbered_lines(), 0
        batches = self.reader.batches(wanted, skip=self.skip, chunk_rows=self.chunk_rows)
        for batch in self.reader.shown(batches, self.work, self.verbose):
            n_read += len(batch.numbers) + len(batch.rejects)
            rows = self._checked(batch)
            if rows.rejects and not self.skip:
                raise malformed_error(self.reader, min(rows.rejects, key=lambda reject: reject.row))
            rows.rejects = self.reader.with_lines(rows.rejects, lines)
            yield rows
        if not n_read:
            raise ValueError(f"{str(self.path)!r} holds no rows")

    def _checked(self, batch: Batch) -> CheckedRows:
        """Convert the columns, and divide the rows into well-formed and malformed ones."""
        if not batch.arrays:
            return CheckedRows(
                pd.DataFrame(columns=list(self.columns)), {}, batch.rejects, batch.position
            )
        columns: dict[str, pd.Series] = {}
        faults: dict[str, np.ndarray] = {}
        missing = MISSING if self.reader.is_text else ()
        decimal = self.source.decimal or "."
        for name, column in self.columns.items():
            values, found = convert(name, batch.arrays[name], column, decimal, missing)
            columns[name] = values
            faults |= found
            if self.missing == "error":
                absent = values.isna().to_numpy(dtype=bool)
                for bad in found.values():
                    absent = absent & ~bad
                faults[f"missing value in column {name!r}"] = absent
        for name in self.extra:
            faults |= undecodable(name, as_texts(batch.arrays[name]))
        table = pd.DataFrame(columns, copy=False).set_axis(pd.Index(batch.numbers), axis=0)
        faults = {reason: bad for reason, bad in faults.items() if bad.any()}
        extra = {name: batch.arrays[name] for name in self.extra}
        if not faults:
            return CheckedRows(table, extra, batch.rejects, batch.position)
        is_bad = np.logical_or.reduce(list(faults.values()))
        rejects = [
            Reject(
                int(batch.numbers[i]),
                None,
                "; ".join(reason for reason, rows in faults.items() if rows[i]),
                _as_line([array[i].as_py() for array in batch.arrays.values()]),
            )
            for i in np.flatnonzero(is_bad).tolist()
        ]
        kept = pa.array(~is_bad)
        extra = {name: array.filter(kept) for name, array in extra.items()}
        return CheckedRows(table[~is_bad], extra, batch.rejects + rejects, batch.position)


def _as_line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        ["" if value is None else str(value).replace(UNDECODABLE, "\ufffd") for value in values]
    )
    return text.getvalue()


def table_reader(path: str | Path, source: TableSource) -> TableReader:
    """Return the reader of a file that is read as a source says."""
    return TableReader(Path(path), source.separator, source.encoding, source.header)


def column_types(encoder: TableEncoder, source: TableSource) -> dict[str, ColumnType]:
    """Return how the columns of a detector are read.

    Args:
        encoder: knows the kind of each column.
        source: may know more: which numbers are booleans, and formats of dates.

    Raises:
        ValueError: if the source names a column with another kind.
    """
    types = {}
    for name in encoder.columns:
        kind = _KINDS[encoder.kinds[name]]
        given = source.types.get(name, kind)
        if given != kind and {given, kind} != {"number", "boolean"}:
            raise ValueError(
                f"column {quoted(name)} is a {kind} column in the model, not {given}: train the "
                "model with this option"
            )
        if encoder.types.get(name) == "bool":
            given = "boolean"
        types[name] = ColumnType(given, source.formats.get(name, "iso"))
    return types


def row_reader(
    detector: AnomalyDetector,
    path: str | Path,
    source: TableSource | None = None,
    *,
    extra: Sequence[str] = (),
    skip: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    work: str = "reading",
    verbose: int = 0,
) -> RowReader:
    """Return the reader of a file's rows for a detector that was trained on a table.

    Args:
        detector: the detector.
        path: the file.
        source: how the training table was read; by default as the detector noted it.
        extra: further columns to read.
        skip: whether to set malformed rows aside; otherwise they are an error.
        chunk_rows: rows to read at a time.
        work: what is done with the rows, for the display of progress.
        verbose: 1 shows progress.

    Raises:
        ValueError: if the detector was trained on arrays, or the source contradicts it.
    """
    encoder, source = table_encoder(detector), source or training_source(detector)
    return RowReader(
        table_reader(path, source),
        column_types(encoder, source),
        source,
        encoder.missing,
        tuple(extra),
        skip,
        chunk_rows,
        work,
        verbose,
    )
