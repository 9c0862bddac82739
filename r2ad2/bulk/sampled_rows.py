"""Random rows of table files of any size, as features."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from r2ad2.bulk.rejects import RejectsFile
from r2ad2.bulk.rows import row_reader
from r2ad2.bulk.sample import TrainingSample
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
    verbose: int = 0,
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
        verbose: 1 shows progress.

    Returns:
        The features of the rows that were kept, in the file's order, and the number of all rows to
        choose from.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or holds no well-formed rows.
    """
    source, aside = source or training_source(detector), rejects or RejectsFile(None)
    reader = row_reader(detector, table, source, skip=skip, verbose=verbose)
    labelled = normal_only and source.label in reader.reader.columns
    reader = dataclasses.replace(
        reader,
        missing="indicator" if allow_missing else reader.missing,
        extra=(source.label,) if labelled else (),
    )

    labels, sample, n_rows = LabelReader(source), TrainingSample(max_rows, seed=0), 0
    for rows in reader:
        aside.add(rows.rejects)
        chunk = rows.table
        n_rows += len(chunk)
        if labelled and len(chunk):
            chunk = chunk[labels.read(rows.extra[source.label]) == 0]
        sample.add(chunk, np.zeros(len(chunk), dtype=np.int64))
    reader.require_rows(n_rows)
    return sample.rows()[0], sample.n_normal
