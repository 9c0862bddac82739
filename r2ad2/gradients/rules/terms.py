"""Terms that several gradient rules share: types, biases, positions."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import ops


def is_plain(layer: keras.layers.Layer) -> bool:
    """Return whether the kernel is the trained variable itself: not quantised, no LoRA factors."""
    return not getattr(layer, "lora_enabled", False) and layer.quantization_mode is None


def in_compute_type(layer: keras.layers.Layer, value: keras.Variable | tf.Tensor) -> tf.Tensor:
    """Cast inputs or a weight to the type that the layer computes in."""
    return ops.cast(value, layer.compute_dtype)


def add_bias(layer: keras.layers.Layer, outputs: tf.Tensor) -> tf.Tensor:
    """Add the layer's bias, if it has one, to outputs (batch, ..., channels)."""
    if layer.bias is None:
        return outputs
    bias = in_compute_type(layer, layer.bias)
    if outputs.dtype == tf.float64:
        # On CPUs TensorFlow tries to fuse double precision, too, fails, and logs a warning each
        # time. A further axis in between keeps it from trying.
        return (tf.expand_dims(outputs, 0) + bias)[0]
    # Unlike a sum, TensorFlow fuses this operation with the convolution before it.
    return tf.nn.bias_add(outputs, bias)


def with_bias_gradient(
    layer: keras.layers.Layer, kernel_gradients: list[tf.Tensor], delta: tf.Tensor
) -> list[tf.Tensor]:
    """Append dL/db, the sum of delta over positions, if the layer has a bias.

    Args:
        layer: the layer.
        kernel_gradients: the gradients with respect to the layer's other weights.
        delta: (batch, ..., channels).
    """
    if layer.bias is None:
        return kernel_gradients
    return [*kernel_gradients, tf.reduce_sum(delta, axis=range(1, delta.shape.rank - 1))]


def flat_positions(values: tf.Tensor) -> tf.Tensor:
    """Fold the axes between batch and channels into one: (batch, positions, channels)."""
    shape = tf.shape(values)
    return tf.reshape(values, (shape[0], tf.reduce_prod(shape[1:-1]), values.shape[-1]))
