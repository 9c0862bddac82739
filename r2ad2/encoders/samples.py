"""Converts what users may pass as samples to an array, a DataFrame or a sparse matrix."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.interchange
import scipy.sparse
import tensorflow as tf

from r2ad2.encoders.base import InputTypeError
from r2ad2.support.messages import quoted, reason_of, shortened

logger = logging.getLogger(__name__)

# What pandas calls an index without a name in Arrow tables and Parquet files.
_INDEX = re.compile(r"__index_level_\d+__")
_ARROW_TABLES = ("__arrow_c_stream__", "__arrow_c_array__")


def as_samples(X: Any, y: Any = None) -> tuple[Any, Any]:
    """Turn samples and labels into an array, DataFrame or sparse matrix, and an array or Series.

    Args:
        X: pandas or polars DataFrame, pyarrow Table, or any other table that offers Arrow's
            PyCapsule interface or `__dataframe__`; a dict of columns; an array, nested list or
            tensor; a scipy.sparse matrix; or a tf.data.Dataset of samples or pairs (sample,
            label), batched or not, whose dicts of named columns become DataFrames.
        y: labels, or None; a dataset of pairs has its own.

    Returns:
        The samples, and the labels or None.

    Raises:
        ValueError: for a dataset of another form, a single column, labels given twice, or anything
            else that does not hold samples (`InputTypeError`).
    """
    if isinstance(X, tf.data.Dataset):
        samples, labels = _collect(X)
        if labels is not None and y is not None:
            raise ValueError("the dataset already has labels: leave out y")
        return samples, y if labels is None else labels
    X, y = _as_plain(X), _as_labels(y)
    named = isinstance(X, pd.DataFrame) and isinstance(y, pd.Series) and y.name in X.columns
    if named and X[y.name].equals(y):
        raise ValueError(f"X also holds the labels, in column {quoted(y.name)}: drop it")
    return X, y


def rows_of(X: Any, positions: np.ndarray | list[int]) -> Any:
    """Return some rows of samples as `as_samples` returns them."""
    return X.iloc[positions] if isinstance(X, pd.DataFrame) else X[positions]


def _as_plain(X: Any) -> Any:
    """Return a DataFrame, an array, or a sparse matrix in CSR format."""
    if isinstance(X, pd.Series):
        raise ValueError("X is a Series: pass a DataFrame, of one row such as table.iloc[[0]]")
    if isinstance(X, pd.DataFrame):
        return _with_names_of_one_type(X)
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.filled(X.astype(np.float64), np.nan) if np.ma.is_masked(X) else X.data
    if isinstance(X, np.ndarray):
        return X
    if scipy.sparse.issparse(X):
        if X.ndim != 2:
            raise ValueError(f"sparse samples must have two axes, got shape {X.shape}")
        return X.tocsr()
    if isinstance(X, Mapping):
        return _from_columns(X)
    if isinstance(X, (pa.Array, pa.ChunkedArray)) or type(X).__name__ == "Series":
        raise InputTypeError(f"X is a {_type_name(X)}, a single column: pass a table or an array")
    if any(hasattr(X, name) for name in (*_ARROW_TABLES, "__dataframe__")):
        return _from_table(X)
    if hasattr(type(X), "columns"):  # numpy would drop the names of a lazy or distributed table
        raise InputTypeError(
            f"X is a {_type_name(X)}, whose rows are not in memory: convert it to a DataFrame "
            "first, such as with .collect(), .compute() or .toPandas()"
        )
    array = np.asarray(X)
    if array.ndim == 0:
        raise InputTypeError(
            f"X has type {_type_name(X)}: pass an array, a table (pandas, polars, pyarrow, or a "
            "dict of columns), a scipy.sparse matrix or a tf.data.Dataset"
        )
    return array


def _type_name(value: Any) -> str:
    """Name a type with the package that it comes from."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package == "builtins" else f"{package} {kind.__name__}"


def _with_names_of_one_type(table: pd.DataFrame) -> pd.DataFrame:
    """Make names of several types texts: scikit-learn accepts texts only, or no text at all."""
    if len({isinstance(name, str) for name in table.columns}) < 2:
        return table
    return table.set_axis([str(name) for name in table.columns], axis=1)


def _from_table(X: Any) -> pd.DataFrame:
    """Read a table of another package through Arrow; the index of a pandas table stays one."""
    try:
        if isinstance(X, pa.Table):
            table = X
        elif any(hasattr(X, name) for name in _ARROW_TABLES):
            table = pa.table(X)
        else:
            table = pa.interchange.from_dataframe(X)
        frame = table.to_pandas()
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputTypeError(
            f"X is a {_type_name(X)} that cannot be read as a table: "
            f"{shortened(reason_of(error))}; pass a table of numbers, texts and timestamps"
        ) from error
    names = frame.columns.tolist()
    index = [name for name in names if isinstance(name, str) and _INDEX.fullmatch(name)]
    if not index:
        return frame
    logger.warning("column %s is the index of a pandas table: left out", quoted(index[0]))
    return frame.drop(columns=index)


def _from_columns(columns: Mapping[Any, Any]) -> pd.DataFrame:
    """Take a dict of columns as a table; the rows of all columns are in the same order."""
    if not columns:
        raise InputTypeError("X is a dict without columns: pass a list or array for each column")
    found = {name: _as_column(values) for name, values in columns.items()}
    lengths = {}
    for name, values in found.items():
        try:
            shape = np.shape(values)
        except ValueError:  # nested lists of different lengths
            shape = (len(values), -1)
        if len(shape) != 1:
            raise InputTypeError(
                f"X is a dict, so a table of named columns, but column {quoted(name)} is not a "
                "list or array of one value per row"
            )
        lengths[name] = shape[0]
    if len(set(lengths.values())) > 1:
        first, *others = lengths
        other = next(name for name in others if lengths[name] != lengths[first])
        raise InputTypeError(
            "X is a dict, so a table of named columns, but their lengths differ: "
            f"{quoted(first)} has {lengths[first]:,} values, {quoted(other)} has "
            f"{lengths[other]:,}"
        )
    return _with_names_of_one_type(pd.DataFrame(found))


def _as_column(values: Any) -> Any:
    """Return a column's values as a list, array or Series with a plain index."""
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    if isinstance(values, tf.Tensor):
        array = values.numpy()
        return _decoded(array) if array.ndim == 1 else array
    if any(hasattr(values, name) for name in _ARROW_TABLES) and not hasattr(values, "columns"):
        return _from_arrow(values)
    return values


def _from_arrow(values: Any) -> pd.Series:
    """Read a single column of another package."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values.to_pandas()
    has_stream = hasattr(values, _ARROW_TABLES[0])
    return (pa.chunked_array(values) if has_stream else pa.array(values)).to_pandas()


def _as_labels(y: Any) -> Any:
    """Return labels of another package as a Series; leave all others as they are."""
    if np.ma.is_masked(y):
        raise ValueError("y has masked labels: leave out these samples, or label them normal")
    if isinstance(y, (pd.Series, pd.DataFrame, pd.Index)):
        return y
    if not any(hasattr(y, name) for name in _ARROW_TABLES):
        return y
    try:
        if hasattr(y, "columns"):
            table = pa.table(y).to_pandas()
            return table.iloc[:, 0] if table.shape[1] == 1 else table
        return _from_arrow(y).rename(getattr(y, "name", None))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputTypeError(
            f"y is a {_type_name(y)} that cannot be read as labels: {shortened(reason_of(error))}"
        ) from error


def _collect(dataset: tf.data.Dataset) -> tuple[Any, np.ndarray | None]:
    """Read a whole dataset into memory."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("the dataset never ends: pass it without repeat()")
    spec = dataset.element_spec
    has_labels = isinstance(spec, tuple)
    if has_labels and len(spec) != 2:
        raise ValueError(
            f"a dataset must hold samples or pairs (sample, label), not {len(spec)} parts"
        )
    ranks = [len(part.shape) for part in tf.nest.flatten(spec[1] if has_labels else spec)]
    # Labels and named columns are scalars unless they are batched. Unlabelled arrays count as
    # batched if their first axis has no fixed length, as the last batch may be smaller.
    is_plain = not has_labels and not isinstance(spec, dict)
    if is_plain:
        batched = ranks[0] > 3 or (ranks[0] > 1 and spec.shape[0] is None)
        if ranks[0] == 2 and not batched:
            logger.warning(
                "elements of shape %s without labels count as images: if they are batches, make "
                "them without drop_remainder=True",
                tuple(spec.shape),
            )
    else:
        batched = all(rank > 0 for rank in ranks) and not (has_labels and _is_one_label(*spec))
    if not batched:
        dataset = dataset.batch(1024)
    elements = list(dataset.as_numpy_iterator())
    if not elements:
        raise ValueError("the dataset holds no samples")
    samples = [element[0] for element in elements] if has_labels else elements
    labels = np.concatenate([element[1] for element in elements]) if has_labels else None
    if labels is not None:
        labels = _decoded(labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels)
    if isinstance(samples[0], dict):
        columns = {
            str(name): np.concatenate([part[name].reshape(-1) for part in samples])
            for name in samples[0]
        }
        return pd.DataFrame({name: _decoded(values) for name, values in columns.items()}), labels
    return np.concatenate(samples), labels


def _is_one_label(samples: Any, labels: tf.TensorSpec) -> bool:
    """Whether labels of shape (1,) are a single sample's, and not a batch's."""
    if labels.shape != (1,):
        return False
    if not isinstance(samples, dict) and len(samples.shape) == 1:
        return True
    first_axes = [part.shape[:1].as_list() for part in tf.nest.flatten(samples)]
    return any(axis not in ([1], [None]) for axis in first_axes)


def _decoded(values: np.ndarray) -> np.ndarray:
    """Decode TensorFlow's strings, which are bytes; leave numbers as they are."""
    if values.dtype != object:
        return values
    return np.array([value.decode() for value in values], dtype=object)
