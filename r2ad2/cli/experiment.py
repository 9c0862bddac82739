"""The commands `r2ad2 experiment` and `r2ad2 report`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from r2ad2.cli.options import DataFolder, Quiet, Settings, parse_settings
from r2ad2.detectors.registry import detector_names
from r2ad2.support.messages import require_known
from r2ad2.support.screen import import_tensorflow_quietly, make_console


def experiment(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="known, unknown, pollution, anomalies or ablation")],
    output: Annotated[Path, typer.Option(help="folder of the results; finished runs are kept")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="data sets, as listed by r2ad2 data list [default: those of the publication that "
            "are available]"
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=f"methods: {', '.join(detector_names())} [default: the publication's six]"
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="one run per seed")] = "110,210,310,410,510",
    levels: Annotated[
        str | None,
        typer.Option(
            help="shares of pollution, numbers of anomalies or of snapshots, separated by commas "
            "[default: the publication's]"
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="fast, paper, or approximate SECONDS per training")
    ] = "fast",
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="maximum number of normal training samples")
    ] = None,
    set_: Settings = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="simultaneous tasks, each one data set, seed and level; -1: one per core "
            "[default: 1]"
        ),
    ] = None,
    data_dir: DataFolder = None,
    quiet: Quiet = False,
) -> None:
    """Run one of the publication's experiments; after an interruption, the same command resumes.

    Several data sets or methods: `--data mnist url`, `--data mnist,url` or repeated `--data`. A
    run that fails is recorded with its error and retried by the next call.
    """
    import_tensorflow_quietly()
    from r2ad2.datasets import dataset_names
    from r2ad2.detectors.registry import detectors
    from r2ad2.experiments import EXPERIMENTS, Budget, ResultStore, plan_runs, run_experiment
    from r2ad2.experiments.published import read_published
    from r2ad2.support.progress import TrainingProgress

    require_known([name], EXPERIMENTS, "experiment")
    methods = detectors()
    datasets, chosen = _separate(data, method, context.args, dataset_names(), methods)
    published = [method for method in methods if method in set(read_published()["method"])]
    runs = plan_runs(
        name,
        _available(datasets, data_dir, EXPERIMENTS[name]),
        {name: methods[name] for name in chosen or published},
        _numbers(seeds, int, "--seeds"),
        _numbers(levels, float, "--levels") if levels else None,
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


def _describe(run: Any, row: dict[str, Any]) -> str:
    level = "" if run.level is None else f", {run.level:g}"
    outcome = row["error"] or (
        f"AUC {row['AUC']:.3f}, AP {row['AP']:.3f}, trained in {row['fit_seconds']:.0f} s"
    )
    return f"{run.experiment}{level}: {run.dataset}, {run.method}, seed {run.seed}: {outcome}"


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
    chosen_data = [name for names in data or () for name in names.split(",")]
    chosen_methods = [name for names in method or () for name in names.split(",")]
    for name in others:
        (chosen_methods if name in methods else chosen_data).append(name)
    require_known(chosen_data, datasets, "data set")
    require_known(chosen_methods, methods, "method")
    return list(dict.fromkeys(chosen_data)), list(dict.fromkeys(chosen_methods))


def _available(names: list[str], data_dir: Path | None, protocol: Any) -> list[str]:
    """Check that data sets are available; without names, choose all that can take part."""
    from r2ad2.datasets.catalogue import dataset_cards
    from r2ad2.datasets.check import is_available
    from r2ad2.datasets.files import data_folder, missing_files

    folder, cards = data_folder(data_dir), dataset_cards()
    available = [name for name, card in cards.items() if is_available(card, folder / name)]
    for name in names:
        if name not in available:
            raise missing_files(cards[name], folder / name, *cards[name].files)
    suited = [name for name in available if protocol.suits(cards[name])]
    return names or [name for name in suited if cards[name].files] or suited


def report(
    results: Annotated[
        Path, typer.Argument(help="folder written by r2ad2 experiment, or its results.csv")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="folder to write to [default: report inside the results folder]"),
    ] = None,
    reference: Annotated[str, typer.Option(help="method to compare the others with")] = "R2AD2",
    quiet: Quiet = False,
) -> None:
    """Write the publication's tables and figures with these results next to the published ones.

    Tables are written in Markdown, LaTeX and CSV, figures in SVG, and everything as one page,
    report.html.
    """
    import_tensorflow_quietly()
    from r2ad2.experiments.report import write_report

    page = write_report(results, output, reference)
    if not quiet:
        make_console().print(f"report in {page}", soft_wrap=True)
