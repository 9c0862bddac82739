"""A random sample of a stream, drawn while it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class RandomSample:
    """A sample of the rows of a stream, without replacement, in the order of the stream.

    Each row draws a random number; the rows with the smallest are kept. The sample depends on the
    seed and the rows only, not on how they are divided into pieces.

    Args:
        n: size of the sample, at least 1; a shorter stream is kept whole. None keeps all rows.
        seed: seed of the draw.
        concatenate: puts pieces, which are indexed by masks (rows,), together.
    """

    def __init__(self, n: int | None, seed: int, concatenate: Callable[[list[Any]], Any]):
        self._n = n
        self._random = np.random.default_rng(seed)
        self._concatenate = concatenate
        self._pieces: list[Any] = []
        self._keys: list[np.ndarray] = []  # below 0 for rows that are kept in any case
        self._largest = np.inf
        self._n_kept = 0

    def __len__(self) -> int:
        """Count the rows held at present, which can be more than the sample will have."""
        return sum(map(len, self._keys))

    def add(self, rows: Any, always: np.ndarray | None = None) -> None:
        """Add the next rows.

        Args:
            rows: n rows.
            always: bool (n,) rows that are kept in any case and do not count; None means none.
        """
        keys = self._random.random(len(rows))
        if always is not None:
            keys[always] = -1.0
        chosen = keys < self._largest
        self._pieces.append(rows if chosen.all() else rows[chosen])
        self._keys.append(keys[chosen])
        self._n_kept += int((keys[chosen] >= 0).sum())
        # Discarding surplus rows only now and then bounds memory at little cost.
        if self._n is not None and self._n_kept > 1.25 * self._n + 10_000:
            self._shrink()

    def _shrink(self) -> None:
        rows, keys = self._concatenate(self._pieces), np.concatenate(self._keys)
        drawn = keys[keys >= 0]
        if self._n is not None and len(drawn) > self._n:
            self._largest = np.partition(drawn, self._n)[self._n]
            chosen = keys < self._largest
            rows, keys = rows[chosen], keys[chosen]
        self._pieces, self._keys = [rows], [keys]
        self._n_kept = int((keys >= 0).sum())

    def rows(self) -> tuple[Any, np.ndarray]:
        """Return the rows of the sample, and bool (n,): which of them are kept in any case.

        Raises:
            ValueError: if nothing was added.
        """
        if not self._pieces:
            raise ValueError("there are no well-formed rows")
        self._shrink()
        return self._pieces[0], self._keys[0] < 0
