"""Fingerprints: what the result of a training depends on, to compare it with another training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
import scipy.sparse
import tensorflow as tf

from r2ad2._version import __version__

_DIGITS = 16
# Names that Keras generates, which count the layers created in this process.
_NAMES = {"name", "keras_history", "input_layers", "output_layers", "shared_object_id"}


def training_fingerprint(
    detector: str, parameters: Mapping[str, Any], samples: Any, labels: np.ndarray
) -> dict[str, Any]:
    """Describe a training by plain values, equal for equal trainings.

    Args:
        detector: name of the detector's class.
        parameters: those of its parameters that affect the result.
        samples: array, DataFrame or sparse matrix, as passed by the user.
        labels: int labels (n,).

    Returns:
        Names and JSON values; large values are replaced by a digest.
    """
    return {
        "r2ad2": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "detector": detector,
        "samples": f"{' x '.join(map(str, np.shape(samples)))}, digest {_of_samples(samples)}",
        "labels": f"{int(labels.sum())} anomalous, digest {_of_bytes(labels)}",
        **{name: _plain(value) for name, value in sorted(parameters.items())},
    }


def _of_bytes(*parts: np.ndarray) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.ravel().view(np.uint8).data)
    return digest.hexdigest()[:_DIGITS]


def _of_text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def _of_objects(values: Any) -> np.ndarray:
    """Hash each element of a column of any type; other processes get the same numbers."""
    return pd.util.hash_pandas_object(pd.Series(values), index=False, categorize=False).to_numpy()


def _of_samples(samples: Any) -> str:
    if isinstance(samples, pd.DataFrame):
        parts = []
        for position, name in enumerate(samples.columns):
            column = samples.iloc[:, position]
            parts += [_of_text(f"{name!r} {column.dtype}"), _of_objects(column.array)]
        return _of_bytes(*parts)
    kind = _of_text(str(samples.dtype))
    if scipy.sparse.issparse(samples):
        rows = samples.tocsr()
        return _of_bytes(kind, rows.data, rows.indices, rows.indptr)
    return _of_bytes(kind, _of_objects(samples.ravel()) if samples.dtype == object else samples)


def _plain(value: Any) -> Any:
    """Convert a parameter's value to JSON values."""
    if isinstance(value, keras.Model):
        config = json.dumps(_without_names(value.get_config()), sort_keys=True, default=repr)
        return f"model, digest {_of_bytes(_of_text(config), *value.get_weights())}"
    if isinstance(value, np.random.RandomState):
        _, keys, *rest = value.get_state(legacy=True)
        return f"RandomState, digest {_of_bytes(np.asarray(keys), _of_text(str(rest)))}"
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(part) for part in value]
    return value if isinstance(value, (str, int, float, type(None))) else repr(value)


def _without_names(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {key: _without_names(v) for key, v in config.items() if key not in _NAMES}
    return [_without_names(v) for v in config] if isinstance(config, (list, tuple)) else config
