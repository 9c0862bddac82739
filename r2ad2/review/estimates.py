"""What labels and p-values say about the rows that nobody has looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import betabinom

_LEVEL = 0.9
_MIN_P_VALUE = 0.01


@dataclass(frozen=True)
class AnomaliesLeft:
    """Anomalies among the rows that have not been reviewed.

    Attributes:
        p_value: only rows with a p-value up to this one are counted.
        n_rows: number of these rows that have not been reviewed.
        estimate: expected number of anomalies among them.
        low: lower end of the 90 % interval.
        high: its upper end.
    """

    p_value: float
    n_rows: int
    estimate: int
    low: int
    high: int


def anomalies_left(
    p_values: np.ndarray,
    held_back: np.ndarray,
    is_reviewed: np.ndarray,
    n_normal: int,
    n_anomalies: int,
    p_value: float,
) -> AnomaliesLeft | None:
    """Estimate how many anomalies are left among the rows with the lowest p-values.

    Rows with a p-value up to t = k / (c + 1), given c held-back normal rows, are those above the
    k-th highest held-back score. A normal row is above it with a probability that has the
    distribution Beta(k, c + 1 - k), so that the number of such rows is beta-binomial. What goes
    beyond that number are anomalies. If held-back rows have equal scores, so that only j < k - 1
    of them are above the k-th, the probability lies between Beta(j, c + 1 - j) and
    Beta(j + 1, c - j).

    Reviewed rows were selected, and retraining changes their p-values; any number of the reviewed
    normal rows may have belonged to those up to t, which widens the interval.

    Args:
        p_values: (n,) conformal p-values of all rows.
        held_back: (c,) scores of held-back normal rows, ascending.
        is_reviewed: (n,) whether a row is labelled normal or anomaly.
        n_normal: reviewed rows that are normal.
        n_anomalies: reviewed rows that are anomalies.
        p_value: counts rows up to this p-value t; raised to at least 0.01 and 1 / (c + 1).

    Returns:
        The estimate; None if too few rows were held back.
    """
    t = max(p_value, _MIN_P_VALUE)
    c = len(held_back)
    k = max(math.floor(t * (c + 1) + 1e-9), 1)
    if c < 1 or k > c // 2:
        return None
    t = k / (c + 1)
    above = int((held_back > held_back[-k]).sum())
    left = int(((p_values <= t + 1e-9) & ~is_reviewed).sum())
    most = len(p_values) - n_anomalies  # if no further row is an anomaly
    fewest = max(most - left, 0)  # if all rows counted here are
    tail = (1 - _LEVEL) / 2
    highest = int(betabinom.ppf(1 - tail, most, above + 1, c - above))
    lowest = 0
    with_ties = above if above < k - 1 else k
    if with_ties:
        lowest = int(betabinom.ppf(tail, fewest, with_ties, c + 1 - with_ties))
    # The reviewed normal rows came from the top of the queue: count them as if up to t.
    expected = max((above + 1) / (c + 1) * most - n_normal, 0.0)
    lowest = max(lowest - n_normal, 0)

    def clip(number: float) -> int:
        return int(min(max(round(number), 0), left))

    return AnomaliesLeft(t, left, clip(left - expected), clip(left - highest), clip(left - lowest))
