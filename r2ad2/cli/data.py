"""The commands `r2ad2 data list | check | fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from r2ad2.cli.options import DataFolder
from r2ad2.support.messages import require_known
from r2ad2.support.screen import make_console

app = typer.Typer(
    help="Data sets: which there are, whether their files are right, how to get them.",
    no_args_is_help=True,
)


def _chosen(names: list[str] | None) -> list[str]:
    from r2ad2.datasets import dataset_names

    require_known(names or [], dataset_names(), "data set")
    return names or dataset_names()


def _count(n: int | None) -> str:
    return "-" if n is None else f"{n:,}"


@app.command("list")
def list_(data_dir: DataFolder = None) -> None:
    """List the data sets, and whether their files are there."""
    from r2ad2.datasets.cards import read_cards
    from r2ad2.datasets.check import availability, check_files
    from r2ad2.datasets.readers import data_folder

    folder = data_folder(data_dir)
    table = Table("name", "files", "rows", "normal", "anomalous", "licence", title=str(folder))
    for name in _chosen(None):
        card = read_cards()[name]
        table.add_row(
            name,
            availability(check_files(card, folder / name, verify=False)),
            _count(card.rows),
            ", ".join(card.normal),
            ", ".join(card.anomalous),
            card.licence,
        )
    make_console().print(table)


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="data sets [default: all]")] = None,
    data_dir: DataFolder = None,
    read: Annotated[
        bool, typer.Option("--read", help="also read the sets and count rows and classes")
    ] = False,
) -> None:
    """Compare the files with the published checksums; say what is missing and where to get it.

    The exit code is 2 if a file is not as published, or, of the data sets named, one is missing.
    """
    from r2ad2.datasets.cards import read_cards
    from r2ad2.datasets.check import availability, check_files
    from r2ad2.datasets.readers import data_folder

    folder = data_folder(data_dir)
    table = Table("name", "file", "state", "remark", title=str(folder))
    failures, readable = [], []
    for name in _chosen(names):
        reports = check_files(read_cards()[name], folder / name)
        if not reports:
            table.add_row(name, "-", "ok", "part of an installed package", end_section=True)
        for i, report in enumerate(reports):
            repeated = i and report.note == reports[i - 1].note
            table.add_row(
                name if not i else "",
                report.name,
                report.state,
                "" if repeated else report.note,
                end_section=report is reports[-1],
            )
        wrong = [r for r in reports if r.state == "differs" or (names and not r.is_usable)]
        if wrong:
            others = f" and {len(wrong) - 1} more" if wrong[1:] else ""
            failures.append(f"{name} ({wrong[0].name}{others})")
        if availability(reports) != "missing":
            readable.append(name)
    console = make_console()
    console.print(table)
    if read:
        console.print(_counts(readable, data_dir, failures))
    if failures:
        raise ValueError(f"files are missing or not as published: {', '.join(failures)}")


def _counts(names: list[str], data_dir: Path | None, failures: list[str]) -> Table:
    """Read data sets, compare rows and classes with the published counts; note what fails."""
    from r2ad2.datasets import load_dataset

    table = Table("name", "class", "read", "published", "remark", title="samples per class")
    for name in names:
        try:
            dataset = load_dataset(name, data_dir)
        except (ValueError, OSError) as error:
            table.add_row(name, "", "", "", str(error), end_section=True)
            failures.append(f"{name} (cannot be read)")
            continue
        published = dataset.card.class_counts
        whole = "whole" if dataset.is_whole else "not the whole data set"
        dropped = f", {dataset.n_dropped:,} incomplete rows dropped" if dataset.n_dropped else ""
        shape = " x ".join(map(str, dataset.x.shape[1:]))
        table.add_row(
            name, "all", _count(len(dataset.x)), _count(dataset.card.rows), whole + dropped
        )
        for class_name in sorted({*published, *dataset.class_counts}):
            n = dataset.class_counts.get(class_name, 0)
            table.add_row("", class_name, _count(n), _count(published.get(class_name)), "")
        table.add_row("", "features", shape, "", "", end_section=True)
    return table


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="data sets to download")],
    data_dir: DataFolder = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="print nothing but errors")] = False,
) -> None:
    """Download data sets that have a public source; an interrupted download is taken up again."""
    from r2ad2.datasets.cards import read_cards
    from r2ad2.datasets.fetch import fetch_dataset
    from r2ad2.datasets.readers import data_folder

    for name in _chosen(names):
        folder = data_folder(data_dir) / name
        fetched = fetch_dataset(read_cards()[name], folder, verbose=0 if quiet else 1)
        if not quiet:
            done = f"{len(fetched)} files downloaded to" if fetched else "everything is there in"
            make_console().print(f"{name}: {done} {folder}", soft_wrap=True)
