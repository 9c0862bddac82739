"""Trains a detector on a table file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from r2ad2.detectors.base import AnomalyDetector
from r2ad2.support.files import make_folder
from r2ad2.support.messages import did_you_mean
from r2ad2.tables.pandas_reader import read_table
from r2ad2.tables.source import TableSource


@dataclass(frozen=True)
class FitReport:
    """What `fit_file` did.

    Attributes:
        n_normal: rows that counted as normal.
        n_known: known anomalies.
        seconds: time that training and saving took.
    """

    n_normal: int
    n_known: int
    seconds: float


def fit_file(
    detector: AnomalyDetector, table: Path, output: Path, *, source: TableSource
) -> FitReport:
    """Train a detector on a table file and save it, with a note on how the table was read.

    The table is read into memory.

    Args:
        detector: the detector to train.
        table: CSV or Parquet file, plain or gzipped.
        output: model file to write (.keras).
        source: how to read the table; with an empty label, no anomaly is known.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that cannot be read or encoded, a column that is not there, labels
            that are not clear, or a model file without the extension .keras.
        OSError: if the model cannot be written; before the training where possible.
    """
    if output.suffix != ".keras":
        raise ValueError(f"a model file's name must end in .keras, got {str(output)!r}")
    rows = read_table(table, header=source.header)
    labels = source.labels(rows) if source.label else None
    _require_columns(table, rows, *source.drop, *source.timestamps)
    make_folder(output.parent)  # fail now, not after the training
    start = time.monotonic()
    detector.fit(source.features(rows), labels)
    detector.notes_ = {"source": source.to_dict()}
    detector.save(output)
    n_known = 0 if labels is None else int(labels.sum())
    return FitReport(len(rows) - n_known, n_known, time.monotonic() - start)


def _require_columns(path: Path, rows: pd.DataFrame, *names: str) -> None:
    for name in names:
        if name not in rows:
            parts = name.split(",")
            hint = ": name each column with an option of its own"
            if len(parts) == 1 or any(part not in rows for part in parts):
                hint = did_you_mean(name, rows.columns)
            raise ValueError(f"there is no column {name!r} in {str(path)!r}{hint}")
