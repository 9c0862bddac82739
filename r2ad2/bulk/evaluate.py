"""Compares the scores of a labelled table file's rows with their labels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.bulk.features import feature_chunks
from r2ad2.bulk.training_table import training_source
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.support.files import make_folder


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate_file` found.

    Attributes:
        figures: AUC, AP and the counts at the threshold, by name.
        seconds: time that reading and scoring took.
    """

    figures: dict[str, Any]
    seconds: float


def evaluate_file(
    detector: AnomalyDetector,
    table: Path,
    *,
    label: str,
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
    plots: Path | None = None,
) -> EvaluationReport:
    """Score the rows of a labelled file and compare the scores with the labels.

    The table is read as the training table was. The labels have the same meaning as in training,
    unless `anomalous` or `normal` say otherwise.

    Args:
        detector: trained on a table.
        table: CSV or Parquet file, plain or gzipped.
        label: name of the label column.
        anomalous: label values of anomalies; all others are normal.
        normal: label values of normal rows; all others are anomalies.
        plots: folder for plots.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, or labels that are not clear.
        OSError: for a folder that cannot be written to.
    """
    trained = training_source(detector)
    source = dataclasses.replace(trained, label=label, drop=(*trained.drop, trained.label))
    if anomalous or normal:
        source = dataclasses.replace(source, anomalous=tuple(anomalous), normal=tuple(normal))
    if plots is not None:
        make_folder(plots)  # fail now, not after the work

    def score(features: pd.DataFrame) -> np.ndarray:
        return detector.predict_proba(features)[:, 1]

    start = time.monotonic()
    columns, chunks = [], []
    for rows, chunk in feature_chunks(detector, source, table, score, labelled=True):
        columns.append(source.column(rows).to_frame())
        chunks.append(chunk)
    labels, scores = source.labels(pd.concat(columns)), np.concatenate(chunks)
    figures = evaluate_scores(labels, scores, detector.threshold_)
    seconds = time.monotonic() - start
    if plots is not None:
        from r2ad2.plots import save_evaluation_plots

        save_evaluation_plots(labels, scores, plots, detector.threshold_, detector.history_)
    return EvaluationReport(figures, seconds)
