"""Arrays as plain values, for the settings of a model file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np


def to_plain(array: np.ndarray) -> dict[str, Any]:
    """Describe an array of numbers, of any shape, by plain values for JSON."""
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "little_endian": base64.b64encode(array.astype(_stored(array.dtype)).tobytes()).decode(),
    }


def from_plain(values: Mapping[str, Any]) -> np.ndarray:
    """Make the array that `to_plain` described.

    Raises:
        ValueError: if the values do not describe an array of numbers.
    """
    dtype = np.dtype(values["dtype"])
    content = base64.b64decode(values["little_endian"], validate=True)
    return np.frombuffer(content, _stored(dtype)).reshape(values["shape"]).astype(dtype)


def _stored(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("<")
