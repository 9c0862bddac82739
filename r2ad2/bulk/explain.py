"""Explains the scores of table files' rows in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from r2ad2.bulk.features import feature_chunks
from r2ad2.bulk.score import check_ids
from r2ad2.bulk.training_table import training_source
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.support.files import make_folder
from r2ad2.tables.source import TableSource
from r2ad2.tables.write import check_writable, write_tables

_SCORE = "\x1ascore"  # a temporary column; no column of a table has this name


def explain_file(
    detector: AnomalyDetector,
    table: Path,
    output: Path,
    *,
    source: TableSource | None = None,
    ids: Sequence[str] = (),
    top: int | None = None,
    plots: Path | None = None,
) -> int:
    """Attribute the scores of a file's rows and write one line per row.

    Output columns: row (number from 0), the ids, score, is_anomaly, and the attributions of
    `Explanation.to_frame`.

    Args:
        detector: trained on a table.
        table: CSV or Parquet file, plain or gzipped.
        output: .csv, .csv.gz or .parquet file to write.
        source: how the training table was read; by default as the detector noted it.
        ids: columns to copy.
        top: explain only this many rows, those with the highest scores, highest first; by default
            all rows.
        plots: folder for a plot of each explained row.

    Returns:
        The number of rows explained.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, an id that is absent or has the name
            of an output column, or an output file of unknown format.
        OSError: for a folder that cannot be written to.
    """
    check_writable(output)
    check_ids(ids)
    make_folder(output.parent)  # fail now, not after the work
    if plots is not None:
        make_folder(plots)
    source = source or training_source(detector)
    n_rows = 0

    def explained(rows: pd.DataFrame) -> pd.DataFrame:
        explanation = detector.explain(rows)
        if plots is not None:
            from r2ad2.plots import plot_explanation, save_plot

            for sample, row in enumerate(rows.index):
                save_plot(plot_explanation(explanation, sample), plots / f"row_{row}.png")
        return explanation.to_frame().set_axis(rows.index)

    def with_scores(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{_SCORE: detector.predict_proba(rows)[:, 1]})

    def pieces() -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        if top is None:
            yield from feature_chunks(detector, source, table, explained, ids=ids)
            return
        best: list[pd.DataFrame] = []  # never an empty table, which would change the columns' types
        copied: list[pd.DataFrame] = []
        for chunk, rows in feature_chunks(detector, source, table, with_scores, ids=ids):
            best = [pd.concat([*best, rows]).nlargest(top, _SCORE)]
            copied = [pd.concat([*copied, chunk[list(ids)]]).loc[best[0].index]]
        yield copied[0], explained(best[0].drop(columns=_SCORE))

    def results() -> Iterator[pd.DataFrame]:
        nonlocal n_rows
        for chunk, piece in pieces():
            n_rows += len(piece)
            piece.insert(1, "is_anomaly", piece["score"] > detector.threshold_)
            for name in reversed(ids):
                piece.insert(0, name, chunk[name])
            piece.insert(0, "row", piece.index)
            yield piece

    write_tables(output, results())
    return n_rows
