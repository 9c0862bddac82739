"""Trains a detector on a table file of any size."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from r2ad2.bulk.rejects import RejectsFile, check_on_error
from r2ad2.bulk.training_rows import rows_for
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.files import make_folder, require_model_name
from r2ad2.support.messages import count
from r2ad2.tables.schema import Schema
from r2ad2.tables.source import TableSource


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
        ValueError: for parameters of the detector out of their range, a table that cannot be read
            or encoded, a column that is not there or whose type is not clear, labels that are not
            clear, or a model file without the extension .keras.
        OSError: if the model cannot be written; before the training where possible.
    """
    require_model_name(output)
    detector._validate_params()  # they decide which rows are read
    skip = check_on_error(on_error, rejects, table)
    start = time.monotonic()
    make_folder(output.parent)  # fail now, not after the training
    aside = RejectsFile(rejects)
    rows = rows_for(detector, table, source, skip=skip, rejects=aside, verbose=detector.verbose)
    notes = list(rows.notes)
    if rows.n_normal < rows.n_seen:
        notes.append(
            f"{rows.n_normal:,} of {rows.n_seen:,} normal rows were drawn at random to train on "
            "and to calibrate with (see max_samples); all known anomalies are used"
        )
    detector.fit(rows.X, rows.labels if source.label else None)
    columns = _described(rows.schema, detector)
    detector.notes_ = {"source": rows.source.to_dict(), "columns": columns, "reading": notes}
    detector.save(output)
    aside.write()
    seconds = time.monotonic() - start
    return FitReport(rows.n_normal, rows.n_known, seconds, aside.n, columns, notes)


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
