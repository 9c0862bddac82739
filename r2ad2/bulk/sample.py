"""A random sample of the rows of a table, drawn while they are read."""

from __future__ import annotations

import numpy as np
import pandas as pd


class TrainingSample:
    """All known anomalies, and a random sample of the normal rows, in the order of the file.

    Each normal row draws a random number; the rows with the smallest are kept. The sample depends
    on the seed and the rows only, not on how they are divided into chunks.

    Args:
        n_normal: maximum number of normal rows; None keeps all.
        seed: seed of the draw.

    Attributes:
        n_normal: normal rows that were seen.
        n_known: known anomalies that were seen.
    """

    def __init__(self, n_normal: int | None, seed: int):
        self._limit = n_normal
        self._random = np.random.default_rng(seed)
        self._tables: list[pd.DataFrame] = []
        self._keys: list[np.ndarray] = []  # below 0 for known anomalies
        self._largest = np.inf
        self._n_kept = 0
        self.n_normal = self.n_known = 0

    def add(self, table: pd.DataFrame, labels: np.ndarray) -> None:
        """Add the next rows with their labels (n,), 1 for known anomalies."""
        self.n_known += int(labels.sum())
        self.n_normal += int((labels == 0).sum())
        keys = self._random.random(len(table))
        keys[labels == 1] = -1.0
        chosen = keys < self._largest
        self._tables.append(table if chosen.all() else table[chosen])
        self._keys.append(keys[chosen])
        self._n_kept += int((keys[chosen] >= 0).sum())
        # Discarding surplus rows only now and then bounds memory at little cost.
        if self._limit is not None and self._n_kept > 1.25 * self._limit + 10_000:
            self._shrink()

    def _shrink(self) -> None:
        table, keys = _concatenated(self._tables), np.concatenate(self._keys)
        normal = keys[keys >= 0]
        if self._limit is not None and len(normal) > self._limit:
            self._largest = np.partition(normal, self._limit)[self._limit]
            chosen = keys < self._largest
            table, keys = table[chosen], keys[chosen]
        self._tables, self._keys = [table], [keys]
        self._n_kept = int((keys >= 0).sum())

    def rows(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the rows that were kept, and their labels.

        Raises:
            ValueError: if no rows were added.
        """
        if not self._tables:
            raise ValueError("there are no well-formed rows")
        self._shrink()
        return self._tables[0], (self._keys[0] < 0).astype(np.int64)


def _concatenated(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return tables[0] if len(tables) == 1 else pd.concat(tables)
