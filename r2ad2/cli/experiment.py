"""The commands `r2ad2 experiment` and `r2ad2 report`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from r2ad2.cli.options import DataFolder, Quiet, parse_settings, split_names
from r2ad2.detectors.registry import detector_names
from r2ad2.support.messages import require_known
from r2ad2.support.screen import import_tensorflow_quietly, make_console


def experiment(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="known, unknown, pollution, anomalies, ablation, adbench or adbench_clean"
        ),
    ],
    output: Annotated[Path, typer.Option(help="folder of the results; finished runs are kept")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="data sets, as listed by r2ad2 data list, or tables of ADBench [default: those of "
            "the paper, or of ADBench, that are available]"
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"methods: {', '.join(detector_names())} [default: those with published figures; "
            "adbench: and GradientForest]"
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="one run per seed [default: 110,210,310,410,510; adbench: 1,2,3]",
            show_default=False,
        ),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(
            help="shares of pollution, numbers of anomalies or of snapshots, separated by commas "
            "[default: the paper's]"
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="fast, paper, or approximate SECONDS per training with epochs")
    ] = "fast",
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="maximum number of normal training samples")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="setting name=value (repeatable), such as n_snapshots=2, for the methods that "
            "have it; no samples are held back for calibration",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="simultaneous tasks, each one data set and seed; -1: one per core [default: 1]"
        ),
    ] = None,
    data_dir: DataFolder = None,
    quiet: Quiet = False,
) -> None:
    """Run one of the experiments; after an interruption, the same command resumes.

    Several data sets or methods: `--data mnist url`, `--data mnist,url` or repeated `--data`. A
    run that fails is recorded with its error and retried by the next call.
    """
    import_tensorflow_quietly()
    from r2ad2.detectors.registry import detectors
    from r2ad2.experiments import EXPERIMENTS, Budget, ResultStore, plan_runs, run_experiment
    from r2ad2.support.progress import TrainingProgress

    require_known([name], EXPERIMENTS, "experiment")
    methods, protocol = detectors(), EXPERIMENTS[name]
    names = protocol.dataset_names(data_dir)
    datasets, chosen = _separate(data, method, context.args, names, methods)
    runs = plan_runs(
        name,
        protocol.choose(datasets, data_dir),
        {method: methods[method] for method in chosen or protocol.default_methods(methods)},
        None if seeds is None else _seeds(seeds),
        None if levels is None else _numbers(levels, float, "--levels"),
        budget=Budget.parse(budget).name,
        max_rows=max_rows,
        overrides=parse_settings(set_),
    )
    store = ResultStore(output)
    n_pending = len(store.unfinished(runs))
    with TrainingProgress(verbose=0 if quiet else 1) as progress:
        phase = progress.steps("experiment", n_pending, unit="run")

        def show(run: Any, row: dict[str, Any]) -> None:
            progress.note(_describe(run, row))
            phase.update(phase.done + 1)

        n_failed = run_experiment(runs, output, data_dir, jobs, show)
    table = store.write_table()
    if not quiet:
        make_console().print(
            f"{len(runs) - n_failed} of {len(runs)} runs are done, {n_failed} failed; results in "
            f"{table}, next: r2ad2 report {output}",
            soft_wrap=True,
        )
    if n_failed == len(runs):  # a script should notice, even with --quiet
        raise ValueError(
            f"no run succeeded, for reasons in the column 'error' of {table}; the same command "
            "tries again"
        )


def _describe(run: Any, row: dict[str, Any]) -> str:
    level = "" if run.level is None else f", {run.level:g}"
    outcome = row["error"] or (
        f"AUC {row['AUC']:.3f}, AP {row['AP']:.3f}, trained in {row['fit_seconds']:.0f} s"
    )
    return f"{run.experiment}{level}: {run.dataset}, {run.method}, seed {run.seed}: {outcome}"


def _seeds(text: str) -> list[int]:
    seeds = _numbers(text, int, "--seeds")
    if not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError(f"--seeds expects numbers from 0 to {2**32 - 1}, got {text!r}")
    return seeds


def _numbers(text: str, kind: type, option: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{option} expects numbers separated by commas, got {text!r}") from error


def _separate(
    data: Iterable[str] | None,
    method: Iterable[str] | None,
    others: Iterable[str],
    datasets: Iterable[str],
    methods: Iterable[str],
) -> tuple[list[str], list[str]]:
    """Separate data sets from methods: in `--data mnist url` the second name has no option."""
    chosen_data, chosen_methods = split_names(data), split_names(method)
    for name in others:
        (chosen_methods if name in methods else chosen_data).append(name)
    require_known(chosen_data, datasets, "data set")
    require_known(chosen_methods, methods, "method")
    return list(dict.fromkeys(chosen_data)), list(dict.fromkeys(chosen_methods))


def report(
    results: Annotated[
        Path, typer.Argument(help="folder written by r2ad2 experiment, or its results.csv")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="folder to write to [default: report inside the results folder]"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="method to compare the others with [default: the recommended one, another with "
            "a preset, or the first, whichever has results]"
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write the paper's tables and figures with these results next to the published ones.

    Tables are written in Markdown, LaTeX and CSV, figures in SVG, and everything as pages: an
    overview, report.html, and one per experiment.
    """
    import_tensorflow_quietly()
    from r2ad2.experiments.report import write_report

    page = write_report(results, output, reference)
    if not quiet:
        make_console().print(f"report in {page}", soft_wrap=True)
