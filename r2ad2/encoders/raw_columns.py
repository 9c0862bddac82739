"""The columns of raw samples, before they are encoded, for statistics on them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.columns import as_known_texts, as_numbers, check_table
from r2ad2.encoders.tables import TableEncoder
from r2ad2.tables.dates import as_seconds

_DAY = 86_400


@singledispatch
def raw_columns(encoder: InputEncoder, samples: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the columns of samples, missing values included, whether the encoder allows them.

    Args:
        encoder: learnt from samples of the same form.
        samples: a DataFrame, array or sparse matrix, as `as_samples` returns them.

    Yields:
        The name and the values (n,) of each column: float64, NaN where missing; or texts,
        `MISSING_TEXT` where missing. A timestamp is its second of the day (UTC), because the dates
        of new rows are always later. An image has one column per patch, the mean of its pixels.

    Raises:
        ValueError: for values of another kind than in training.
    """
    raise TypeError(f"there are no statistics on the columns of a {type(encoder).__name__}")


@raw_columns.register
def _(encoder: TableEncoder, samples: Any) -> Iterator[tuple[str, np.ndarray]]:
    table = check_table(samples, "indicator")
    for name in encoder.columns:
        if name in encoder.categories:
            yield name, as_known_texts(name, table[name], encoder.categories[name])
        elif name in encoder.timestamps:
            yield name, as_seconds(name, table[name]) % _DAY
        else:
            yield name, as_numbers(name, table[name])


@raw_columns.register
def _(encoder: VectorEncoder, samples: Any) -> Iterator[tuple[str, np.ndarray]]:
    array = encoder.check(samples, "indicator")
    if not scipy.sparse.issparse(array):
        yield from zip(encoder.feature_groups, array.T, strict=True)
        return
    by_column = array.tocsc()
    for position, name in enumerate(encoder.feature_groups):
        yield name, by_column[:, [position]].toarray()[:, 0]


@raw_columns.register
def _(encoder: ImageEncoder, samples: Any) -> Iterator[tuple[str, np.ndarray]]:
    flat = encoder.check(samples).reshape(len(samples), -1)
    for name, positions in encoder.feature_groups.items():
        yield name, flat[:, positions].mean(axis=1, dtype=np.float64)


@singledispatch
def is_complete(encoder: InputEncoder, samples: Any) -> np.ndarray:
    """Return which samples (n,) can be scored as far as missing values are concerned."""
    return np.ones(np.shape(samples)[0], dtype=bool)


@is_complete.register
def _(encoder: TableEncoder, samples: Any) -> np.ndarray:
    if encoder.missing == "indicator" or not isinstance(samples, pd.DataFrame):
        return np.ones(len(samples), dtype=bool)  # scoring refuses anything but a table
    return np.asarray(samples.notna().all(axis=1), dtype=bool)


@is_complete.register
def _(encoder: VectorEncoder, samples: Any) -> np.ndarray:
    array = encoder.check(samples, "indicator")
    complete = np.ones(array.shape[0], dtype=bool)
    if encoder.fills is None:
        if scipy.sparse.issparse(array):
            complete[array.tocoo().row[np.isnan(array.data)]] = False
        else:
            complete &= ~np.isnan(array).any(axis=1)
    return complete
