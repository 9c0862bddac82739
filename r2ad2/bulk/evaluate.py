"""Compares the scores of a labelled table file's rows with their labels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from r2ad2.bulk.rejects import RejectsFile, check_on_error
from r2ad2.bulk.rows import row_reader
from r2ad2.bulk.training_table import require_no_feature, training_source
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.support.files import make_folder
from r2ad2.tables.source import LabelReader, TableSource


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate_file` found.

    Attributes:
        figures: AUC, AP and the counts at the threshold, by name.
        seconds: time that reading and scoring took.
        n_rejected: malformed rows that were set aside.
        notes: lines that say which columns were left out, and which labels no row has.
    """

    figures: dict[str, Any]
    seconds: float
    n_rejected: int = 0
    notes: tuple[str, ...] = ()


def evaluate_file(
    detector: AnomalyDetector,
    table: Path,
    *,
    label: str,
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
    source: TableSource | None = None,
    on_error: str = "raise",
    rejects: Path | None = None,
    plots: Path | None = None,
    verbose: int = 0,
) -> EvaluationReport:
    """Score the rows of a labelled file and compare the scores with the labels.

    The table is read as the training table was. The labels have the same meaning as in training,
    unless `anomalous` or `normal` say otherwise.

    Args:
        detector: trained on a table.
        table: the file; see `TableReader` for what can be read.
        label: name of the label column.
        anomalous: label values of anomalies; all others are normal.
        normal: label values of normal rows; all others are anomalies.
        source: how the training table was read; by default as the detector noted it.
        on_error: "raise", or "skip" to set malformed rows aside.
        rejects: file to write for malformed rows, if there are any.
        plots: folder for plots.
        verbose: 1 shows progress.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, or labels that are not clear.
        OSError: for a folder that cannot be written to.
    """
    skip = check_on_error(on_error, rejects, table)
    require_no_feature(detector, label)
    source = (source or training_source(detector)).relabelled(label, anomalous, normal)
    if plots is not None:
        make_folder(plots)  # fail now, not after the work
    start = time.monotonic()
    reader = row_reader(
        detector, table, source, extra=[label], skip=skip, work="scoring", verbose=verbose
    )
    label_reader, aside = LabelReader(source), RejectsFile(rejects)
    pieces = []
    for rows in reader:
        aside.add(rows.rejects)
        if len(rows.table):
            labels = label_reader.read(rows.extra[label])
            pieces.append((labels, detector.predict_proba(rows.table)[:, 1]))
    reader.require_rows(len(pieces))
    label_reader.check()
    aside.write()
    labels, scores = (np.concatenate(part) for part in zip(*pieces, strict=True))
    figures = evaluate_scores(labels, scores, detector.threshold_)
    seconds = time.monotonic() - start
    if plots is not None:
        from r2ad2.plots import save_evaluation_plots

        save_evaluation_plots(labels, scores, plots, detector.threshold_, detector.history_)
    return EvaluationReport(figures, seconds, aside.n, (*reader.notes, *label_reader.notes))
