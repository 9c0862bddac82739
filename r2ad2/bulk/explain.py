"""Explains the scores of table files' rows; memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from r2ad2.bulk.score import check_ids
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.support.files import make_folder
from r2ad2.support.messages import did_you_mean
from r2ad2.tables.source import TableSource
from r2ad2.tables.table_files import check_writable, read_chunks, write_tables

_SCORE = "\x1ascore"  # a temporary column; no column of a table has this name


def feature_chunks(
    detector: AnomalyDetector,
    source: TableSource,
    path: Path,
    work: Callable[[pd.DataFrame], Any],
    *,
    labelled: bool = False,
    ids: Sequence[str] = (),
) -> Iterator[tuple[pd.DataFrame, Any]]:
    """Read a table file piece by piece and let `work` take each piece's features.

    Args:
        detector: trained on a table; says which columns are texts.
        source: how the training table was read: which columns are no features.
        path: the file.
        work: takes a DataFrame with the features.
        labelled: whether the table must have labels.
        ids: further columns that have to be there.

    Yields:
        The piece with all its columns, and what `work` gave.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or its rows do not fit; with the rows' numbers.
    """
    encoder = detector.pipeline_.encoder
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
        source: how the training table was read: which columns are no features.
        ids: columns to copy.
        top: explain only so many rows, those with the highest scores, highest first; else all.
        plots: folder for a plot of each row.

    Returns:
        The number of rows explained.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, an id that is not there or is called
            like a column of the output, or a file name that cannot be written.
        OSError: for a folder that nothing can be written into.
    """
    check_writable(output)
    check_ids(ids)
    make_folder(output.parent)  # an error now, not after the work
    if plots is not None:
        make_folder(plots)
    source = source or TableSource(label="")
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
        best: list[pd.DataFrame] = []  # no empty tables, which would change the columns' types
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
