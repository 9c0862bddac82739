"""Divides features into bins of about equal weight, as histogram gradient boosting does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# scikit-learn's histogram gradient boosting has 256 bins, of which one is for missing values.
_MAX_BINS = 255


@dataclass(frozen=True)
class Bins:
    """Bins of each feature.

    scikit-learn's boosting computes the same bins, but sorts a feature again for each of the 254
    quantiles if samples have weights: it took half of the training of a whole gradient forest.

    Attributes:
        edges: one float64 array of increasing numbers per feature: a value belongs to the first bin
            whose edge is not less, or to the last bin, which has no edge.
    """

    edges: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, features: np.ndarray, weights: np.ndarray) -> Bins:
        """Choose at most 255 bins for each feature.

        Args:
            features: (n, features) without missing values.
            weights: (n,) positive weights of the samples.
        """
        return cls(tuple(_edges(column.astype(np.float64), weights) for column in features.T))

    def numbers(self, features: np.ndarray) -> np.ndarray:
        """Return uint8 (n, features): the number of each value's bin, from 0."""
        columns = zip(self.edges, features.T, strict=True)
        return np.stack(
            [np.searchsorted(edges, column).astype(np.uint8) for edges, column in columns], axis=1
        )

    def edges_at(self, features: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return float64 (n,): the edge of bin ``numbers[i]`` of feature ``features[i]``."""
        starts = np.cumsum([0, *map(len, self.edges[:-1])])
        return np.concatenate(self.edges)[starts[features] + numbers]


def _edges(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Choose the edges of one feature: half-way between few values, else weighted quantiles.

    Where the weights of the values up to one of them add up to a quantile exactly, the edge is
    half-way to the next value: Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996),
    definition 2.
    """
    order = np.argsort(values, kind="stable")
    values, totals = values[order], np.cumsum(weights[order])
    distinct = np.unique(values)
    if len(distinct) <= _MAX_BINS:
        return (distinct[:-1] + distinct[1:]) / 2
    wanted = np.linspace(0, 100, _MAX_BINS + 1)[1:-1] / 100 * totals[-1]
    reached = np.minimum(np.searchsorted(totals, wanted), len(values) - 1)
    exact = totals[reached] - wanted <= np.finfo(np.float64).eps
    following = np.minimum(reached + exact, len(values) - 1)
    return np.unique((values[reached] + values[following]) / 2)
