"""The command line, `r2ad2 COMMAND`: one function per command."""

from __future__ import annotations

import shlex
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from r2ad2.cli.compare import compare
from r2ad2.cli.data import app as data_app
from r2ad2.cli.experiment import experiment, report
from r2ad2.cli.inspect import inspect
from r2ad2.cli.monitor import calibrate, monitor
from r2ad2.cli.options import (
    Anomalous,
    ModelOption,
    Normal,
    OnError,
    Quiet,
    Reading,
    Rejects,
    Settings,
    TableArgument,
    parse_settings,
    reads_table,
)
from r2ad2.cli.review import review
from r2ad2.support.extras import MissingExtraError
from r2ad2.support.screen import import_tensorflow_quietly, make_console

app = typer.Typer(
    rich_markup_mode="markdown",
    help="Semi-supervised anomaly detection by gradients of autoencoders: gradient forest, R2-AD2.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data_app, name="data")
app.command(context_settings={"allow_extra_args": True})(experiment)
app.command()(report)
app.command()(compare)
app.command()(inspect)
app.command()(review)
app.command()(monitor)
app.command()(calibrate)

Ids = Annotated[
    list[str] | None, typer.Option("--id", help="column to copy to the output (repeatable)")
]


def _import_package() -> Any:
    """Import the package only when a command needs it, so that --help and usage errors are fast."""
    import_tensorflow_quietly()
    import r2ad2

    return r2ad2


def _make_detector(preset: str, settings: dict[str, Any], seed: int, quiet: bool) -> Any:
    fixed = {"random_state": seed, "verbose": 0 if quiet else 1}
    _import_package()
    from r2ad2.detectors.presets import make_preset

    return make_preset(preset, **(fixed | settings))


def _show(quiet: bool, *lines: Any) -> None:
    if not quiet:
        console = make_console()
        for line in lines:
            console.print(line, soft_wrap=isinstance(line, str))


def _aside(n_rejected: int) -> str:
    return f", set {n_rejected:,} malformed rows aside" if n_rejected else ""


def _show_figures(quiet: bool, title: str, figures: dict[str, Any]) -> None:
    table = Table("figure", "value")
    for name, value in figures.items():
        text = f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
        table.add_row(name.replace("_", " "), text)
    _show(quiet, title, table)


@app.command()
@reads_table
def fit(
    train: TableArgument,
    output: Annotated[Path, typer.Option(help="model file to write (.keras)")],
    label: Annotated[
        str | None,
        typer.Option(help="name of the label column [default: none, no anomaly is known]"),
    ] = None,
    anomaly: Anomalous = None,
    normal: Normal = None,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    rejects: Rejects = None,
    preset: Annotated[str, typer.Option(help="forest, or R2-AD2: fast or paper")] = "forest",
    set_: Settings = None,
    seed: Annotated[int, typer.Option(help="seed of all random choices")] = 0,
    checkpoint_dir: Annotated[
        Path | None,
        typer.Option(help="keep the training state here: after a crash the same command resumes"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a detector on a table of mostly normal rows and, if you have them, known anomalies.

    Labels are 0 and 1 (known anomaly), or name those of anomalies with --anomaly, or of normal rows
    with --normal.

    Columns may hold numbers, booleans, text (categories) and dates; the type of each follows from
    all its values and is printed at the end.
    """
    _import_package()
    from r2ad2.bulk.fit import fit_file
    from r2ad2.tables.source import TableSource

    source = TableSource(label or "", tuple(anomaly or ()), tuple(normal or ()))
    source = reading.applied_to(source)
    checkpoints = {"checkpoint_dir": checkpoint_dir} if checkpoint_dir else {}
    detector = _make_detector(preset, checkpoints | parse_settings(set_), seed, quiet)
    report = fit_file(detector, train, output, source=source, on_error=on_error, rejects=rejects)
    _show(
        quiet,
        *report.notes,
        *(f"{name}: {kind}" for name, kind in report.columns.items()),
        f"trained on {report.n_normal:,} normal rows and {report.n_known:,} known anomalies in "
        f"{report.seconds:.0f} s{_aside(report.n_rejected)}, model in {output}",
    )


@app.command()
@reads_table
def score(
    table: TableArgument,
    model: ModelOption,
    output: Annotated[Path, typer.Option(help="file to write (.csv, .csv.gz or .parquet)")],
    id_: Ids = None,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    rejects: Rejects = None,
    quiet: Quiet = False,
) -> None:
    """Score the rows of a table of any size in bounded memory.

    The output has one line per row in the same order: its number (from 0), its ids, its score in
    [0, 1], whether it is flagged as an anomaly, and its p-value compared with the normal rows held
    back in training, if any. The label and dropped columns of the training table may be present.
    After an interruption the same command resumes.
    """
    detector = _import_package().load(model)
    from r2ad2.bulk.score import score_file
    from r2ad2.bulk.training_table import training_source

    report = score_file(
        detector,
        table,
        output,
        source=reading.applied_to(training_source(detector)),
        ids=id_ or (),
        on_error=on_error,
        rejects=rejects,
        verbose=0 if quiet else 1,
    )
    resumed = f" ({report.n_resumed:,} of them earlier)" if report.n_resumed else ""
    _show(
        quiet,
        *report.notes,
        f"scored {report.n_rows:,} rows{resumed}, flagged {report.n_flagged:,}"
        f"{_aside(report.n_rejected)}, scores in "
        f"{output}",
    )


@app.command()
@reads_table
def evaluate(
    test: TableArgument,
    model: ModelOption,
    label: Annotated[str, typer.Option(help="name of the label column")],
    anomaly: Anomalous = None,
    normal: Normal = None,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    rejects: Rejects = None,
    plots: Annotated[Path | None, typer.Option(help="folder for plots")] = None,
    quiet: Quiet = False,
) -> None:
    """Compare a model's scores with labels: AUC, AP, figures at the threshold, plots.

    Label values mean what they meant in training, unless --anomaly or --normal say otherwise.
    """
    detector = _import_package().load(model)
    from r2ad2.bulk.evaluate import evaluate_file
    from r2ad2.bulk.training_table import training_source

    report = evaluate_file(
        detector,
        test,
        label=label,
        anomalous=anomaly or (),
        normal=normal or (),
        source=reading.applied_to(training_source(detector)),
        on_error=on_error,
        rejects=rejects,
        plots=plots,
        verbose=0 if quiet else 1,
    )
    _show(quiet, *report.notes)
    _show_figures(
        quiet,
        f"{test}, scored in {report.seconds:.1f} s{_aside(report.n_rejected)}",
        report.figures,
    )
    if plots is not None:
        _show(quiet, f"plots in {plots}")


@app.command()
@reads_table
def explain(
    table: TableArgument,
    model: ModelOption,
    output: Annotated[Path, typer.Option(help="file to write (.csv, .csv.gz or .parquet)")],
    id_: Ids = None,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    rejects: Rejects = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="number of rows to explain, highest scores first"),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="folder for a plot of each explained row; with --top")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Explain which columns make rows anomalous, by attributing their scores.

    The output has one line per row: its number (from 0), its ids, its score, whether it is flagged
    as an anomaly, and the attributions to each column (feature:NAME) and, for detectors that have
    them, to kinds of trees (arm:NAME), snapshots and layers. Each of these groups sums to the score
    minus that of a typical normal row.
    """
    if plots is not None and top is None:
        raise ValueError("--plots needs --top, the number of rows to plot")
    detector = _import_package().load(model)
    detector.verbose = 0 if quiet or top is None else 1
    from r2ad2.bulk.explain import explain_file
    from r2ad2.bulk.training_table import training_source

    report = explain_file(
        detector,
        table,
        output,
        source=reading.applied_to(training_source(detector)),
        ids=id_ or (),
        top=top,
        on_error=on_error,
        rejects=rejects,
        plots=plots,
        verbose=0 if quiet else 1,
    )
    _show(
        quiet,
        *report.notes,
        f"explained {report.n_rows:,} rows{_aside(report.n_rejected)}, attributions in {output}",
    )


@app.command()
def export(
    model: ModelOption,
    output: Annotated[
        Path,
        typer.Option(help='new folder, a version number: "serving/1"; or a file: "model.onnx"'),
    ],
    quiet: Quiet = False,
) -> None:
    """Write a SavedModel for TensorFlow Serving, or an ONNX file for any ONNX runtime.

    A SavedModel needs only TensorFlow; in a folder whose name is not a number, the next free
    version is written. A name that ends in .onnx makes an ONNX file.
    """
    written = _import_package().load(model).export(output)
    _show(quiet, f"exported to {written}")


@app.command()
def benchmark(
    name: Annotated[str, typer.Argument(help="gradients, training, scoring, serving or load")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="option name=value (repeatable)")
    ] = None,
    jax: Annotated[
        bool, typer.Option("--jax", help="also compare gradients with JAX, where installed")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="JSON file to write")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure speed and memory on this machine, compared with references."""
    _import_package()
    from r2ad2.benchmark import run_benchmark
    from r2ad2.cli.benchmark import format_figure, table_of, write_json

    options = parse_settings(set_) | ({"jax": True} if jax else {})
    result = run_benchmark(name, **options)
    if output is not None:
        write_json(result, output)
    machine = ", ".join(
        f"{key.replace('_', ' ')} {format_figure(key, value)}"
        for key, value in result["machine"].items()
    )
    _show(quiet, f"machine: {machine}", table_of(result))


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="folder for model and plots")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="seed of all random choices")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train on the digits that come with scikit-learn and show how well it works."""
    _import_package()
    from r2ad2.cli.demo import run_demo

    result = run_demo(output, seed=seed, verbose=0 if quiet else 1)
    program = "r2ad2" if shutil.which("r2ad2") else sys.argv[0]
    command = shlex.join([program, *result.review])
    _show_figures(quiet, "digits: 0-3 are normal, 4-9 anomalous (held-out images)", result.figures)
    _show(
        quiet,
        f"AUC {result.figures['AUC']:.3f}, AP {result.figures['AP']:.3f} on held-out images; "
        f"trained and scored in {result.seconds:.0f} s",
        f"model: {result.model}",
        *(f"plot:  {path}" for path in result.plots),
        f"review tumours on a page, label them, and have a model learn from it:\n  {command}",
    )


def main() -> None:
    """Run the command line: exit code 0, or 2 with one line on standard error."""
    warnings.filterwarnings("ignore", module="keras|tensorflow")
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # Usage errors already carry a user-facing message, as do this package's and the system's.
        usage = getattr(error, "format_message", None)
        if usage is None and not isinstance(error, (ValueError, OSError, MissingExtraError)):
            raise
        message = usage() if usage else str(error)
        if not message:  # without a command, the help was shown
            sys.exit(2)
        sys.stderr.write(f"Error: {' '.join(message.split())}\n")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
