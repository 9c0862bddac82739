"""The commands `r2ad2 monitor` and `r2ad2 calibrate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from r2ad2.cli.options import (
    ModelOption,
    OnError,
    Quiet,
    Reading,
    Rejects,
    TableArgument,
    reads_table,
)
from r2ad2.support.screen import import_tensorflow_quietly, make_console

_MOVED = 3  # exit code


@reads_table
def monitor(
    table: TableArgument,
    model: ModelOption,
    output: Annotated[Path | None, typer.Option(help="page to write (.html)")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print the report as JSON, for machines")
    ] = False,
    anomaly_share: Annotated[
        float, typer.Option(help="share of the rows that may be anomalous without being a shift")
    ] = 0.1,
    level: Annotated[float, typer.Option(help="rate of false alarms, all tests together")] = 0.05,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    rejects: Rejects = None,
    quiet: Quiet = False,
) -> None:
    """Test whether the data has moved since training. Exit code 0: as in training; 3: it has moved.

    The rows should be a sample of what comes in, not only alerts. Scores, the rate of flagged rows
    and every column are compared with what the model keeps of its normal training rows.
    """
    import_tensorflow_quietly()
    import r2ad2
    from r2ad2.bulk.monitor import monitor_file
    from r2ad2.bulk.training_table import training_source

    detector = r2ad2.load(model)
    console = make_console(stderr=as_json, quiet=quiet)
    report = monitor_file(
        detector,
        table,
        output,
        source=reading.applied_to(training_source(detector)),
        on_error=on_error,
        rejects=rejects,
        anomaly_share=anomaly_share,
        level=level,
        note=lambda text: console.print(text, soft_wrap=True),
        verbose=0 if quiet else 1,
    )
    if as_json:
        sys.stdout.write(json.dumps(report.to_dict(), allow_nan=False, indent=1) + "\n")
    elif not quiet:
        found = Table("what", "p-value", "finding")
        for part in (report.scores, report.columns):
            for name, row in part[part["drifted"].astype(bool)].iterrows():
                found.add_row(str(name), f"{row['p_value']:.2g}", row["finding"])
        state = "the data has moved since training" if report.drifted else "as in training"
        scored = (
            f"{report.n_scored:,} rows, p-value {report.p_value:.2g}, "
            f"flagged {report.flagged_rate:.1%}"
            if report.n_scored
            else f"none of {report.n_rows:,} rows is without missing values, p-value "
            f"{report.p_value:.2g}"
        )
        console.print(f"{table}: {state} ({scored})", soft_wrap=True)
        if found.row_count:
            console.print(found)
        for text in (report.advice, *(f"Not tested: {part}" for part in report.untested)):
            console.print(text, soft_wrap=True)
        if output is not None:
            console.print(f"report in {output}", soft_wrap=True)
    if report.drifted:
        raise typer.Exit(_MOVED)


@reads_table
def calibrate(
    table: TableArgument,
    model: ModelOption,
    output: Annotated[
        Path | None, typer.Option(help="model file to write (.keras) [default: that of --model]")
    ] = None,
    false_positive_rate: Annotated[
        float | None,
        typer.Option(help="rate to promise from now on [default: as in training]"),
    ] = None,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    rejects: Rejects = None,
    quiet: Quiet = False,
) -> None:
    """Replace a model's threshold and p-values by those of recent normal rows; nothing is trained.

    The threshold moves only if it follows from a false-positive rate. The rows must be a random
    sample of normal rows that the model has not seen: not those that were reviewed because of their
    scores. Known anomalies are left out if the label column of training is there. Of more than
    10,000 rows, that many are drawn at random.
    """
    import_tensorflow_quietly()
    import r2ad2
    from r2ad2.bulk.calibrate import calibrate_file
    from r2ad2.bulk.training_table import training_source

    target = output or model
    detector = r2ad2.load(model)
    report = calibrate_file(
        detector,
        table,
        target,
        source=reading.applied_to(training_source(detector)),
        on_error=on_error,
        rejects=rejects,
        false_positive_rate=false_positive_rate,
        verbose=0 if quiet else 1,
    )
    if not quiet:
        console = make_console()
        for text in report.notes:
            console.print(text, soft_wrap=True)
        console.print(
            f"calibrated with {report.n_rows:,} rows, threshold {report.threshold:.4f} "
            f"(before: {report.threshold_before:.4f}), model in {target}",
            soft_wrap=True,
        )
        if detector.false_positive_rate is None:
            console.print(
                "only p-values were renewed: the threshold does not follow from a false-positive "
                "rate; name one with --false-positive-rate",
                soft_wrap=True,
            )
