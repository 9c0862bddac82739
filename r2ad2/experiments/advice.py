"""Which method was best with how many labels and training rows, from the results themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from r2ad2.experiments.comparison import (
    average_ranks,
    by_task,
    comparable,
    summarise,
    wilcoxon_p,
)
from r2ad2.experiments.protocols import EXPERIMENTS

_SIGNIFICANCE = 0.05
_TASK = ["experiment", "dataset", "level"]
# Names of the bins, and the greatest number in each of them.
LABEL_BINS = {"0": 0.0, "1-5": 5.0, "6-20": 20.0, "21-50": 50.0, ">50": math.inf}
ROW_BINS = {"<1,000": 999.0, "1,000-5,000": 5000.0, ">5,000": math.inf}


@dataclass(frozen=True)
class Choice:
    """The best method where there are this many known anomalies and training rows.

    Attributes:
        labels: number of known anomalies, one of `LABEL_BINS`.
        rows: number of normal training rows, one of `ROW_BINS`.
        ranking: average ranks over the tasks by average precision, best first, by method.
        precision: mean average precision over the tasks, by method.
        n_tasks: number of tasks (experiment, data set and level) that all these methods share.
        n_datasets: number of data sets of the tasks.
        p: Wilcoxon's p-value of the best method against the second, over the data sets' means;
            NaN if it cannot be tested.
    """

    labels: str
    rows: str
    ranking: pd.Series
    precision: pd.Series
    n_tasks: int
    n_datasets: int
    p: float

    @property
    def best(self) -> str:
        """The method with the lowest average rank."""
        return str(self.ranking.index[0])

    @property
    def second(self) -> str:
        """The runner-up."""
        return str(self.ranking.index[1])

    @property
    def margin(self) -> float:
        """How far the best method's mean average precision is above that of the second."""
        return float(self.precision[self.best] - self.precision[self.second])

    @property
    def is_significant(self) -> bool:
        """Whether the best method differs significantly from the second (5 %)."""
        return self.p <= _SIGNIFICANCE


def choose_methods(rows: pd.DataFrame) -> list[Choice]:
    """Choose the best method for each number of known anomalies and of training rows.

    Methods are compared on tasks that all of them have results for, see `comparable`; a task is
    an experiment, data set and level. Experiments that change settings of the methods themselves
    are left out. The test takes one value per data set, since tasks on the same data set are not
    independent.

    Args:
        rows: results without errors, all of one budget.

    Returns:
        One choice per bin that has results of at least two methods; few labels come first.
    """
    usable = [name for name, protocol in EXPERIMENTS.items() if protocol.needs is None]
    rows = rows[rows["experiment"].isin(usable)]
    if rows.empty:
        return []
    # Seeds may differ by a row or two.
    sizes = rows.groupby(_TASK, dropna=False)[["n_known_anomalies", "n_train_normal"]].median()
    values = by_task(summarise(rows), "AP")
    sizes = sizes.reindex(values.index)
    labels = _bin(sizes["n_known_anomalies"], LABEL_BINS)
    training = _bin(sizes["n_train_normal"], ROW_BINS)
    found = []
    for few in LABEL_BINS:
        for small in ROW_BINS:
            cell = comparable(values[(labels == few) & (training == small)])
            if len(cell) and cell.shape[1] > 1:
                found.append(_choose(few, small, cell))
    return found


def _bin(numbers: pd.Series, bins: dict[str, float]) -> np.ndarray:
    """Return the name of the bin of each number."""
    indices = np.searchsorted(list(bins.values()), np.floor(numbers.astype(float)), side="left")
    return np.array(list(bins))[indices]


def _choose(labels: str, rows: str, values: pd.DataFrame) -> Choice:
    precision = values.mean()
    ranks = average_ranks(values)
    # Equal ranks are ordered by precision, then by name.
    order = sorted(ranks.index, key=lambda name: (ranks[name], -precision[name], name))
    of_datasets = values.groupby(level="dataset").mean()
    p = wilcoxon_p(of_datasets[order[:2]], order[0])[order[1]]
    return Choice(labels, rows, ranks[order], precision, len(values), len(of_datasets), p)


def advice_table(choices: Sequence[Choice]) -> pd.DataFrame:
    """List choices as a tidy table, one row each."""
    return pd.DataFrame(
        {
            "known_anomalies": choice.labels,
            "training_rows": choice.rows,
            "best": choice.best,
            "rank": choice.ranking[choice.best],
            "AP": choice.precision[choice.best],
            "runner_up": choice.second,
            "runner_up_rank": choice.ranking[choice.second],
            "runner_up_AP": choice.precision[choice.second],
            "margin": choice.margin,
            "p": choice.p,
            "significant": choice.is_significant,
            "n_tasks": choice.n_tasks,
            "n_datasets": choice.n_datasets,
            "methods": " ".join(sorted(choice.ranking.index)),
        }
        for choice in choices
    )
