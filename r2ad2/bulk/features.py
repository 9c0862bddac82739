"""Reads the features of table files chunk by chunk, for explanations and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from r2ad2.bulk.training_table import table_encoder
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.support.messages import did_you_mean
from r2ad2.tables.pandas_reader import read_chunks
from r2ad2.tables.source import TableSource


def feature_chunks(
    detector: AnomalyDetector,
    source: TableSource,
    path: Path,
    work: Callable[[pd.DataFrame], Any],
    *,
    labelled: bool = False,
    ids: Sequence[str] = (),
) -> Iterator[tuple[pd.DataFrame, Any]]:
    """Read a table file chunk by chunk and call `work` with each chunk's features.

    Args:
        detector: trained on a table; its encoder knows which columns are text.
        source: how the training table was read: which columns are not features.
        path: the file.
        work: called with a DataFrame of the features.
        labelled: whether the table must have labels.
        ids: further columns that must be present.

    Yields:
        The chunk with all its columns, and what `work` returned.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or its rows do not fit; the message gives their numbers.
    """
    encoder = table_encoder(detector)
    extra = [name for name in ids if name not in encoder.columns]
    for chunk in read_chunks(path, header=source.header, texts=[*encoder.categories, *extra]):
        try:
            if labelled:
                source.column(chunk)
            absent = [name for name in ids if name not in chunk]
            if absent:
                raise ValueError(
                    f"there is no id column {absent[0]!r}{did_you_mean(absent[0], chunk.columns)}"
                )
            yield chunk, work(source.features(chunk.drop(columns=extra)))
        except ValueError as error:
            rows = f"rows {chunk.index[0]:,} to {chunk.index[-1]:,}"
            raise ValueError(f"{str(path)!r}, {rows}: {error}") from error
