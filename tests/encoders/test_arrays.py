"""Encoders of numeric arrays."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.serving.inputs import inputs_of
from tests.helpers.tables import encode


def test_ranges_beyond_the_largest_double_are_scaled_in_graphs_as_well():
    values = np.array([[-1.7e308], [0.0], [1.7e308]])
    encoder = VectorEncoder(values[0], values[2])
    np.testing.assert_allclose(encoder(values)[:, 0], [0, 0.5, 1])
    np.testing.assert_allclose(tf.function(encoder)(values)[:, 0], [0, 0.5, 1])


def learn_images(images):
    return ImageEncoder.learn(images, np.ones(len(images), bool))


def test_images_of_bytes_may_have_another_type_but_not_other_values(rng):
    images = rng.integers(0, 256, (5, 4, 4), dtype=np.uint8)
    encoder = learn_images(images)
    expected = encode(encoder, images)
    np.testing.assert_array_equal(encode(encoder, images.astype(np.int64)), expected)
    for other in (images > 99, images.astype(np.uint16) * 16, images.astype(np.int16) - 256):
        with pytest.raises(ValueError, match="trained on bytes: convert them to 0"):
            encode(encoder, other)


def test_pixels_that_single_precision_cannot_tell_apart_are_refused(rng):
    images = 1e9 + rng.random((5, 4, 4))
    with pytest.raises(ValueError, match=r"subtract 1e\+09 from all images"):
        learn_images(np.round(images, 3))
    learn_images(images - 1e9)
    learn_images(np.full((5, 4, 4), 1e9))  # no information either way


def test_other_whole_numbers_than_bytes_are_not_exported_as_bytes(rng):
    for highest, dtype in ((255, tf.uint8), (254, tf.float32), (256, tf.float32)):
        images = rng.integers(0, highest, (5, 4, 4), np.int64)
        images[0, 0, :2] = 0, highest
        (pixels,) = inputs_of(learn_images(images)).specs.values()
        assert pixels.dtype == dtype
