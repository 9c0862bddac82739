"""Comparing methods over data sets and seeds: means, ranks and significance tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from r2ad2.detectors.presets import PRESETS
from r2ad2.detectors.registry import detectors

METRICS = ("AUC", "AP")
_DIGITS = 3  # smaller differences count as none
CASE = ["experiment", "dataset", "level", "method"]  # what the seeds repeat


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the seeds.

    Args:
        rows: results without errors, see `ResultStore.read`.

    Returns:
        One row per experiment, dataset, level and method: means and standard deviations (of the
        population of seeds, missing for a single one) of AUC and AP, and `n_seeds`.
    """
    groups = rows.groupby(CASE, dropna=False, sort=True)
    summary = pd.DataFrame({"n_seeds": groups["seed"].nunique()})
    for metric in METRICS:
        summary[metric] = groups[metric].mean()
        summary[f"{metric}_std"] = groups[metric].std(ddof=0).where(summary["n_seeds"] > 1)
    return summary.reset_index()


def grid(summary: pd.DataFrame, metric: str, index: str = "dataset") -> pd.DataFrame:
    """Lay out a metric with one row per data set (or level) and one column per method."""
    return summary.pivot_table(metric, index, "method", aggfunc="mean", sort=False)


def by_task(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Lay out a metric with one row per task (experiment, dataset, level), one column per method.

    Args:
        summary: see `summarise`.
        metric: one of its columns.
    """
    # pivot_table would drop the rows whose level is missing.
    values = summary.set_index(CASE)[metric]
    return values.unstack("method").astype(float)  # noqa: PD010


def comparable(values: pd.DataFrame) -> pd.DataFrame:
    """Choose methods and rows that can be compared: a table without gaps.

    Only rows with figures of at least two methods count. The method with the fewest of them is
    left out, then the next, until those that remain share at least two thirds of the rows. One
    method with few results thus does not reduce the comparison of all others to these.

    Args:
        values: one row per data set or task, one column per method; NaN where there is no result.

    Returns:
        The chosen rows and columns, in their order. It is empty if no two methods share a row. A
        single method has nothing to be compared with; all its rows are returned.
    """
    values = values.dropna(axis=1, how="all")
    if values.shape[1] < 2:
        return values.dropna()
    while values.shape[1] > 1:
        shared = values[values.notna().sum(axis=1) > 1]
        complete = shared.dropna()
        if len(complete) and 3 * len(complete) >= 2 * len(shared):
            return complete
        counts = shared.notna().sum()
        # Of those with equally few, the last by name.
        fewest = max(counts.index[counts == counts.min()])
        values = values.drop(columns=fewest)
    return values.iloc[:0]


def complete_datasets(summary: pd.DataFrame, metric: str) -> list[str]:
    """Name the data sets that have all levels of all methods; means over others would mislead.

    Args:
        summary: see `summarise`.
        metric: one of its columns.
    """
    cases = summary.pivot_table(metric, "dataset", ["level", "method"])
    return cases.dropna().index.tolist()


def average_ranks(values: pd.DataFrame) -> pd.Series:
    """Average the methods' ranks over the rows, ascending; the best has the lowest.

    Args:
        values: complete table with one row per data set or task, one column per method.
    """
    ranks = values.round(_DIGITS).rank(axis=1, ascending=False)
    return ranks.mean().sort_values(kind="stable")


def default_reference(methods: Sequence[str]) -> str:
    """Choose the method of the first preset that has results; the first method otherwise."""
    names = {kind: name for name, kind in detectors().items()}
    preferred = [names[kind] for kind, _ in PRESETS.values() if kind in names]
    return next((name for name in preferred if name in methods), methods[0])


def microseconds_per_row(rows: pd.DataFrame) -> pd.Series:
    """Compute how long scoring a test row took."""
    n_test = rows["n_test_normal"] + rows["n_test_anomalies"]
    return rows["score_seconds"] / n_test * 1e6


def order_of(methods: Sequence[str], reference: str) -> list[str]:
    """Sort methods: the reference first, the others by name."""
    return sorted(methods, key=lambda name: (name != reference, name.lower()))


def is_best(values: pd.Series) -> pd.Series:
    """Find the greatest values, to three digits."""
    rounded = values.round(_DIGITS)
    return rounded == rounded.max()


def wilcoxon_p(values: pd.DataFrame, reference: str) -> dict[str, float]:
    """Test whether methods differ from the reference: Wilcoxon's signed ranks, two-sided.

    Args:
        values: complete table with one row per data set and one column per method.
        reference: one of the methods.

    Returns:
        p-value of each other method; NaN where all differences are zero or there is one row only.
    """
    result = {}
    for method in values.columns.drop(reference):
        difference = (values[reference] - values[method]).round(_DIGITS)
        testable = len(values) > 1 and difference.any()
        result[method] = float(stats.wilcoxon(difference).pvalue) if testable else math.nan
    return result


@dataclass(frozen=True)
class Ranking:
    """Average ranks of methods over data sets; the best has the lowest.

    Attributes:
        ranks: average rank by method, ascending.
        critical_difference: ranks closer than this do not differ significantly (Nemenyi, 5 %).
        friedman_p: p-value of the hypothesis that all methods are equal; NaN if all figures are.
        n_datasets: number of data sets.

    Source: Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006).
    """

    ranks: pd.Series
    critical_difference: float
    friedman_p: float
    n_datasets: int

    @property
    def groups(self) -> list[list[str]]:
        """The largest groups of methods that do not differ significantly, best ranks first."""
        found: list[list[str]] = []
        for first in self.ranks.index:
            start = self.ranks[first]
            members = self.ranks[
                (self.ranks >= start) & (self.ranks < start + self.critical_difference)
            ].index.tolist()
            if len(members) > 1 and not any(set(members) <= set(group) for group in found):
                found.append(members)
        return found


def rank(values: pd.DataFrame) -> Ranking | None:
    """Rank methods on each data set; None for fewer than three methods or two data sets.

    Args:
        values: complete table with one row per data set and one column per method.
    """
    n_datasets, n_methods = values.shape
    if n_datasets < 2 or n_methods < 3:
        return None
    rounded = values.round(_DIGITS)
    ranks = average_ranks(values)
    quantile = stats.studentized_range.ppf(0.95, n_methods, np.inf) / math.sqrt(2)
    difference = quantile * math.sqrt(n_methods * (n_methods + 1) / (6 * n_datasets))
    differs = bool((rounded.max(axis=1) > rounded.min(axis=1)).any())
    friedman = stats.friedmanchisquare(*(rounded[name] for name in rounded)) if differs else None
    p = math.nan if friedman is None else float(friedman.pvalue)
    return Ranking(ranks, float(difference), p, n_datasets)


def compare_orders(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Compare the methods' order on each data set with the published one.

    Args:
        ours: one row per data set, one column per method.
        published: the same; only data sets and methods present in both are compared.

    Returns:
        One row per data set: the orders as text, best first ("=" between ties); whether the best
        methods are the same (`same_best`); Kendall's rank correlation tau in [-1, 1], NaN if one
        of the orders is one big tie.
    """
    methods = ours.columns.intersection(published.columns)
    rows = []
    for dataset in ours.index.intersection(published.index):
        # The published figures have two digits; comparing more of ours would rank noise.
        pair = pd.DataFrame(
            {"ours": ours.loc[dataset, methods], "published": published.loc[dataset, methods]}
        )
        pair = pair.dropna().round(2)
        if len(pair) > 1:
            best = {side: set(pair.index[is_best(pair[side])]) for side in pair}
            rows.append(
                {
                    "dataset": dataset,
                    "ours": _in_order(pair["ours"]),
                    "published": _in_order(pair["published"]),
                    "same_best": bool(best["ours"] & best["published"]),
                    "tau": float(stats.kendalltau(pair["ours"], pair["published"]).statistic),
                }
            )
    return pd.DataFrame(rows, columns=["dataset", "ours", "published", "same_best", "tau"])


def _in_order(values: pd.Series) -> str:
    ordered = values.sort_values(ascending=False, kind="stable")
    text = ""
    for i, (name, value) in enumerate(ordered.items()):
        separator = "" if i == 0 else " = " if value == ordered.iloc[i - 1] else " > "
        text += f"{separator}{name}"
    return text
