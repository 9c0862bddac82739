"""Sparse matrices as samples: checks, ranges, and dense rows one batch at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np


class SparseRows:
    """A sparse matrix (n, features) that gives batches of dense rows.

    A slice gives dense float64 rows; positions select rows, which stay sparse. That is what scoring
    in batches and choosing training samples ask for, so the matrix is never dense as a whole.

    Args:
        matrix: in CSR format, float64.
    """

    def __init__(self, matrix: Any):
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """(n, features)."""
        return self.matrix.shape

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        """Return dense rows (rows, features) for a slice, `SparseRows` for positions."""
        chosen = self.matrix[rows]
        return chosen.toarray() if isinstance(rows, slice) else SparseRows(chosen)


def summed(matrix: Any) -> Any:
    """Return a CSR matrix in which every position occurs once; the argument stays as it is."""
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def column_ranges(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compute the lowest and highest value of each column; NaN in columns of nothing but NaN.

    Args:
        matrix: CSR matrix (rows, columns); values that are not stored are zero, NaN is skipped.

    Returns:
        Two arrays (columns,).
    """
    n_columns = matrix.shape[1]
    stored = np.bincount(matrix.indices, minlength=n_columns)
    start = np.where(stored < matrix.shape[0], 0.0, np.nan)
    low, high = start.copy(), start.copy()
    np.fmin.at(low, matrix.indices, matrix.data)
    np.fmax.at(high, matrix.indices, matrix.data)
    return low, high


def column_means(matrix: Any) -> np.ndarray:
    """Compute the mean of each column's values (columns,) without NaN; 0 if there are none."""
    present = ~np.isnan(matrix.data)
    columns, values = matrix.indices[present], matrix.data[present]
    n_missing = np.bincount(matrix.indices[~present], minlength=matrix.shape[1])
    counts = np.maximum(matrix.shape[0] - n_missing, 1)
    return np.bincount(columns, values / counts[columns], minlength=matrix.shape[1])


def dense_columns(matrix: Any) -> Iterator[np.ndarray]:
    """Give the columns (rows,) of a CSR matrix one after the other."""
    by_column = matrix.tocsc()
    for first, end in itertools.pairwise(by_column.indptr):
        column = np.zeros(matrix.shape[0])
        column[by_column.indices[first:end]] = by_column.data[first:end]
        yield column


def places(matrix: Any, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of some stored values of a CSR matrix.

    Args:
        matrix: CSR matrix.
        stored: (stored values,) whether a value counts.

    Returns:
        Sorted positions, each once: of the rows, and of the columns.
    """
    rows = matrix.tocoo().row
    return np.unique(rows[stored]), np.unique(matrix.indices[stored])
