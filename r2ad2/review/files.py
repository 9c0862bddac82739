"""Reads the table files that a review starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.bulk.rejects import RejectsFile
from r2ad2.bulk.rows import row_reader
from r2ad2.bulk.training_rows import rows_for
from r2ad2.bulk.training_table import table_encoder, training_source
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.columns import stack_numbers
from r2ad2.encoders.tables import TableEncoder
from r2ad2.tables.dates import as_seconds, from_seconds
from r2ad2.tables.source import TableSource

_NULLABLE: dict[str, Any] = {"bool": "boolean", "int64": "Int64", "float64": "float64"}


def read_rows(
    detector: AnomalyDetector,
    path: Path,
    ids: Sequence[str] = (),
    source: TableSource | None = None,
    *,
    skip: bool = False,
    rejects: RejectsFile | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows of a file into memory.

    Args:
        detector: trained on a table.
        path: the file.
        ids: further columns to read.
        source: how the training table was read; by default as the detector noted it.
        skip: whether to leave malformed rows out; otherwise they are an error.
        rejects: takes them.

    Returns:
        The features, typed and with the numbers of their rows as index; and the id columns.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or its columns differ from those of training.
    """
    reader = row_reader(detector, path, source, extra=tuple(ids), skip=skip)
    chunks = list(reader)
    if rejects is not None:
        for chunk in chunks:
            rejects.add(chunk.rejects)
    table = pd.concat([chunk.table for chunk in chunks])
    return _typed(table, table_encoder(detector)), pd.concat(map(reader.copied, chunks))


def read_training(
    detector: AnomalyDetector,
    path: Path,
    source: TableSource | None = None,
    *,
    skip: bool = False,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the training table; return its features and labels: 1 = known anomaly, 0 = all others.

    These are the rows that the detector was trained on: of a large file, the sample that was drawn
    for it.

    Args:
        detector: trained on a table.
        path: the file.
        source: how the training table was read; by default as the detector noted it.
        skip: whether to leave malformed rows out; otherwise they are an error.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, its columns differ from those of training, or the labels
            are not clear.
    """
    rows = rows_for(detector, path, source or training_source(detector), skip=skip)
    return _typed(rows.X, table_encoder(detector)), rows.labels


def _holds(known: str, numbers: pd.Series) -> bool:
    """Whether a column of a training type can have these numbers, none of them missing."""
    if known == "bool":
        return bool(numbers.isin([0, 1]).all())
    return known != "int64" or bool(((numbers % 1 == 0) & (numbers.abs() < 2**53)).all())


def _typed(table: pd.DataFrame, encoder: TableEncoder) -> pd.DataFrame:
    """Convert texts of a CSV file to the types of the training columns."""
    columns: dict[str, Any] = {}
    for name in encoder.columns:
        kind = encoder.kinds[name]
        if kind == "number":
            numbers = pd.Series(stack_numbers(table, [name])[:, 0], table.index)
            # A retrained encoder must know as much about the types as the first one did.
            known = encoder.types.get(name, "float64")
            if not _holds(known, numbers.dropna()):
                known = "float64"
            dtype: Any = _NULLABLE[known] if numbers.isna().any() else known
            columns[name] = numbers.astype(dtype)
        elif kind == "timestamp":
            columns[name] = pd.Series(from_seconds(as_seconds(name, table[name])), table.index)
        else:
            # Retraining must keep what the user declared to be a category.
            columns[name] = table[name].astype("category")
    return pd.DataFrame(columns, index=table.index)
