"""A random sample of the rows of a table, drawn while they are read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from r2ad2.support.random_sample import RandomSample


class TrainingSample:
    """All known anomalies, and a random sample of the normal rows, in the order of the file.

    Args:
        n_normal: maximum number of normal rows; None keeps all.
        seed: seed of the draw.

    Attributes:
        n_normal: normal rows that were seen.
        n_known: known anomalies that were seen.
    """

    def __init__(self, n_normal: int | None, seed: int):
        self._sample = RandomSample(n_normal, seed, _concatenated)
        self.n_normal = self.n_known = 0

    def add(self, table: pd.DataFrame, labels: np.ndarray) -> None:
        """Add the next rows with their labels (n,), 1 for known anomalies."""
        known = labels == 1
        self.n_known += int(known.sum())
        self.n_normal += int((~known).sum())
        self._sample.add(table, always=known)

    def rows(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the rows that were kept, and their labels.

        Raises:
            ValueError: if no rows were added.
        """
        table, known = self._sample.rows()
        return table, known.astype(np.int64)


def _concatenated(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return tables[0] if len(tables) == 1 else pd.concat(tables)
