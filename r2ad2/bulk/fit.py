"""Trains a detector on a table file of any size."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.artefact.calibration import required_samples
from r2ad2.bulk.rejects import RejectsFile, check_on_error
from r2ad2.bulk.rows import RowReader, table_reader
from r2ad2.bulk.sample import TrainingSample
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.files import make_folder
from r2ad2.support.messages import count, did_you_mean, quoted
from r2ad2.tables.reader import TableReader
from r2ad2.tables.schema import Schema, Told, index_columns, index_note, read_schema
from r2ad2.tables.source import LabelReader, TableSource
from r2ad2.tables.values import ColumnType


@dataclasses.dataclass(frozen=True)
class FitReport:
    """What `fit_file` did.

    Attributes:
        n_normal: normal rows that the detector was given, after drawing a sample of them.
        n_known: known anomalies.
        seconds: time that reading, training and saving took.
        n_rejected: malformed rows that were set aside.
        columns: what each column was read as, by name.
        notes: lines that say what was found out about the file.
    """

    n_normal: int
    n_known: int
    seconds: float
    n_rejected: int = 0
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


def fit_file(
    detector: AnomalyDetector,
    table: Path,
    output: Path,
    *,
    source: TableSource,
    on_error: str = "raise",
    rejects: Path | None = None,
) -> FitReport:
    """Train a detector on a table file and save it, with a note on how the table was read.

    The file is read twice: first to decide the type of each column over all rows, then to draw the
    rows to train on. These are all known anomalies and, if the detector has a parameter
    `max_samples`, a random sample of the normal rows, so that the file may be larger than memory.

    Args:
        detector: the detector to train.
        table: the file; see `TableReader` for what can be read.
        output: model file to write (.keras).
        source: how to read the table; with an empty label, no anomaly is known.
        on_error: "raise", or "skip" to set malformed rows aside.
        rejects: file to write for malformed rows, if there are any.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that cannot be read or encoded, a column that is not there or whose
            type is not clear, labels that are not clear, or a model file without the extension
            .keras.
        OSError: if the model cannot be written; before the training where possible.
    """
    if output.suffix != ".keras":
        raise ValueError(f"a model file's name must end in .keras, got {str(output)!r}")
    skip = check_on_error(on_error, rejects)
    start = time.monotonic()
    reader = table_reader(table, source)
    told = _told(source)
    _require_columns(reader, *source.drop, *told.types)
    if source.label:
        source.column(pd.DataFrame(columns=reader.columns))  # an error if there is no such column
    make_folder(output.parent)  # fail now, not after the training
    left_out = index_columns(reader.columns, (*told.types, source.label, *source.drop))
    others = {source.label, *source.drop, *left_out}
    names = [name for name in reader.columns if name not in others]
    if not names:
        raise ValueError(f"{str(table)!r} has no columns besides those that are left out")
    schema = read_schema(reader, names, told, skip=skip)
    missing = getattr(detector, "missing", "error")
    if missing == "error" and not skip:
        _require_complete(reader, schema)
    notes = [*([index_note(left_out)] if left_out else []), *schema.notes]
    source = dataclasses.replace(
        source,
        decimal=schema.decimal,
        types={name: column.kind for name, column in schema.columns.items()},
        formats={n: c.format for n, c in schema.columns.items() if c.kind == "date"},
        timestamps=(),
    )
    label = (source.label,) if source.label else ()
    rows = RowReader(reader, schema.columns, source, missing, label, skip)
    aside = RejectsFile(rejects)
    sample = _sampled(detector, rows, aside)
    X, labels = sample.rows()
    if len(X) < sample.n_normal + sample.n_known:
        notes.append(
            f"{len(X) - sample.n_known:,} of {sample.n_normal:,} normal rows were drawn at random "
            "to train on and to calibrate with (see max_samples); all known anomalies are used"
        )
    detector.fit(_in_training_types(X, schema.columns), labels if source.label else None)
    columns = _described(schema, detector)
    detector.notes_ = {"source": source.to_dict(), "columns": columns, "reading": notes}
    detector.save(output)
    aside.write()
    seconds = time.monotonic() - start
    return FitReport(len(X) - sample.n_known, sample.n_known, seconds, aside.n, columns, notes)


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
            'missing="indicator" (command line: --set missing=indicator), or set such rows aside '
            "(--on-error skip)"
        )


def _sampled(detector: AnomalyDetector, rows: RowReader, aside: RejectsFile) -> TrainingSample:
    """Read the rows and draw those to train on."""
    seed = detector.random_state
    sample = TrainingSample(_max_normal(detector), int(seed) if isinstance(seed, Integral) else 0)
    labels = LabelReader(rows.source)
    for chunk in rows:
        aside.add(chunk.rejects)
        n = len(chunk.table)
        if n and rows.source.label:
            sample.add(chunk.table, labels.read(chunk.extra[rows.source.label]))
        elif n:
            sample.add(chunk.table, np.zeros(n, dtype=np.int64))
    if rows.source.label:
        labels.check()
    return sample


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


def _in_training_types(X: pd.DataFrame, columns: Mapping[str, ColumnType]) -> pd.DataFrame:
    """Give columns the types that the encoder learns from."""
    converted: dict[str, Any] = {}
    for name, column in columns.items():
        values = X[name]
        if column.kind == "category":
            converted[name] = _merged(values.astype("category"))
        elif column.kind == "boolean" and values.notna().all() and values.isin([0, 1]).all():
            converted[name] = values.astype(bool)
        elif column.kind == "number" and column.integer and values.abs().max() < 2**53:
            converted[name] = values.astype(np.int64)
        else:
            converted[name] = values
    return pd.DataFrame(converted)


def _merged(values: pd.Series) -> pd.Series:
    """Merge the categories "80.0" and "80", one of which stems from a column with gaps."""
    names = set(values.cat.categories)
    twins = {n: n.removesuffix(".0") for n in names if n.endswith(".0")}
    twins = {name: other for name, other in twins.items() if other in names}
    if not twins:
        return values
    return values.astype(object).replace(twins).astype("category")


def _described(schema: Schema, detector: AnomalyDetector) -> dict[str, str]:
    """Say in a few words what each column was read as."""
    encoder = detector.pipeline_.encoder
    described = {}
    for name, column in schema.columns.items():
        text = column.kind
        if column.kind == "category" and isinstance(encoder, TableEncoder):
            n_values = max(schema.profiles[name].n_values, len(encoder.categories[name]))
            text += f", {count(n_values, 'value')}"
            if len(encoder.categories[name]) < n_values:
                n_slots = len(encoder.categories[name])
                text += f", a slot for each of the {n_slots:,} most frequent and one for all others"
        if column.kind == "date" and column.format != "iso":
            text += f" ({column.format})"
        described[name] = text
    return described
