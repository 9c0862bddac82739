"""Views of results for pages: Markdown tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from r2ad2.experiments.comparison import (
    METRICS,
    by_task,
    compare_orders,
    default_reference,
    grid,
    microseconds_per_row,
    order_of,
    rank,
    summarise,
    wilcoxon_p,
)
from r2ad2.experiments.published import published_figures
from r2ad2.experiments.tables import make_tables
from r2ad2.support.messages import require_known

_ABSENT = "-"

# Takes results without errors, and what the page says about the view.
View = Callable[[pd.DataFrame, Mapping[str, str]], str]


def _overview(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Compare methods over all tasks that they share; `published` adds published methods."""
    rows = _with_published(rows, options.get("published", ""))
    tasks = _tasks(rows)
    n_tasks = len(tasks["AP"])
    methods = tasks["AP"].mean().sort_values(ascending=False).index
    reference = default_reference(list(methods))
    ranks = {m: rank(tasks[m]) for m in METRICS}
    seconds = rows.groupby("method")["fit_seconds"].median()
    p = {m: wilcoxon_p(tasks[m], reference) for m in METRICS}
    lines = []
    for name in methods:
        cells = [f"{_short(tasks[m][name].mean())}" for m in METRICS]
        cells += [_ABSENT if r is None else f"{r.ranks[name]:.1f}" for r in ranks.values()]
        cells += ["" if name == reference else _p_text(p[m][name]) for m in METRICS]
        time = seconds[name]
        lines.append([name, *cells, _ABSENT if math.isnan(time) else f"{_rounded(time)} s"])
    head = ["method", *METRICS, *(f"rank by {m}" for m in METRICS), *(f"p, {m}" for m in METRICS)]
    table = _markdown([*head, "training"], lines)
    return f"{table}\n\n{n_tasks} tasks; p: Wilcoxon's signed ranks against the first method."


def _with_published(rows: pd.DataFrame, methods: str) -> pd.DataFrame:
    parts = [rows]
    for experiment in rows["experiment"].unique() if methods else ():
        published = published_figures(experiment)
        chosen = published[published["method"].isin(methods.split(","))]
        parts.append(chosen.assign(method=chosen["method"] + ", published", seed=0))
    return pd.concat(parts, ignore_index=True)


def _by_task(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Show AUC and AP of each task, with the means over complete tasks."""
    names = _ordered(rows)
    wanted = options.get("methods", "").split(",")
    methods = [name for name in wanted if name in names] or names
    tasks = {m: _grid_of_tasks(rows, m)[methods] for m in METRICS}
    labels = [str(task) for task in tasks["AP"].index]
    figures = [tasks[m].to_numpy(float) for m in METRICS]
    best = np.nanmax(figures[1].round(3), axis=1)
    lines = [
        [label, *(_bold(_both(*pair), round(pair[1], 3) == highest) for pair in pairs)]
        for label, highest, *found in zip(labels, best, *figures, strict=True)
        if (pairs := list(zip(*found, strict=True)))
    ]
    means = [tasks[m].dropna().mean() for m in METRICS]
    label = f"mean of {len(tasks['AP'].dropna())}"
    lines.append([label, *(_both(*pair) for pair in zip(*means, strict=True))])
    return _markdown(["task", *methods], lines)


def _losses(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """List tasks in which other methods are ahead of the recommended one by AP."""
    ap = _grid_of_tasks(rows, "AP")
    reference = default_reference(list(ap.columns))
    margin = float(options.get("margin", "0.005"))
    lines = []
    for task in ap.index:
        values = ap.loc[task]
        ahead = values[values > values[reference] + margin].sort_values(ascending=False)
        if len(ahead):
            names = ", ".join(f"{name} {_short(ahead[name])}" for name in ahead.index)
            lines.append([str(task), _short(values[reference]), names])
    if not lines:
        return f"None, by more than {margin} AP."
    return _markdown(["task", f"{reference}, AP", "ahead of it"], lines)


def _table(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Show the paper's table of one experiment and metric, with the published figures."""
    (experiment,) = rows["experiment"].unique()
    reference = options.get("reference") or _ordered(rows)[0]
    metric, found = _metric(options), make_tables(rows, experiment, reference)
    return "\n\n".join(table.to_markdown() for table in found if table.title.endswith(metric))


def _ranks(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Name average ranks and Nemenyi's critical difference."""
    metric = _metric(options)
    ranking = rank(_tasks(rows)[metric])
    if ranking is None:
        raise ValueError("ranks need at least three methods and two tasks")
    ranks = ", ".join(f"{name} {value:.2f}" for name, value in ranking.ranks.items())
    return (
        f"Average ranks by {metric}: {ranks} (critical difference "
        f"{ranking.critical_difference:.2f}, Friedman p = {ranking.friedman_p:.2g}, "
        f"{ranking.n_datasets} tasks)."
    )


def _orders(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Compare the order of the paper's methods with the published one."""
    (experiment,) = rows["experiment"].unique()
    orders = compare_orders(
        grid(summarise(rows), "AUC"), grid(published_figures(experiment), "AUC")
    )
    lines = [
        [str(dataset), str(ours), str(theirs), "yes" if same else "no", f"{tau:.2f}"]
        for dataset, ours, theirs, same, tau in orders.to_numpy()
    ]
    return _markdown(["data set", "ours", "published", "same best", "τ"], lines)


def _levels(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Show AP by data set and method, against what the experiment varies."""
    lines = []
    levels = sorted(rows["level"].unique())
    for dataset, part in rows.groupby("dataset"):
        means = part.pivot_table("AP", "method", "level").reindex(columns=levels)
        best = means.round(3).max()
        for name in _ordered(part):
            values = means.loc[name]
            cells = [_bold(_short(values[x]), round(values[x], 3) == best[x]) for x in levels]
            lines.append([f"{dataset}, {name}", *cells])
    return _markdown(["data set, method", *(f"{level:g}" for level in levels)], lines)


def _mean_levels(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Show mean AUC and AP over the data sets that all methods share, against the level."""
    grids = {m: rows.pivot_table(m, "dataset", ["method", "level"]).dropna() for m in METRICS}
    means = {m: found.mean() for m, found in grids.items()}
    levels = sorted(rows["level"].unique())
    lines = [
        [name, *(" / ".join(_short(means[m].get((name, x))) for m in METRICS) for x in levels)]
        for name in _ordered(rows)
    ]
    table = _markdown(["method", *(f"{level:g}" for level in levels)], lines)
    return f"{table}\n\nMean AUC / AP over {', '.join(grids['AP'].index)}."


def _published(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Compare methods with their published figures, and say whether these are reproduced.

    A figure counts as reproduced if it is at most .02, or two published standard deviations, away
    (published figures are rounded to two digits).
    """
    lines = []
    for experiment, part in rows.groupby("experiment"):
        theirs = published_figures(str(experiment)).set_index(["dataset", "method"])
        for key, found in part.groupby(["dataset", "method", "max_rows"], dropna=False):
            dataset = key[0]
            n_rows, whole = int(found["n_train_normal"].median()), bool(found["whole"].all())
            limited = bool(found["max_rows"].notna().all())
            cells, outcomes = [], []
            for m in METRICS:
                spread = theirs[f"{m}_std"].get(key[:2], math.nan)
                figure = theirs[m].get(key[:2], math.nan)
                cells.append(_compared(found[m], figure, spread))
                outcomes.append(_outcome(found[m].mean() - figure, spread))
            lines.append(
                [
                    f"{dataset}, {experiment}" + ("" if whole else " †"),
                    f"{n_rows:,}" + ("" if limited else " (all)"),
                    str(found["seed"].nunique()),
                    *cells,
                    " / ".join(outcomes) if len(set(outcomes)) > 1 else outcomes[0],
                    _rounded(found["fit_seconds"].median() / 60),
                ]
            )
    head = ["data set, anomalies", "normal rows", "seeds", *METRICS, "reproduced", "minutes"]
    return _markdown(head, lines)


def _outcome(difference: float, spread: float) -> str:
    if math.isnan(difference):
        return _ABSENT
    allowed = max(0.02, 0.0 if math.isnan(spread) else 2 * spread)
    return "yes" if abs(difference) <= allowed + 0.005 else "higher" if difference > 0 else "lower"


def _budgets(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Compare the budgets of a method on the same splits."""
    budgets = options["budget"].split(",")
    lines = []
    for key, found in rows.groupby(["dataset", "experiment", "max_rows"], dropna=False):
        parts = [found[found["budget"] == budget] for budget in budgets]
        if all(map(len, parts)):
            cells = [f"{_spread(part['AUC'])} / {_spread(part['AP'])}" for part in parts]
            times = " / ".join(f"{_rounded(part['fit_seconds'].median())} s" for part in parts)
            lines.append([f"{key[0]}, {key[1]}", *cells, times])
    head = ["data set, anomalies", *(f"{name}: AUC / AP" for name in budgets), "training"]
    return _markdown(head, lines)


def _costs(rows: pd.DataFrame, options: Mapping[str, str]) -> str:
    """Show median seconds of training and microseconds per scored row."""
    groups = rows.assign(us=microseconds_per_row(rows)).groupby(["dataset", "method"])
    medians = groups[["fit_seconds", "us"]].median()
    methods = _ordered(rows)
    lines = []
    for dataset in sorted(rows["dataset"].unique()):
        cells = [
            f"{_rounded(medians.loc[(dataset, name), 'fit_seconds'])} s / "
            f"{_rounded(medians.loc[(dataset, name), 'us'])}"
            if (dataset, name) in medians.index
            else _ABSENT
            for name in methods
        ]
        lines.append([dataset, *cells])
    return _markdown(["data set", *methods], lines)


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        "overview": _overview,
        "tasks": _by_task,
        "losses": _losses,
        "table": _table,
        "ranks": _ranks,
        "orders": _orders,
        "levels": _levels,
        "mean-levels": _mean_levels,
        "published": _published,
        "budgets": _budgets,
        "costs": _costs,
    }
)


def _metric(options: Mapping[str, str]) -> str:
    metric = options.get("metric", "")
    require_known([metric], METRICS, "metric")
    return metric


def _ordered(rows: pd.DataFrame) -> list[str]:
    """List the methods, the one that others are compared with first."""
    names = list(rows["method"].unique())
    return order_of(names, default_reference(names))


def _grid_of_tasks(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Lay out the means over seeds, with the tasks in words: one row each."""
    values = by_task(summarise(rows), metric)
    labels = [
        f"{dataset}, {experiment}" + ("" if math.isnan(level) else f", {level:g}")
        for experiment, dataset, level in values.index
    ]
    return values.set_axis(labels, axis=0)


def _tasks(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return, by metric, the tasks that all methods have results for."""
    found = {m: _grid_of_tasks(rows, m).dropna() for m in METRICS}
    if found["AP"].empty:
        raise ValueError("the methods share no task")
    return found


def _spread(values: pd.Series) -> str:
    spread = f" ± {values.std(ddof=0):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def _compared(ours: pd.Series, theirs: float, spread: float) -> str:
    if math.isnan(theirs):
        return _spread(ours)
    return f"{_spread(ours)} ({theirs:.2f}" + (")" if math.isnan(spread) else f" ± {spread:.2f})")


def _both(auc: float, ap: float) -> str:
    return _ABSENT if math.isnan(ap) else f"{_short(auc)} / {_short(ap)}"


def _short(value: float | None) -> str:
    """Write a figure to three digits, without a leading zero."""
    if value is None or pd.isna(value):
        return _ABSENT
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def _rounded(duration: float) -> str:
    return f"{duration:.2g}" if duration < 10 else f"{duration:,.0f}"


def _p_text(value: float) -> str:
    return _ABSENT if pd.isna(value) else "<.001" if value < 0.0005 else _short(value)


def _bold(text: str, yes: bool) -> str:
    return f"**{text}**" if yes and text != _ABSENT else text


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
