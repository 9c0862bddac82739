"""The precision of the package's own networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def in_single_precision() -> Iterator[None]:
    """Make Keras layers in single precision, whatever `keras.config.set_dtype_policy` was told.

    Thresholds, ranks and exported files are made for it. Keras keeps its policy per thread, so that
    other threads are not affected. May be used as a decorator.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
