"""Calibrates a model file with recent normal rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from r2ad2.artefact.calibration import MAX_HELD_BACK
from r2ad2.bulk.rejects import RejectsFile, check_on_error
from r2ad2.bulk.sampled_rows import sampled_features
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.support.files import require_model_name
from r2ad2.tables.source import TableSource


@dataclass(frozen=True)
class CalibrationReport:
    """What `calibrate_file` did.

    Attributes:
        n_rows: normal rows that were used.
        threshold_before: the threshold until now.
        threshold: the threshold from now on.
        notes: lines about malformed rows that were set aside.
    """

    n_rows: int
    threshold_before: float
    threshold: float
    notes: tuple[str, ...] = ()


def calibrate_file(
    detector: AnomalyDetector,
    table: Path,
    output: Path,
    *,
    source: TableSource | None = None,
    on_error: str = "raise",
    rejects: Path | None = None,
    false_positive_rate: float | None = None,
    verbose: int = 0,
) -> CalibrationReport:
    """Replace threshold and p-values by those of recent normal rows, and save the detector.

    The rows must be a random sample of normal ones that the detector has not seen. Rows with the
    label of a known anomaly are left out if the table has the label column of training; without it,
    all rows count as normal. Up to 10,000 rows are used, drawn at random.

    Args:
        detector: trained on a table.
        table: the file; see `TableReader` for what can be read.
        output: model file to write (.keras), all or nothing; may be the one that was read.
        source: how the training table was read; by default as the detector noted it.
        on_error: "raise", or "skip" to set malformed rows aside.
        rejects: file to write for malformed rows, if there are any.
        false_positive_rate: the promise from now on; None keeps what the threshold follows from.
        verbose: 1 shows progress.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, or too few rows for the rate.
        OSError: if the model cannot be written.
    """
    require_model_name(output)
    before = detector.threshold_
    skip, aside = check_on_error(on_error, rejects, table), RejectsFile(rejects)
    rows, _ = sampled_features(
        detector,
        table,
        MAX_HELD_BACK,
        source=source,
        normal_only=True,
        skip=skip,
        rejects=aside,
        verbose=verbose,
    )
    if not len(rows):
        raise ValueError(f"{str(table)!r} holds no normal rows to calibrate with")
    if false_positive_rate is not None:
        detector.set_params(false_positive_rate=false_positive_rate, contamination=None)
        detector._validate_params()
    detector.calibrate(rows)
    detector.save(output)
    aside.write()
    return CalibrationReport(len(rows), before, detector.threshold_, tuple(aside.notes))
