"""Random rows of table files of any size, as features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from r2ad2.bulk.features import feature_chunks
from r2ad2.bulk.training_table import training_source
from r2ad2.detectors.base import AnomalyDetector


def sampled_features(
    detector: AnomalyDetector, table: Path, max_rows: int, *, normal_only: bool = False
) -> tuple[pd.DataFrame, int]:
    """Read a table file chunk by chunk and keep up to a number of its rows, drawn at random.

    Args:
        detector: trained on a table.
        table: CSV or Parquet file, plain or gzipped.
        max_rows: number of rows to keep at most.
        normal_only: whether to leave out rows with the label of a known anomaly, if the file has
            the label column of the training table.

    Returns:
        The features of the rows that were kept, in the file's order, and the number of all rows to
        choose from.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read.
    """
    source = training_source(detector)
    random = np.random.default_rng(0)
    kept: list[pd.DataFrame] = []
    keys = np.empty(0)
    n_rows = 0
    for chunk, features in feature_chunks(detector, source, table, lambda rows: rows):
        if normal_only and source.label and source.label in chunk:
            features = features[source.labels(chunk, partial=True) == 0]
        n_rows += len(features)
        kept.append(features)
        keys = np.concatenate([keys, random.random(len(features))])
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
