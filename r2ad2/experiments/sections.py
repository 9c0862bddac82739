"""The parts of a report: what each experiment and budget has to show."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import pandas as pd

from r2ad2.experiments.advice import Choice, advice_table, choose_methods
from r2ad2.experiments.comparison import (
    METRICS,
    average_ranks,
    by_task,
    comparable,
    compare_orders,
    grid,
    microseconds_per_row,
    rank,
    summarise,
)
from r2ad2.experiments.figures import (
    plot_choices,
    plot_costs,
    plot_levels,
    plot_ranks,
    to_svg,
)
from r2ad2.experiments.protocols import EXPERIMENTS, Protocol
from r2ad2.experiments.published import published_figures
from r2ad2.experiments.tables import ResultTable, make_tables
from r2ad2.support.messages import count
from r2ad2.support.pages import data_url


@dataclass(frozen=True)
class Picture:
    """A figure as SVG.

    Attributes:
        name: name of its file.
        title: what it shows.
        svg: the figure.
        note: how to read it.
    """

    name: str
    title: str
    svg: str
    note: str = ""

    @property
    def url(self) -> str:
        """The figure as a data URL, which needs no file."""
        return data_url(self.svg, "image/svg+xml")


@dataclass(frozen=True)
class Standing:
    """The methods of an experiment at one look.

    Attributes:
        methods: one row per method, best first: method, AUC, AP (means over the compared tasks),
            rank (average, by AP), n_tasks (with results). All but the last are NaN for methods
            that have too few tasks to be compared.
        note: what the figures are over.
    """

    methods: pd.DataFrame
    note: str


@dataclass(frozen=True)
class Section:
    """The results of one experiment with one budget.

    Attributes:
        experiment: its name.
        title: its title.
        n_runs: number of runs, with those that failed.
        standing: the methods at one look.
        tables: one per metric.
        pictures: curves and ranks.
        orders: comparisons with the published order of methods, by metric.
        costs: time and memory by data set and method.
        failures: runs with errors.
    """

    experiment: str
    title: str
    n_runs: int
    standing: Standing
    tables: list[ResultTable]
    pictures: list[Picture]
    orders: dict[str, pd.DataFrame]
    costs: pd.DataFrame
    failures: pd.DataFrame

    @property
    def varies(self) -> str | None:
        """What the experiment varies."""
        return EXPERIMENTS[self.experiment].varies

    @property
    def has_published(self) -> bool:
        """Whether published figures are shown."""
        cells = (cell for table in self.tables for row in table.rows.values() for cell in row)
        return any(cell.published_text for cell in cells)


@dataclass(frozen=True)
class Chapter:
    """The results of one budget; results of different budgets are never mixed.

    Attributes:
        name: name of its folder.
        title: the budget in words.
        sections: one per experiment.
        choices: the best methods by number of known anomalies and of training rows.
        map: the same as a picture; None if there is too little to compare.
        versions: versions of packages that the results were made with, by package.
    """

    name: str
    title: str
    sections: list[Section]
    choices: list[Choice]
    map: Picture | None
    versions: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_mixed(self) -> bool:
        """Whether the results come from several versions."""
        return any(len(found) > 1 for found in self.versions.values())

    def section(self, experiment: str) -> Section | None:
        """Return the section on an experiment, if there is one."""
        return next((one for one in self.sections if one.experiment == experiment), None)

    def files(self) -> dict[str, str]:
        """Return the contents of the chapter's files, by name."""
        found = {}
        for section in self.sections:
            for table in section.tables:
                found[f"{table.name}.md"] = table.to_markdown()
                found[f"{table.name}.tex"] = table.to_latex()
                found[f"{table.name}.csv"] = table.to_frame().to_csv(index=False)
            found |= {f"{picture.name}.svg": picture.svg for picture in section.pictures}
        if self.map is not None:
            found[f"{self.map.name}.svg"] = self.map.svg
            found[f"{self.map.name}.csv"] = advice_table(self.choices).to_csv(index=False)
        return found


def make_chapter(rows: pd.DataFrame, reference: str) -> Chapter:
    """Make the tables and figures of one budget.

    Args:
        rows: results of one budget, with those that failed.
        reference: method that the others are compared with.
    """
    first = rows.iloc[0]
    versions = {
        name.removeprefix("version_"): sorted(rows[name].dropna().unique())
        for name in rows.columns.astype(str)
        if name.startswith("version_")
    }
    choices = choose_methods(rows[rows["error"].isna()])
    figure = plot_choices(choices)
    return Chapter(
        _folder_name(first),
        _describe(first),
        [
            _make_section(part, name, reference)
            for name in EXPERIMENTS
            if len(part := rows[rows["experiment"] == name])
        ],
        choices,
        None
        if figure is None
        else Picture("choice", "Which method for how many labels and rows?", to_svg(figure)),
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
    done = rows[rows["error"].isna()]
    failures = rows[rows["error"].notna()]
    summary = summarise(done)
    is_ranked = len(done) > 0 and protocol.varies is None
    return Section(
        experiment,
        f"{protocol.title} ({protocol.source})",
        len(rows),
        _standing(summary, protocol),
        make_tables(done, experiment, reference) if len(done) else [],
        _pictures(done, summary, protocol, reference) if len(done) else [],
        _orders(summary, experiment) if is_ranked else {},
        _costs(done),
        failures[["dataset", "level", "method", "seed", "error"]],
    )


def _standing(summary: pd.DataFrame, protocol: Protocol) -> Standing:
    values = {metric: by_task(summary, metric) for metric in METRICS}
    compared = comparable(values["AP"])
    is_comparison = compared.shape[1] > 1
    means = {metric: values[metric].loc[compared.index].mean() for metric in METRICS}
    methods = pd.DataFrame({"n_tasks": values["AP"].notna().sum()})
    for metric in METRICS:
        methods[metric] = means[metric][compared.columns]
    methods["rank"] = average_ranks(compared) if is_comparison else float("nan")
    methods = methods.rename_axis("method").reset_index()
    methods = methods.sort_values(["rank", "AP", "method"], ascending=[True, False, True])
    n = len(compared)
    tasks = count(n, "data set")
    if protocol.varies is not None:
        tasks = f"{count(n, 'task')} (data sets and {protocol.varies})"
    note = f"Means over {tasks}"
    note += " that all ranked methods share." if is_comparison else "."
    if compared.empty:
        note = "No two methods share a task."
    left_out = sorted(set(methods["method"]) - set(compared.columns))
    if left_out and len(compared):
        note += f" Too few of these tasks to be ranked: {', '.join(left_out)}."
    return Standing(methods[["method", *METRICS, "rank", "n_tasks"]], note)


def _pictures(
    rows: pd.DataFrame, summary: pd.DataFrame, protocol: Protocol, reference: str
) -> list[Picture]:
    name, found = protocol.file_name, []
    if protocol.varies is not None:
        title = f"{protocol.source}: {protocol.title}"
        figure = plot_levels(rows, protocol.name, reference)
        found.append(Picture(name, title, to_svg(figure)))
    else:
        found += [
            picture for metric in METRICS if (picture := _rank_picture(summary, metric, name))
        ]
    # Times of one method with different settings say nothing about methods.
    costs = plot_costs(rows) if protocol.needs is None else None
    if costs is not None:
        title = "Average precision and time of training"
        found.append(Picture(f"{name}_costs", title, to_svg(costs)))
    return found


def _rank_picture(summary: pd.DataFrame, metric: str, name: str) -> Picture | None:
    values = grid(summary, metric)
    compared = comparable(values)
    ranking = rank(compared)
    if ranking is None:
        return None
    p = ranking.friedman_p
    friedman = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    note = (
        f"{metric} over {count(ranking.n_datasets, 'data set')}: Friedman test, "
        f"{'undefined since all figures are equal' if math.isnan(p) else friedman}. "
        "Bars join methods whose average ranks differ by less than Nemenyi's critical difference "
        f"of {ranking.critical_difference:.2f} (5 %)."
    )
    left_out = values.columns.difference(compared.columns)
    if len(left_out):
        note += f" Too few data sets to be ranked: {', '.join(left_out)}."
    return Picture(
        f"{name}_ranks_{metric.lower()}",
        f"Average ranks of the methods by {metric}",
        to_svg(plot_ranks(ranking)),
        note,
    )


def _orders(summary: pd.DataFrame, experiment: str) -> dict[str, pd.DataFrame]:
    published = published_figures(experiment)
    return {
        metric: compare_orders(grid(summary, metric), grid(published, metric)) for metric in METRICS
    }


def _costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute median time and memory per data set and method."""
    figures = rows.assign(
        microseconds_per_row=microseconds_per_row(rows),
        peak_megabytes=rows["peak_memory_bytes"].astype(float) / 2**20,
    )
    columns = ["fit_seconds", "microseconds_per_row", "peak_megabytes"]
    return figures.groupby(["dataset", "method"])[columns].median().reset_index()
