"""The report on a folder of results: tables and figures as files, and one page with everything."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from r2ad2.experiments.comparison import METRICS, Ranking, compare_orders, grid, rank, summarise
from r2ad2.experiments.figures import plot_costs, plot_levels, plot_ranks, to_svg
from r2ad2.experiments.protocols import EXPERIMENTS
from r2ad2.experiments.published import SOURCE, published_figures
from r2ad2.experiments.results import read_results
from r2ad2.experiments.tables import ResultTable, make_tables
from r2ad2.support.files import write_text
from r2ad2.support.pages import data_url, environment

_SETTINGS = ["budget", "max_rows", "overrides"]
PAGE = "report.html"
_REFERENCES = ("GradientForest", "R2AD2")


@dataclass(frozen=True)
class Picture:
    """A figure as SVG.

    Attributes:
        name: name of its file.
        title: what it shows.
        svg: the figure.
    """

    name: str
    title: str
    svg: str

    @property
    def url(self) -> str:
        """The figure as a data URL, which needs no file."""
        return data_url(self.svg, "image/svg+xml")


@dataclass(frozen=True)
class Section:
    """The part of the report on one experiment.

    Attributes:
        experiment: its name.
        title: its title.
        tables: one per metric.
        pictures: curves and ranks.
        rankings: ranks of the methods, by metric.
        orders: comparisons with the published order of methods, by metric.
        costs: time and memory by data set and method.
    """

    experiment: str
    title: str
    tables: list[ResultTable]
    pictures: list[Picture]
    rankings: dict[str, Ranking]
    orders: dict[str, pd.DataFrame]
    costs: pd.DataFrame


@dataclass(frozen=True)
class Chapter:
    """The results of one budget; results of different budgets are never mixed.

    Attributes:
        name: name of its folder.
        title: the budget in words.
        sections: one per experiment.
        failures: runs with errors.
        versions: versions of packages that the results were made with, by package.
    """

    name: str
    title: str
    sections: list[Section]
    failures: pd.DataFrame
    versions: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_mixed(self) -> bool:
        """Whether the results come from several versions."""
        return any(len(found) > 1 for found in self.versions.values())


def write_report(
    results: str | os.PathLike,
    output: str | os.PathLike | None = None,
    reference: str | None = None,
) -> Path:
    """Write tables (Markdown, LaTeX, CSV), figures (SVG) and one page (HTML) with everything.

    Args:
        results: folder of the results, see `ResultStore`, or its results.csv.
        output: folder to write; by default "report" in the folder of the results. It gets one
            sub-folder per budget.
        reference: method that the others are compared with; None means the recommended one,
            "R2AD2" or the first, whichever has results.

    Returns:
        The page.

    Raises:
        FileNotFoundError: if there are no results.
        ValueError: for a broken result, or if the reference has none.
    """
    rows = read_results(results)
    methods = sorted(rows["method"].unique())
    if reference is None:
        reference = next((name for name in _REFERENCES if name in methods), methods[0])
    if reference not in methods:
        raise ValueError(
            f"there are no results of {reference!r} to compare with: choose one of "
            f"{', '.join(methods)}"
        )
    if output is None:
        output = (Path(results).parent if Path(results).is_file() else Path(results)) / "report"
    folder = Path(output)
    chapters = [_make_chapter(part, reference) for _, part in rows.groupby(_SETTINGS, dropna=False)]
    for chapter in chapters:
        for section in chapter.sections:
            _write_files(section, folder / chapter.name)
    return write_text(folder / PAGE, _render(chapters, rows, reference))


def _make_chapter(rows: pd.DataFrame, reference: str) -> Chapter:
    first = rows.iloc[0]
    done = rows[rows["error"].isna()]
    failures = rows[rows["error"].notna()]
    versions = {
        name.removeprefix("version_"): sorted(rows[name].dropna().unique())
        for name in rows.columns.astype(str)
        if name.startswith("version_")
    }
    return Chapter(
        _folder_name(first),
        _describe(first),
        [
            _make_section(part, name, reference)
            for name in EXPERIMENTS
            if len(part := done[done["experiment"] == name])
        ],
        failures[["experiment", "dataset", "level", "method", "seed", "error"]],
        versions,
    )


def _folder_name(row: pd.Series) -> str:
    limit = "" if pd.isna(row["max_rows"]) else f"_{row['max_rows']:g}_rows"
    overrides = "" if row["overrides"] == "{}" else f"_{row['overrides']}"
    return "".join(c if c.isalnum() else "_" for c in f"{row['budget']}{limit}{overrides}").strip(
        "_"
    )


def _describe(row: pd.Series) -> str:
    budget = str(row["budget"])
    parts = [f"budget of {budget} s per training" if budget[0].isdigit() else f"{budget} budget"]
    if pd.notna(row["max_rows"]):
        parts.append(f"up to {row['max_rows']:,.0f} normal training samples")
    if row["overrides"] != "{}":
        settings = json.loads(row["overrides"]).items()
        parts.append(", ".join(f"{name}={value}" for name, value in settings))
    return ", ".join(parts)


def _make_section(rows: pd.DataFrame, experiment: str, reference: str) -> Section:
    protocol = EXPERIMENTS[experiment]
    pictures, rankings, orders = [], {}, {}
    name = protocol.file_name
    if protocol.varies is not None:
        title = f"{protocol.source}: {protocol.title}"
        figure = plot_levels(rows, experiment, reference)
        pictures.append(Picture(name, title, to_svg(figure)))
    else:
        summary = summarise(rows)
        published = published_figures(experiment)
        for metric in METRICS:
            values = grid(summary, metric)
            ranking = rank(values.dropna())
            if ranking is not None:
                rankings[metric] = ranking
                title = f"Average ranks of the methods by {metric}"
                picture = to_svg(plot_ranks(ranking))
                pictures.append(Picture(f"{name}_ranks_{metric.lower()}", title, picture))
            orders[metric] = compare_orders(values, grid(published, metric))
        costs = plot_costs(rows)
        if costs is not None:
            title = "Average precision and time of training"
            pictures.append(Picture(f"{name}_costs", title, to_svg(costs)))
    tables = make_tables(rows, experiment, reference)
    title = f"{protocol.title} ({protocol.source})"
    return Section(experiment, title, tables, pictures, rankings, orders, _costs(rows))


def _costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute median time and memory per data set and method."""
    n_test = rows["n_test_normal"] + rows["n_test_anomalies"]
    figures = rows.assign(
        microseconds_per_row=rows["score_seconds"] / n_test * 1e6,
        peak_megabytes=rows["peak_memory_bytes"].astype(float) / 2**20,
    )
    columns = ["fit_seconds", "microseconds_per_row", "peak_megabytes"]
    return figures.groupby(["dataset", "method"])[columns].median().reset_index()


def _write_files(section: Section, folder: Path) -> None:
    for table in section.tables:
        write_text(folder / f"{table.name}.md", table.to_markdown())
        write_text(folder / f"{table.name}.tex", table.to_latex())
        write_text(folder / f"{table.name}.csv", table.to_frame().to_csv(index=False))
    for picture in section.pictures:
        write_text(folder / f"{picture.name}.svg", picture.svg)


def _render(chapters: list[Chapter], rows: pd.DataFrame, reference: str) -> str:
    context: dict[str, Any] = {
        "chapters": chapters,
        "n_runs": len(rows),
        "n_failures": int(rows["error"].notna().sum()),
        "first": rows["finished"].min()[:10],
        "last": rows["finished"].max()[:10],
        "reference": reference,
        "source": SOURCE,
        "all_rows": rows.drop(columns=["traceback"]),
    }
    return environment("r2ad2.experiments").get_template("report.html").render(context)
