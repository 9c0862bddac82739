"""Explains the scores of table files' rows in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from r2ad2.bulk.rejects import RejectsFile, check_on_error
from r2ad2.bulk.rows import row_reader
from r2ad2.bulk.score import check_ids
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.detectors.explanation import Explanation
from r2ad2.support.files import make_folder
from r2ad2.support.messages import count
from r2ad2.tables.source import TableSource
from r2ad2.tables.write import write_tables

_SCORE = "\x1ascore"  # a temporary column; no column of a table has this name


@dataclass(frozen=True)
class ExplanationReport:
    """What `explain_file` did.

    Attributes:
        n_rows: rows that were explained.
        n_rejected: malformed rows that were set aside.
        notes: lines that say which columns were left out, and which plots are of earlier runs.
    """

    n_rows: int
    n_rejected: int
    notes: tuple[str, ...]


def explain_file(
    detector: AnomalyDetector,
    table: Path,
    output: Path,
    *,
    source: TableSource | None = None,
    ids: Sequence[str] = (),
    top: int | None = None,
    on_error: str = "raise",
    rejects: Path | None = None,
    plots: Path | None = None,
    verbose: int = 0,
) -> ExplanationReport:
    """Attribute the scores of a file's rows and write one line per row.

    Output columns: row (number from 0), the ids, score, is_anomaly, and the attributions of
    `Explanation.to_frame`.

    Args:
        detector: trained on a table.
        table: the file; see `TableReader` for what can be read.
        output: .csv, .csv.gz or .parquet file to write.
        source: how the training table was read; by default as the detector noted it.
        ids: columns to copy.
        top: explain only this many rows, those with the highest scores, highest first; by default
            all rows.
        on_error: "raise", or "skip" to set malformed rows aside.
        rejects: file to write for malformed rows, if there are any.
        plots: folder for a plot of each explained row.
        verbose: 1 shows progress. Of the detector's own display there must be none without `top`.

    Returns:
        What was done.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, an id that is absent or has the name
            of an output column, an output file of unknown format, or the same file for rejects.
        OSError: for a folder that cannot be written to.
    """
    skip = check_on_error(on_error, rejects, table, output)
    check_ids(ids, Explanation.PARTS)
    make_folder(output.parent)  # fail now, not after the work
    if plots is not None:
        make_folder(plots)
    work = "explaining" if top is None else "scoring"
    reader = row_reader(detector, table, source, extra=ids, skip=skip, work=work, verbose=verbose)
    reader.check()
    aside = RejectsFile(rejects)
    n_rows = 0

    def explained(rows: pd.DataFrame) -> pd.DataFrame:
        explanation = detector.explain(rows)
        if plots is not None:
            from r2ad2.plots import plot_explanation, save_plot

            for sample, row in enumerate(rows.index):
                save_plot(plot_explanation(explanation, sample), plots / f"row_{row}.png")
        return explanation.to_frame().set_axis(rows.index)

    def chunks() -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        for rows in reader:
            aside.add(rows.rejects)
            if len(rows.table):
                yield reader.copied(rows), rows.table

    def pieces() -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        if top is None:
            for copied, table in chunks():
                yield copied, explained(table)
            return
        best: list[pd.DataFrame] = []  # never an empty table, which would change the columns' types
        kept: list[pd.DataFrame] = []
        for copied, table in chunks():
            scored = table.assign(**{_SCORE: detector.predict_proba(table)[:, 1]})
            best = [pd.concat([*best, scored]).nlargest(top, _SCORE)]
            kept = [pd.concat([*kept, copied]).loc[best[0].index]]
        if best:
            yield kept[0], explained(best[0].drop(columns=_SCORE))

    def results() -> Iterator[pd.DataFrame]:
        nonlocal n_rows
        for copied, piece in pieces():
            n_rows += len(piece)
            piece.insert(1, "is_anomaly", piece["score"] > detector.threshold_)
            for name in reversed(ids):
                piece.insert(0, name, copied[name])
            piece.insert(0, "row", piece.index)
            yield piece
        reader.require_rows(n_rows)

    write_tables(output, results())
    aside.write()
    notes = list(reader.notes)
    if plots is not None and (n_earlier := len([*plots.glob("row_*.png")]) - n_rows) > 0:
        notes.append(f"{str(plots)!r} also holds {count(n_earlier, 'plot')} of earlier runs")
    return ExplanationReport(n_rows, aside.n, tuple(notes))
