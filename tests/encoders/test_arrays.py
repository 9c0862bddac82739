"""Encoders of numeric arrays."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from r2ad2.encoders.arrays import VectorEncoder


def test_ranges_beyond_the_largest_double_are_scaled_in_graphs_as_well():
    values = np.array([[-1.7e308], [0.0], [1.7e308]])
    encoder = VectorEncoder(values[0], values[2])
    np.testing.assert_allclose(encoder(values)[:, 0], [0, 0.5, 1])
    np.testing.assert_allclose(tf.function(encoder)(values)[:, 0], [0, 0.5, 1])
