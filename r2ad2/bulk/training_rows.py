"""Reads the rows of a table file that a detector is trained on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd

from r2ad2.artefact.calibration import required_samples
from r2ad2.bulk.rejects import RejectsFile
from r2ad2.bulk.rows import RowReader, table_reader
from r2ad2.bulk.sample import TrainingSample
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.support.messages import count, did_you_mean, quoted
from r2ad2.tables.reader import TableReader, index_note
from r2ad2.tables.schema import Schema, Told, read_schema
from r2ad2.tables.source import LabelReader, TableSource
from r2ad2.tables.values import ColumnType


@dataclasses.dataclass(frozen=True)
class TrainingRows:
    """Rows of a table file, in the types that an encoder learns from.

    Attributes:
        X: the rows.
        labels: (n,) 1 = known anomaly; all 0 without a label column.
        schema: types of the columns.
        source: how the file was read, with all that was found out.
        notes: lines that say what was found out about the file.
        n_seen: normal rows of the file, of which X may be a sample.
    """

    X: pd.DataFrame
    labels: np.ndarray
    schema: Schema
    source: TableSource
    notes: list[str]
    n_seen: int

    @property
    def n_known(self) -> int:
        """Number of known anomalies."""
        return int(self.labels.sum())

    @property
    def n_normal(self) -> int:
        """Number of normal rows."""
        return len(self.labels) - self.n_known


def read_training_rows(
    table: Path,
    source: TableSource,
    *,
    missing: str = "error",
    skip: bool = False,
    rejects: RejectsFile | None = None,
    max_normal: int | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> TrainingRows:
    """Decide the types of the columns over the whole file, then read rows.

    Args:
        table: the file; see `TableReader` for what can be read.
        source: how to read the table; with an empty label, no anomaly is known.
        missing: whether missing values are allowed ("indicator") or an "error".
        skip: whether malformed rows are set aside.
        rejects: takes them.
        max_normal: number of normal rows to draw at random; None means all.
        seed: seed of the draw.
        verbose: 1 shows progress.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that cannot be read or encoded, a column that is not there or whose
            type is not clear, or labels that are not clear.
    """
    reader = table_reader(table, source)
    told = _told(source)
    _require_columns(reader, *source.drop, *told.types)
    if source.label:
        source.column(pd.DataFrame(columns=reader.columns))  # an error if there is no such column
    left_out = reader.index_columns((*told.types, source.label, *source.drop))
    others = {source.label, *source.drop, *left_out}
    names = [name for name in reader.columns if name not in others]
    if not names:
        raise ValueError(f"{str(table)!r} has no columns besides those that are left out")
    schema = read_schema(reader, names, told, skip=skip, verbose=verbose)
    if missing == "error" and not skip:
        _require_complete(reader, schema)
    source = dataclasses.replace(
        source,
        decimal=schema.decimal,
        types={name: column.kind for name, column in schema.columns.items()},
        formats={n: c.format for n, c in schema.columns.items() if c.kind == "date"},
        timestamps=(),
    )
    label = (source.label,) if source.label else ()
    rows = RowReader(reader, schema.columns, source, missing, label, skip, verbose=verbose)
    sample, label_reader = TrainingSample(max_normal, seed), LabelReader(source)
    _read_into(sample, label_reader, rows, rejects or RejectsFile(None))
    X, labels = sample.rows()
    left_out_note = [index_note(left_out)] if left_out else []
    notes = [*left_out_note, *schema.notes, *label_reader.notes]
    X = _in_training_types(X, schema.columns)
    return TrainingRows(X, labels, schema, source, notes, sample.n_normal)


def rows_for(
    detector: AnomalyDetector,
    table: Path,
    source: TableSource,
    *,
    skip: bool = False,
    rejects: RejectsFile | None = None,
    verbose: int = 0,
) -> TrainingRows:
    """Read the rows that a detector is trained on, the same in every call.

    If the detector has a parameter `max_samples`, these are all known anomalies and a random sample
    of the normal rows, drawn with its random state.

    Args:
        detector: the detector, trained or not.
        table: the file.
        source: how to read the table.
        skip: whether malformed rows are set aside.
        rejects: takes them.
        verbose: 1 shows progress.

    Raises:
        FileNotFoundError: as `read_training_rows`.
        ValueError: as `read_training_rows`.
    """
    seed = detector.random_state
    return read_training_rows(
        table,
        source,
        missing=detector.missing,
        skip=skip,
        rejects=rejects,
        max_normal=_max_normal(detector),
        seed=int(seed) if isinstance(seed, Integral) else 0,
        verbose=verbose,
    )


def _max_normal(detector: AnomalyDetector) -> int | None:
    """Return how many normal rows to draw: as many as are trained on, and those held back."""
    limit = getattr(detector, "max_samples", None)
    if limit is None:
        return None
    fraction, rate = detector.calibration_fraction, detector.false_positive_rate
    enough = limit / (1 - fraction)
    if rate is not None and fraction:
        enough = max(enough, required_samples(rate) / fraction)
    return math.floor(enough)


def _told(source: TableSource) -> Told:
    dates = dict.fromkeys((*source.timestamps, *source.formats), "date")
    return Told({**dates, **source.types}, source.formats, source.decimal)


def _require_columns(reader: TableReader, *names: str) -> None:
    for name in names:
        if name not in reader.columns:
            parts = name.split(",")
            hint = ": name each column with an option of its own"
            if len(parts) == 1 or any(part not in reader.columns for part in parts):
                hint = did_you_mean(name, reader.columns)
            raise ValueError(f"there is no column {name!r} in {str(reader.path)!r}{hint}")


def _require_complete(reader: TableReader, schema: Schema) -> None:
    """Check that no value is missing."""
    incomplete = {}
    for name, profile in schema.profiles.items():
        is_text = schema.columns[name].kind == "category"
        n = profile.n("missing") + (0 if is_text else profile.n("blank"))
        if n:
            incomplete[name] = n
    if incomplete:
        named = ", ".join(f"{quoted(n)} ({count(k, 'row')})" for n, k in [*incomplete.items()][:5])
        raise ValueError(
            f"{str(reader.path)!r}: Input X contains NaN: missing values in column {named}"
            f"{', ...' if len(incomplete) > 5 else ''}; fill or drop them first, train with "
            'missing="indicator" (r2ad2 fit: --set missing=indicator), or set such rows aside '
            "(--on-error skip)"
        )


def _read_into(
    sample: TrainingSample, labels: LabelReader, rows: RowReader, rejects: RejectsFile
) -> None:
    """Read the rows and draw those to train on."""
    for chunk in rows:
        rejects.add(chunk.rejects)
        n = len(chunk.table)
        if n and rows.source.label:
            sample.add(chunk.table, labels.read(chunk.extra[rows.source.label]))
        elif n:
            sample.add(chunk.table, np.zeros(n, dtype=np.int64))
    if rows.source.label:
        labels.check()


def _in_training_types(X: pd.DataFrame, columns: Mapping[str, ColumnType]) -> pd.DataFrame:
    """Give columns the types that the encoder learns from."""
    converted: dict[str, pd.Series] = {}
    for name, column in columns.items():
        values = X[name]
        if column.kind == "category":
            converted[name] = values.astype("category")
        elif column.kind == "boolean" and values.notna().all() and values.isin([0, 1]).all():
            converted[name] = values.astype(bool)
        elif column.kind == "number" and column.integer and values.abs().max() < 2**53:
            converted[name] = values.astype(np.int64)
        else:
            converted[name] = values
    return pd.DataFrame(converted)
