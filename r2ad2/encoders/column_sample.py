"""A bounded random sample of a column's numbers, and what scalings learn from it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from r2ad2.encoders.base import LARGEST, TINY

_SAMPLE_ROWS = 20_000
_FAR_BELOW, _FAR_ABOVE = 1e4, 1e6  # times the spread of a column
_SPREAD_SHARES = (0.25, 0.05, 0.01)  # the quartiles, unless they are equal


class ColumnSample:
    """A bounded random sample of a column's numbers, collected chunk by chunk.

    Which rows belong to the sample depends on nothing but their numbers, so that the result is the
    same for chunks of any size.
    """

    def __init__(self) -> None:
        self._values = np.empty(0)
        self._priorities = np.empty(0, np.uint64)

    def update(self, values: np.ndarray, priorities: np.ndarray) -> None:
        """Add numbers.

        Args:
            values: (n,) numbers; NaN is left out.
            priorities: (n,) see `row_priorities`; the lowest ones stay.
        """
        wanted = ~np.isnan(values)
        if len(self._values) == _SAMPLE_ROWS:
            wanted &= priorities < self._priorities.max()
        values = np.concatenate([self._values, values[wanted]])
        priorities = np.concatenate([self._priorities, priorities[wanted]])
        if len(values) > _SAMPLE_ROWS:
            kept = np.argpartition(priorities, _SAMPLE_ROWS)[:_SAMPLE_ROWS]
            values, priorities = values[kept], priorities[kept]
        self._values, self._priorities = values, priorities

    @classmethod
    def of_columns(cls, columns: Iterable[np.ndarray], rows: np.ndarray) -> list[ColumnSample]:
        """Sample each of some columns (n,) whose rows have these numbers (n,)."""
        priorities, samples = row_priorities(rows), []
        for column in columns:
            samples.append(cls())
            samples[-1].update(column, priorities)
        return samples

    @property
    def values(self) -> np.ndarray:
        """The sampled numbers in ascending order, at most 20,000; [0] if there are none."""
        return np.sort(self._values) if len(self._values) else np.zeros(1)


def row_priorities(rows: np.ndarray) -> np.ndarray:
    """Map row numbers (n,) one to one to uint64 without a visible pattern (SplitMix64)."""
    mixed = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def center_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Compute a column's median and interquartile range.

    Where the quartiles are equal the spread is the standard deviation and, for constant columns, 1.

    Args:
        values: (n,) in ascending order.
    """
    if values[0] == values[-1]:
        return float(values[0]), 1.0
    unit = max(np.abs(values).max(), 1.0)  # so that nothing exceeds the largest double
    low, center, high = np.quantile(values / unit, [0.25, 0.5, 0.75])
    spread = high - low if high - low > TINY else np.std(values / unit)
    spread = min(spread, LARGEST / unit) * unit
    return float(center * unit), float(spread) if spread > TINY else 1.0


def limited_range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Limit a column's range to 10,000 spreads below its usual values and a million above them.

    The usual values lie between the quartiles or, where these are equal, in the inner 90 or 98
    percent; the spread is their range. Columns without a spread keep their range. The limits differ
    because single precision is finer near 0 than near 1.

    Args:
        values: sampled values (n,), ascending.
        low: minimum of the whole column.
        high: maximum of the whole column.

    Returns:
        The lower and the upper end.
    """
    for share in _SPREAD_SHARES:
        first, last = np.quantile(values, [share, 1 - share], method="nearest").tolist()
        if (spread := last - first) > TINY:
            return max(low, first - _FAR_BELOW * spread), min(high, last + _FAR_ABOVE * spread)
    return low, high
