"""The paper's tables with our figures, each next to the published one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from r2ad2.experiments.comparison import (
    METRICS,
    complete_datasets,
    grid,
    is_best,
    order_of,
    summarise,
    wilcoxon_p,
)
from r2ad2.experiments.protocols import EXPERIMENTS, Protocol
from r2ad2.experiments.published import published_figures

_ABSENT = "-"


@dataclass(frozen=True)
class Cell:
    """One figure and the published one; missing values are NaN.

    Attributes:
        mean: of the seeds, or of the data sets' means.
        std: standard deviation over the seeds.
        published: the paper's figure.
        published_std: its standard deviation.
        is_best: whether no other method in the row is better.
    """

    mean: float
    std: float = math.nan
    published: float = math.nan
    published_std: float = math.nan
    is_best: bool = False

    @property
    def text(self) -> str:
        """Our figure, to three digits."""
        return _figure(self.mean, self.std, 3)

    @property
    def published_text(self) -> str:
        """The published figure, to two digits as in the paper; empty if there is none."""
        return "" if math.isnan(self.published) else _figure(self.published, self.published_std, 2)


def _figure(mean: float, std: float, digits: int) -> str:
    if math.isnan(mean):
        return _ABSENT
    return f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


@dataclass(frozen=True)
class ResultTable:
    """A metric of several methods over data sets, or over what an experiment varies.

    Attributes:
        name: name of its files.
        title: what it shows and where that is in the paper.
        head: heading of the first column, which has the row labels.
        methods: columns.
        rows: cells by row label.
        mean: cells of the mean over the complete rows; empty if there are none.
        p_values: Wilcoxon's p-values against the reference, by method; empty if there is none.
        reference: the method that the others are tested against.
        notes: what a reader needs to know.
    """

    name: str
    title: str
    head: str
    methods: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    mean: Sequence[Cell] = ()
    p_values: Mapping[str, float] = field(default_factory=dict)
    reference: str = ""
    notes: Sequence[str] = ()

    def p_text(self, method: str) -> str:
        """The p-value of a method, empty for the reference."""
        value = self.p_values.get(method, math.nan)
        return (
            ("" if method == self.reference else _ABSENT) if math.isnan(value) else f"{value:.3f}"
        )

    @property
    def p_label(self) -> str:
        """Heading of the row of p-values."""
        return f"p (Wilcoxon, {self.reference})"

    def to_markdown(self) -> str:
        """Write the table as Markdown: our figures, with the published ones in brackets."""

        def cell(cell: Cell) -> str:
            ours = f"**{cell.text}**" if cell.is_best else cell.text
            return f"{ours} ({cell.published_text})" if cell.published_text else ours

        lines = [
            f"### {self.title}",
            "",
            _markdown_row([self.head, *self.methods]),
            _markdown_row(["---"] * (len(self.methods) + 1)),
            *(_markdown_row([label, *map(cell, cells)]) for label, cells in self.rows.items()),
        ]
        if self.mean:
            lines.append(_markdown_row(["mean", *map(cell, self.mean)]))
        if self.p_values:
            lines.append(_markdown_row([self.p_label, *map(self.p_text, self.methods)]))
        lines += ["", *(f"{note}  " for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"

    def to_latex(self) -> str:
        """Write the table as LaTeX for the package booktabs."""

        def cell(cell: Cell) -> str:
            ours = f"\\textbf{{{_latex(cell.text)}}}" if cell.is_best else _latex(cell.text)
            published = cell.published_text
            return f"{ours} \\scriptsize({_latex(published)})" if published else ours

        lines = [
            "\\begin{table}",
            f"\\caption{{{_latex(' '.join([self.title + '.', *self.notes]))}}}",
            f"\\begin{{tabular}}{{l{'r' * len(self.methods)}}}",
            "\\toprule",
            _latex_row([self.head, *self.methods], _latex),
            "\\midrule",
            *(_latex_row([_latex(label), *map(cell, row)]) for label, row in self.rows.items()),
        ]
        if self.mean or self.p_values:
            lines.append("\\midrule")
        if self.mean:
            lines.append(_latex_row(["mean", *map(cell, self.mean)]))
        if self.p_values:
            lines.append(_latex_row([self.p_label, *map(self.p_text, self.methods)], _latex))
        lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
        return "\n".join(lines) + "\n"

    def to_frame(self) -> pd.DataFrame:
        """Return the cells as a tidy table."""
        labelled = [*self.rows.items(), *([("mean", self.mean)] if self.mean else [])]
        return pd.DataFrame(
            {
                self.head: label,
                "method": method,
                "mean": cell.mean,
                "std": cell.std,
                "published": cell.published,
                "published_std": cell.published_std,
                "p": self.p_values.get(method, math.nan) if label == "mean" else math.nan,
            }
            for label, cells in labelled
            for method, cell in zip(self.methods, cells, strict=True)
        )


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_row(cells: Sequence[str], escape: Callable[[str], str] = str) -> str:
    return " & ".join(map(escape, cells)) + " \\\\"


def _latex(text: str) -> str:
    for character in "\\&%$#_{}":
        text = text.replace(character, f"\\{character}" if character != "\\" else "/")
    return text.replace("±", "$\\pm$").replace("†", "$\\dagger$")


def make_tables(rows: pd.DataFrame, experiment: str, reference: str) -> list[ResultTable]:
    """Make the tables of an experiment, one per metric.

    Args:
        rows: its results without errors, all of one budget.
        experiment: one of `EXPERIMENTS`.
        reference: method that the others are tested against.
    """
    protocol, summary = EXPERIMENTS[experiment], summarise(rows)
    make = _by_dataset if protocol.varies is None else _by_level
    return [make(rows, summary, protocol, metric, reference) for metric in METRICS]


def _cells(
    ours: pd.Series, ours_std: pd.Series, published: pd.Series, published_std: pd.Series
) -> list[Cell]:
    best = is_best(ours)
    return [
        Cell(
            float(ours[name]),
            float(ours_std.get(name, math.nan)),
            float(published.get(name, math.nan)),
            float(published_std.get(name, math.nan)),
            bool(best[name]) and len(ours) > 1,
        )
        for name in ours.index
    ]


def _by_dataset(
    rows: pd.DataFrame, summary: pd.DataFrame, protocol: Protocol, metric: str, reference: str
) -> ResultTable:
    """Make a table like the paper's 3 and 4: data sets by methods."""
    known = published_figures(protocol.name)
    methods = order_of(summary["method"].unique().tolist(), reference)
    datasets = grid(summary, metric).index
    (ours, ours_std), (published, published_std) = (
        [grid(of, name).reindex(index=datasets, columns=methods) for name in _pair(metric)]
        for of in (summary, known)
    )
    complete = ours.dropna()
    both = complete.index.intersection(published.dropna(how="all").index)
    nothing = pd.Series(dtype=float)
    mean = []
    if len(complete) > 1:
        of_published = published.loc[both].mean() if len(both) == len(complete) else nothing
        mean = _cells(complete.mean(), nothing, of_published, nothing)
    testable = len(complete) > 1 and reference in methods
    return ResultTable(
        f"{protocol.file_name}_{metric.lower()}",
        f"{protocol.source}, {protocol.title}: {metric}",
        "data set",
        methods,
        {
            _label(dataset, rows): _cells(
                ours.loc[dataset],
                ours_std.loc[dataset],
                published.loc[dataset],
                published_std.loc[dataset],
            )
            for dataset in ours.index
        },
        mean,
        wilcoxon_p(complete, reference) if testable else {},
        reference,
        [*_seed_notes(rows), *_mean_notes(ours, complete), *_data_notes(rows)],
    )


def _by_level(
    rows: pd.DataFrame, summary: pd.DataFrame, protocol: Protocol, metric: str, reference: str
) -> ResultTable:
    """Make a table of what the experiment varies, over the mean of the data sets."""
    # Only data sets with all levels of all methods count: other means are not comparable.
    names = complete_datasets(summary, metric) or sorted(summary["dataset"].unique())
    ours = grid(summary[summary["dataset"].isin(names)], metric, "level").sort_index()
    known = published_figures(protocol.name)
    overall = known[known["dataset"] == "mean"]
    # Means over the same data sets, if there are figures of each.
    same = known[known["dataset"].isin(names)]
    is_same = same["dataset"].nunique() == len(names)
    published = grid(same if is_same else overall, metric, "level")
    methods = order_of(ours.columns.tolist(), reference)
    methods += order_of(published.columns.difference(methods).tolist(), reference)
    ours = ours.reindex(columns=methods)
    nothing = pd.Series(dtype=float)
    notes = [f"Mean over {', '.join(names)}.", *_seed_notes(rows), *_data_notes(rows)]
    if len(published) and not is_same:
        notes.append("The published figures are means over the paper's ten data sets.")
    return ResultTable(
        f"{protocol.file_name}_{metric.lower()}",
        f"{protocol.source}, {protocol.title}: {metric}",
        protocol.varies or "",
        methods,
        {
            f"{level:g}": _cells(
                ours.loc[level, methods],
                nothing,
                published.loc[level] if level in published.index else nothing,
                nothing,
            )
            for level in ours.index
        },
        notes=notes,
    )


def _pair(metric: str) -> tuple[str, str]:
    return metric, f"{metric}_std"


def _label(dataset: str, rows: pd.DataFrame) -> str:
    whole = rows.loc[rows["dataset"] == dataset, "whole"].all()
    return dataset if whole else f"{dataset} †"


def _seed_notes(rows: pd.DataFrame) -> list[str]:
    seeds = sorted(rows["seed"].unique())
    listed = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        return [f"One seed: {listed}."]
    counts = rows.groupby(["dataset", "level", "method"], dropna=False)["seed"].nunique()
    notes = [f"Mean ± standard deviation of {len(seeds)} seeds: {listed}."]
    if counts.min() < len(seeds):
        notes.append(f"Some cells have fewer seeds, but at least {counts.min()}.")
    return notes


def _mean_notes(ours: pd.DataFrame, complete: pd.DataFrame) -> list[str]:
    if len(complete) == len(ours) or len(complete) < 2:
        return []
    left_out = ", ".join(ours.index.difference(complete.index))
    return [f"Mean and p-values leave out {left_out}: not all methods have results there."]


def _data_notes(rows: pd.DataFrame) -> list[str]:
    notes = []
    if not rows["whole"].all():
        notes.append("† a sample of the published rows.")
    n_known = rows["n_known_anomalies"]
    fewer = (n_known < 100) & (n_known != rows["level"])
    few = rows[fewer].groupby("dataset")["n_known_anomalies"].max()
    if len(few):
        listed = ", ".join(f"{name} ({n:g})" for name, n in few.items())
        notes.append(f"Fewer than 100 known anomalies, because the data set has no more: {listed}.")
    return notes
