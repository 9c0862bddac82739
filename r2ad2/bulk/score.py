"""Scores table files of any size in bounded memory; resumes after an interruption."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet

from r2ad2.artefact.pipeline import weights_checksum
from r2ad2.bulk.rejects import check_on_error, rejects_table
from r2ad2.bulk.rows import CheckedRows, RowReader, row_reader
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.support.files import write_text
from r2ad2.support.locks import LockedFolder
from r2ad2.tables.reader import CHUNK_ROWS
from r2ad2.tables.source import TableSource
from r2ad2.tables.write import write_tables

_COLUMNS = ("row", "score", "is_anomaly", "p_value")


@dataclass(frozen=True)
class ScoringReport:
    """What `score_file` did.

    Attributes:
        n_rows: rows that were scored.
        n_flagged: those predicted anomalous.
        n_rejected: malformed rows that were set aside.
        n_resumed: rows that an interrupted run had scored already.
        notes: lines that say which columns were left out.
    """

    n_rows: int
    n_flagged: int
    n_rejected: int
    n_resumed: int
    notes: tuple[str, ...] = ()


def score_file(
    detector: AnomalyDetector,
    table: Path,
    output: Path,
    *,
    source: TableSource | None = None,
    ids: Sequence[str] = (),
    on_error: str = "raise",
    rejects: Path | None = None,
    chunk_rows: int = CHUNK_ROWS,
    verbose: int = 0,
) -> ScoringReport:
    """Score the rows of a file and write one line per row, in the same order.

    Output columns: row (number from 0), the ids, score in [0, 1], is_anomaly and, where the
    detector is calibrated, p_value. Until all rows are scored, the scores are kept in the folder
    ".NAME.parts" next to the output: after an interruption, the same call resumes where it stopped.
    Only one run at a time may write the same output.

    Args:
        detector: trained on a table.
        table: the file; see `TableReader` for what can be read.
        output: .csv, .csv.gz or .parquet file to write.
        source: how the training table was read; by default as the detector noted it.
        ids: columns to copy.
        on_error: "raise", or "skip" to set malformed rows aside.
        rejects: file to write for malformed rows (row, line, reason, content) if there are any;
            only with on_error="skip".
        chunk_rows: rows to read and score at a time.
        verbose: 1 shows progress.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, malformed rows, an id with the name
            of an output column, an output file of unknown format, or the same file for scores and
            rejects.
        BlockingIOError: if another run is writing the same output.
    """
    skip = check_on_error(on_error, rejects, table, output)
    check_ids(ids)
    reader = row_reader(
        detector,
        table,
        source,
        extra=ids,
        skip=skip,
        chunk_rows=chunk_rows,
        work="scoring",
        verbose=verbose,
    )
    reader.check()
    with _Parts.of(output, _fingerprint(detector, reader)) as parts:
        try:
            return _score(detector, reader, parts, output, rejects)
        except ValueError:
            parts.remove()  # the same file would fail again
            raise


def check_ids(ids: Sequence[str], prefixes: Iterable[str] = ()) -> None:
    """Check that the columns to copy have names of their own in the output.

    Args:
        ids: names of the columns to copy.
        prefixes: what the names of further output columns begin with, before a colon.

    Raises:
        ValueError: if one has the name of an output column, or is named twice.
    """
    for i, name in enumerate(ids):
        if name in _COLUMNS or name.startswith(tuple(f"{prefix}:" for prefix in prefixes)):
            raise ValueError(f"id column {name!r} has the name of an output column: rename it")
        if name in ids[:i]:
            raise ValueError(f"id column {name!r} is named twice")


def _score(
    detector: AnomalyDetector,
    reader: RowReader,
    parts: _Parts,
    output: Path,
    rejects: Path | None,
) -> ScoringReport:
    n_rows = n_flagged = n_rejected = n_resumed = n_parts = 0
    for rows in reader:
        if parts.has(n_parts):
            n_resumed += len(rows.table)
        else:
            parts.write(n_parts, _scored(detector, rows, reader), rows)
        n_parts += 1
        n_rows += len(rows.table)
        n_rejected += len(rows.rejects)

    def results() -> Iterator[pd.DataFrame]:
        nonlocal n_flagged
        for part in parts.read("scores", n_parts):
            n_flagged += int(part["is_anomaly"].sum())
            yield part

    write_tables(output, results())
    if rejects is not None and n_rejected:
        write_tables(rejects, parts.read("rejects", n_parts))
    parts.remove()
    return ScoringReport(n_rows, n_flagged, n_rejected, n_resumed, tuple(reader.notes))


def _scored(detector: AnomalyDetector, rows: CheckedRows, reader: RowReader) -> pd.DataFrame:
    """Score rows and lay out the output."""
    table = rows.table
    result: dict = {"row": table.index.to_numpy(dtype="int64")}
    for name, kind in reader.extra_types.items():
        result[name] = pd.array(rows.extra.get(name, []), dtype=kind)
    scores = detector.predict_proba(table)[:, 1] if len(table) else np.empty(0)
    result |= {"score": scores, "is_anomaly": scores > detector.threshold_}
    calibration = detector.pipeline_.calibration
    if calibration.n_samples:
        result["p_value"] = calibration.p_values(scores)
    return pd.DataFrame(result)


def _fingerprint(detector: AnomalyDetector, reader: RowReader) -> dict:
    """Describe what the scores depend on, so that those of another call are not used."""
    # A folder's own time does not change when a part is overwritten in place.
    files = [(part, part.stat()) for part in reader.reader.container.parts()]
    return {
        "detector": weights_checksum(detector.pipeline_),
        "table": [[str(part.resolve()), f.st_size, f.st_mtime_ns] for part, f in files],
        "source": reader.source.to_dict(),
        "ids": list(reader.extra),
        "skip": reader.skip,
        "rows": reader.chunk_rows,
    }


class _Parts:
    """Scores of an unfinished run: a folder with two files per chunk of rows.

    Args:
        folder: the folder, which is this run's alone.
        fingerprint: what the scores depend on; what a run with another one left is removed.
    """

    def __init__(self, folder: Path, fingerprint: dict):
        self._folder = folder
        manifest = folder / "manifest.json"
        try:
            same = json.loads(manifest.read_text("utf-8")) == fingerprint
        except (OSError, ValueError):
            same = False
        if not same:
            manifest.unlink(missing_ok=True)  # before the rest, in case this is interrupted
            for path in folder.glob("*.parquet"):
                path.unlink()
            write_text(manifest, json.dumps(fingerprint))

    @classmethod
    @contextlib.contextmanager
    def of(cls, output: Path, fingerprint: dict) -> Iterator[_Parts]:
        """Open those of an output file, which no other run can do at the same time.

        Raises:
            BlockingIOError: if another run is writing this file.
        """
        folder = output.parent / f".{output.name}.parts"
        try:
            lock = LockedFolder(folder)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"another run is writing {str(output)!r}: wait until it ends, or choose another "
                "output"
            ) from error
        with contextlib.closing(lock):
            yield cls(folder, fingerprint)

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number:08d}.parquet"

    def has(self, number: int) -> bool:
        """Whether a chunk is complete: its scores are written last."""
        return self._path("scores", number).exists()

    def write(self, number: int, scores: pd.DataFrame, rows: CheckedRows) -> None:
        """Keep a chunk's scores and rejects."""
        write_tables(self._path("rejects", number), [rejects_table(rows.rejects)])
        write_tables(self._path("scores", number), [scores])

    def read(self, kind: str, n: int) -> Iterator[pd.DataFrame]:
        """Read all chunks in order."""
        for number in range(n):
            part = pyarrow.parquet.read_table(self._path(kind, number))
            # Of plain columns, pandas would find the types again by the values of each part.
            yield part.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
