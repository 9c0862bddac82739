"""The command `r2ad2 compare`: which method suits a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from r2ad2.cli.options import (
    Anomalous,
    Normal,
    OnError,
    Quiet,
    Reading,
    TableArgument,
    reads_table,
    split_names,
)
from r2ad2.detectors.registry import detector_names
from r2ad2.support.messages import require_known
from r2ad2.support.screen import import_tensorflow_quietly, make_console

if TYPE_CHECKING:
    from r2ad2.experiments.cross_validation import CrossValidation


@reads_table
def compare(
    table: TableArgument,
    label: Annotated[str, typer.Option(help="name of the label column")],
    anomaly: Anomalous = None,
    normal: Normal = None,
    output: Annotated[Path, typer.Option(help="folder for the page and the figures")] = Path(
        "compare"
    ),
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"methods, separated by commas: {', '.join(detector_names())} [default: all]"
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="number of folds")] = 5,
    budget: Annotated[
        str, typer.Option(help="fast, paper, or approximate SECONDS per training with epochs")
    ] = "fast",
    max_rows: Annotated[
        int, typer.Option(min=10, help="number of normal rows to draw; all anomalies are used")
    ] = 20_000,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="seed of all random choices")] = 0,
    quiet: Quiet = False,
) -> None:
    """Compare methods on your own labelled table by cross-validation, and write a page about it.

    The page is written again after each method, so that the run may be stopped at any time.
    Methods whose packages are not installed are named on the page.
    """
    names = split_names(method)
    require_known(names, detector_names(), "method")
    import_tensorflow_quietly()
    from r2ad2.bulk.rejects import RejectsFile, check_on_error
    from r2ad2.bulk.training_rows import read_training_rows
    from r2ad2.detectors.registry import detectors
    from r2ad2.experiments.cross_validation import cross_validate, write_comparison
    from r2ad2.support.files import make_folder
    from r2ad2.tables.source import TableSource

    make_folder(output)  # fail now, not after the work
    source = reading.applied_to(TableSource(label, tuple(anomaly or ()), tuple(normal or ())))
    aside = RejectsFile(None)
    rows = read_training_rows(
        table,
        source,
        missing="indicator",
        skip=check_on_error(on_error, None, table),
        rejects=aside,
        max_normal=max_rows,
        seed=seed,
    )
    read = [*aside.notes, *rows.notes]
    notes = [*read, *(f"{name}: {c.kind}" for name, c in rows.schema.columns.items())]
    if rows.n_normal < rows.n_seen:
        notes.append(
            f"{rows.n_normal:,} of {rows.n_seen:,} normal rows were drawn (--max-rows): AP is "
            "higher than on the whole table, where anomalies are rarer"
        )
    console = make_console()
    if not quiet:
        for text in read:
            console.print(text, soft_wrap=True)

    def show(result: CrossValidation, name: str) -> None:
        write_comparison(result, table.name, output, notes)
        if not quiet:
            console.print(_line(result, name), soft_wrap=True)

    available = detectors()
    result = cross_validate(
        rows,
        {name: available[name] for name in names or _quick_first(available)},
        n_folds=folds,
        seed=seed,
        budget=budget,
        report=show,
    )
    if result.summary().empty:
        failed = result.rows.dropna(subset="error").drop_duplicates("method")
        reasons = "; ".join(f"{row.method}: {row.error}" for row in failed.itertuples())
        raise ValueError(f"no method has succeeded: {reasons}")
    if not quiet:
        console.print(_table(result))
        console.print(f"page in {output / 'compare.html'}", soft_wrap=True)


def _quick_first(available: dict[str, type]) -> list[str]:
    """List the methods in the order of running them: those with epochs are the slow ones."""
    return sorted(available, key=lambda name: "epochs" in available[name]().get_params(deep=False))


def _line(result: CrossValidation, name: str) -> str:
    rows = result.rows[result.rows["method"] == name]
    error = rows["error"].dropna()
    if len(error):
        return f"{name}: {error.iloc[0]}"
    seconds = rows["fit_seconds"].median()
    return (
        f"{name}: AP {rows['AP'].mean():.3f}, AUC {rows['AUC'].mean():.3f}, "
        f"trained in {seconds:.1f} s"
    )


def _table(result: CrossValidation) -> Table:
    table = Table("method", "AP", "AUC", "AP compared with the best", "training, s")
    for row in result.summary().to_dict("records"):
        table.add_row(
            row["method"],
            f"{row['AP']:.3f} ± {row['AP_std']:.3f}",
            f"{row['AUC']:.3f} ± {row['AUC_std']:.3f}",
            row["difference"],
            f"{row['fit_seconds']:.1f}",
        )
    return table
