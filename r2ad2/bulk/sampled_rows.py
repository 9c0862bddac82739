"""Random rows of table files of any size, as features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from r2ad2.bulk.rejects import RejectsFile
from r2ad2.bulk.rows import row_reader
from r2ad2.bulk.training_table import training_source
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.tables.source import LabelReader, TableSource


def sampled_features(
    detector: AnomalyDetector,
    table: Path,
    max_rows: int,
    *,
    source: TableSource | None = None,
    normal_only: bool = False,
    allow_missing: bool = False,
    skip: bool = False,
    rejects: RejectsFile | None = None,
) -> tuple[pd.DataFrame, int]:
    """Read a table file chunk by chunk and keep up to a number of its rows, drawn at random.

    Args:
        detector: trained on a table.
        table: the file; see `TableReader` for what can be read.
        max_rows: number of rows to keep at most.
        source: how the training table was read; by default as the detector noted it.
        normal_only: whether to leave out rows with the label of a known anomaly, if the file has
            the label column of the training table.
        allow_missing: whether rows with missing values are read even if the detector cannot score
            them.
        skip: whether to set malformed rows aside; otherwise they are an error.
        rejects: takes them.

    Returns:
        The features of the rows that were kept, in the file's order, and the number of all rows to
        choose from.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read.
    """
    source, aside = source or training_source(detector), rejects or RejectsFile(None)
    reader = row_reader(detector, table, source, skip=skip)
    labelled = normal_only and source.label in reader.reader.columns
    reader = dataclasses.replace(
        reader,
        missing="indicator" if allow_missing else reader.missing,
        extra=(source.label,) if labelled else (),
    )

    def features() -> Iterator[pd.DataFrame]:
        labels = LabelReader(source)
        for rows in reader:
            aside.add(rows.rejects)
            if labelled and len(rows.table):
                yield rows.table[labels.read(rows.extra[source.label]) == 0]
            else:
                yield rows.table

    random = np.random.default_rng(0)
    kept: list[pd.DataFrame] = []
    keys = np.empty(0)
    n_rows = 0
    for chunk in features():
        n_rows += len(chunk)
        kept.append(chunk)
        keys = np.concatenate([keys, random.random(len(chunk))])
        if len(keys) > 2 * max_rows:
            keys, kept = _smallest(keys, kept, max_rows)
    if len(keys) > max_rows:
        keys, kept = _smallest(keys, kept, max_rows)
    return pd.concat(kept), n_rows


def _smallest(
    keys: np.ndarray, kept: list[pd.DataFrame], n: int
) -> tuple[np.ndarray, list[pd.DataFrame]]:
    """Keep the rows with the n smallest keys: a random sample, wherever the file ends."""
    chosen = np.sort(np.argsort(keys, kind="stable")[:n])
    return keys[chosen], [pd.concat(kept).iloc[chosen]]
