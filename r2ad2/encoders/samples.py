"""Converts what users may pass as samples to an array or a DataFrame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import tensorflow as tf

from r2ad2.support.messages import quoted


def as_samples(X: Any, y: Any = None) -> tuple[Any, Any]:
    """Turn samples and labels into an array or DataFrame and an array.

    Args:
        X: DataFrame, array, nested list, tensor, or a tf.data.Dataset of samples or pairs (sample,
            label), batched or not; dicts of named columns become DataFrames.
        y: labels, or None; a dataset of pairs has its own.

    Returns:
        The samples, and the labels or None.

    Raises:
        TypeError: for sparse matrices.
        ValueError: for a dataset of another form, a Series, or labels given twice.
    """
    if isinstance(X, tf.data.Dataset):
        samples, labels = _collect(X)
        if labels is not None and y is not None:
            raise ValueError("the dataset already has labels: leave out y")
        return samples, y if labels is None else labels
    if isinstance(X, pd.Series):
        raise ValueError("X is a Series: pass a DataFrame, of one row such as table.iloc[[0]]")
    named = isinstance(X, pd.DataFrame) and isinstance(y, pd.Series) and y.name in X.columns
    if named and X[y.name].equals(y):
        raise ValueError(f"X also holds the labels, in column {quoted(y.name)}: drop it")
    if isinstance(X, (pd.DataFrame, np.ndarray)):
        return X, y
    if scipy.sparse.issparse(X):
        raise TypeError("sparse data is not supported: pass X.toarray()")
    return np.asarray(X), y


def _collect(dataset: tf.data.Dataset) -> tuple[Any, np.ndarray | None]:
    """Read a whole dataset into memory."""
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
        batched = ranks[0] > 1 and spec.shape[0] is None
    else:
        batched = all(rank > 0 for rank in ranks)
    if not batched:
        dataset = dataset.batch(1024)
    elements = list(dataset.as_numpy_iterator())
    if not elements:
        raise ValueError("the dataset holds no samples")
    samples = [element[0] for element in elements] if has_labels else elements
    labels = np.concatenate([element[1] for element in elements]) if has_labels else None
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if isinstance(samples[0], dict):
        columns = {
            str(name): np.concatenate([part[name].reshape(-1) for part in samples])
            for name in samples[0]
        }
        return pd.DataFrame({name: _decoded(values) for name, values in columns.items()}), labels
    return np.concatenate(samples), labels


def _decoded(values: np.ndarray) -> np.ndarray:
    """Decode TensorFlow's strings, which are bytes; leave numbers as they are."""
    if values.dtype != object:
        return values
    return np.array([value.decode() for value in values], dtype=object)
