"""The commands `r2ad2 data list | check | fetch`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from r2ad2.cli.options import DataFolder
from r2ad2.support.messages import count, require_known
from r2ad2.support.screen import make_console

if TYPE_CHECKING:
    from r2ad2.datasets import DatasetCard

app = typer.Typer(
    rich_markup_mode="markdown",
    help="Data sets: list them, check their files, download them.",
    no_args_is_help=True,
)


def _chosen_cards(names: list[str] | None) -> list[DatasetCard]:
    """Return the cards of the named data sets, of all without names."""
    from r2ad2.datasets.catalogue import dataset_cards

    cards = dataset_cards()
    require_known(names or [], cards, "data set")
    return [cards[name] for name in names or cards]


def _count(n: int | None) -> str:
    return "-" if n is None else f"{n:,}"


@app.command("list")
def list_(
    data_dir: DataFolder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print all that is known of the data sets as JSON")
    ] = False,
) -> None:
    """List the data sets, and whether their files are available."""
    from r2ad2.datasets.check import availability, check_files, is_available
    from r2ad2.datasets.files import data_folder

    folder = data_folder(data_dir)
    cards = _chosen_cards(None)
    states = [availability(check_files(c, folder / c.name, verify=False)) for c in cards]
    if as_json:
        entries = [
            dataclasses.asdict(card)
            | {"state": state, "is_available": is_available(card, folder / card.name)}
            for card, state in zip(cards, states, strict=True)
        ]
        typer.echo(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    table = Table("name", "files", "rows", "normal", "anomalous", "licence", title=str(folder))
    for card, state in zip(cards, states, strict=True):
        table.add_row(
            card.name,
            state,
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

    The exit code is 2 if a file is not as published, or if a file of a named data set is missing.
    """
    from r2ad2.datasets.check import availability, check_files
    from r2ad2.datasets.files import data_folder

    folder = data_folder(data_dir)
    table = Table("name", "file", "state", "remark", title=str(folder))
    failures, readable = [], []
    for card in _chosen_cards(names):
        reports = check_files(card, folder / card.name)
        if not reports:
            table.add_row(card.name, "-", "ok", "part of an installed package", end_section=True)
        for i, report in enumerate(reports):
            is_repeated = i and report.note == reports[i - 1].note
            table.add_row(
                card.name if not i else "",
                report.name,
                report.state,
                "" if is_repeated else report.note,
                end_section=report is reports[-1],
            )
        wrong = [r for r in reports if r.state == "differs" or (names and not r.is_usable)]
        if wrong:
            others = f" and {len(wrong) - 1} more" if wrong[1:] else ""
            failures.append(f"{card.name} ({wrong[0].name}{others})")
        if availability(reports) != "missing":
            readable.append(card.name)
    console = make_console()
    console.print(table)
    if read:
        console.print(_counts(readable, data_dir, failures))
    if failures:
        raise ValueError(f"files are missing or not as published: {', '.join(failures)}")


def _counts(names: list[str], data_dir: Path | None, failures: list[str]) -> Table:
    """Read data sets and compare rows and classes with the published counts.

    Args:
        names: the data sets.
        data_dir: folder of all data sets.
        failures: list to which data sets that cannot be read are added.
    """
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
    quiet: Annotated[bool, typer.Option("--quiet", help="print only errors")] = False,
) -> None:
    """Download data sets that have a public source; interrupted downloads resume."""
    from r2ad2.datasets.adbench import FOLDER, fetch_adbench
    from r2ad2.datasets.catalogue import dataset_cards
    from r2ad2.datasets.fetch import fetch_dataset
    from r2ad2.datasets.files import data_folder

    cards, verbose = dataset_cards(), 0 if quiet else 1
    require_known(names, [*cards, FOLDER], "data set")
    for name in names:
        folder = data_folder(data_dir) / name
        if name == FOLDER:  # a folder of sets without cards
            fetched = fetch_adbench(data_dir, verbose)
        else:
            fetched = fetch_dataset(cards[name], folder, verbose)
        if not quiet:
            done = f"downloaded {count(len(fetched), 'file')} to" if fetched else "complete in"
            make_console().print(f"{name}: {done} {folder}", soft_wrap=True)
