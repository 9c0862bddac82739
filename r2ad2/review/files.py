"""Reads the table files that a review starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.bulk.rows import RowReader
from r2ad2.bulk.training_table import table_encoder, training_source
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.columns import stack_numbers
from r2ad2.encoders.tables import TableEncoder
from r2ad2.tables.dates import as_seconds
from r2ad2.tables.source import TableSource

_NULLABLE: dict[str, Any] = {"bool": "boolean", "int64": "Int64", "float64": "float64"}


def read_rows(
    detector: AnomalyDetector, path: Path, ids: Sequence[str] = (), label: str = ""
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows of a file into memory.

    Args:
        detector: trained on a table; knows how the training table was read.
        path: the file.
        ids: further columns to read.
        label: name of a label column that may be present.

    Returns:
        The features, typed and with the numbers of their rows as index; and the id columns.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or its columns differ from those of training.
    """
    encoder, source = table_encoder(detector), training_source(detector)
    if label:
        source = dataclasses.replace(source, label=label, drop=(*source.drop, source.label))
    reader = RowReader(path, encoder, source, ids=tuple(ids))
    table = pd.concat([chunk.table for chunk in reader])
    return _typed(table, encoder), table[list(ids)]


def read_training(
    detector: AnomalyDetector,
    path: Path,
    label: str = "",
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the training table; return its features and labels: 1 = known anomaly, 0 = all others.

    Label values mean what they meant in training, unless `anomalous` or `normal` say otherwise.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as `read_rows`, or if the labels are not clear.
    """
    source = training_source(detector)
    label = label or source.label
    if not label:
        samples, _ = read_rows(detector, path)
        return samples, np.zeros(len(samples), dtype=np.int64)
    source = dataclasses.replace(source, label=label)
    if anomalous or normal:
        source = dataclasses.replace(source, anomalous=tuple(anomalous), normal=tuple(normal))
    samples, columns = read_rows(detector, path, ids=[label], label=label)
    return samples, _labels(source, columns)


def _labels(source: TableSource, columns: pd.DataFrame) -> np.ndarray:
    return source.labels(columns)


def _typed(table: pd.DataFrame, encoder: TableEncoder) -> pd.DataFrame:
    """Convert texts of a CSV file to the types of the training columns."""
    columns: dict[str, Any] = {}
    for name in encoder.columns:
        kind = encoder.kinds[name]
        if kind == "number":
            numbers = pd.Series(stack_numbers(table, [name])[:, 0], table.index)
            # A retrained encoder must know as much about the types as the first one did.
            known: Any = encoder.types.get(name, "float64")
            columns[name] = numbers.astype(_NULLABLE[known] if numbers.isna().any() else known)
        elif kind == "timestamp":
            seconds = as_seconds(name, table[name])
            columns[name] = pd.Series(pd.to_datetime(seconds, unit="s"), table.index)
        else:
            columns[name] = table[name].astype(object)
    return pd.DataFrame(columns, index=table.index)
