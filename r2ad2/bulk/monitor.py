"""Has the data of a table file moved since training? A report, also as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from r2ad2.bulk.rejects import RejectsFile, check_on_error
from r2ad2.bulk.sampled_rows import sampled_features
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.detectors.drift import MonitorReport
from r2ad2.support.files import make_folder
from r2ad2.tables.source import TableSource

MAX_ROWS = 200_000


def monitor_file(
    detector: AnomalyDetector,
    table: Path,
    output: Path | None = None,
    *,
    source: TableSource | None = None,
    on_error: str = "raise",
    rejects: Path | None = None,
    anomaly_share: float = 0.1,
    level: float = 0.05,
    note: Callable[[str], None] = lambda text: None,
    verbose: int = 0,
) -> MonitorReport:
    """Test whether the rows of a file have moved since training; see `AnomalyDetector.monitor`.

    Args:
        detector: trained on a table.
        table: the file; see `TableReader` for what can be read. Of more than 200,000 rows, a
            random sample of that size is used.
        output: page to write (.html).
        source: how the training table was read; by default as the detector noted it.
        on_error: "raise", or "skip" to set malformed rows aside. Missing values are no fault here:
            their share is tested.
        rejects: file to write for malformed rows, if there are any.
        anomaly_share: share of the rows that may be anomalous without being a shift.
        level: rate of false alarms, of all tests together.
        note: called with a line about malformed rows that were set aside.
        verbose: 1 shows progress.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that does not fit the detector, or an output that is not a page.
        OSError: if the page cannot be written.
    """
    if output is not None:
        if output.suffix != ".html":
            raise ValueError(f"the report's name must end in .html, got {str(output)!r}")
        make_folder(output.parent)  # fail now, not after the work
    skip, aside = check_on_error(on_error, rejects, table), RejectsFile(rejects)
    rows, n_rows = sampled_features(
        detector,
        table,
        MAX_ROWS,
        source=source,
        allow_missing=True,
        skip=skip,
        rejects=aside,
        verbose=verbose,
    )
    aside.write()
    for text in aside.notes:
        note(text)
    report = detector.monitor(rows, anomaly_share=anomaly_share, level=level)
    if output is not None:
        from r2ad2.bulk.monitor_page import write_page

        write_page(report, output, title=table.name, n_rows=n_rows)
    return report
