"""The reference: one gradient tape per sample, vectorised by `tf.vectorized_map`.

This is the formulation of the original paper. It needs no knowledge of the layers, so it
also covers layers without a closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def mapped_model_gradients(
    model: keras.Model,
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    weights: Sequence[keras.Variable],
    inputs: tf.Tensor,
) -> list[tf.Tensor]:
    """Compute gradients of each sample's reconstruction loss, one tape per sample.

    Args:
        model: autoencoder, called in inference mode.
        loss: function of target and prediction with values of shape (batch,).
        weights: the variables to differentiate with respect to.
        inputs: samples (batch, ...).

    Returns:
        For each weight a tensor (batch, *weight.shape).
    """
    variables = [weight.value for weight in weights]

    def gradients_of(sample: tf.Tensor) -> list[tf.Tensor]:
        batch_of_one = sample[tf.newaxis]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = loss(batch_of_one, model(batch_of_one, training=False))
        return tape.gradient(value, variables, unconnected_gradients="zero")

    return tf.vectorized_map(gradients_of, inputs)


def mapped_layer_gradients(
    call: Callable[..., Any],
    weights: Sequence[keras.Variable],
    arguments: tuple[tuple, dict],
    output_gradients: list[tf.Tensor],
) -> list[tf.Tensor]:
    """Compute per-sample gradients of a single layer from its inputs and its outputs' gradients.

    Args:
        call: the layer's call.
        weights: the layer's variables to differentiate with respect to.
        arguments: positional and keyword arguments of the call; every tensor has the batch first.
        output_gradients: gradient of the summed loss with respect to each output, batch first.

    Returns:
        For each weight a tensor (batch, *weight.shape).
    """
    variables = [weight.value for weight in weights]
    flat = tf.nest.flatten(arguments)
    tensor_positions = [i for i, value in enumerate(flat) if tf.is_tensor(value)]

    def gradients_of(sample: tuple[list[tf.Tensor], list[tf.Tensor]]) -> list[tf.Tensor]:
        tensors, upstream = sample
        filled = list(flat)
        for position, tensor in zip(tensor_positions, tensors, strict=True):
            filled[position] = tensor[tf.newaxis]
        args, kwargs = tf.nest.pack_sequence_as(arguments, filled)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = tf.nest.flatten(call(*args, **kwargs))
        return tape.gradient(
            outputs,
            variables,
            output_gradients=[gradient[tf.newaxis] for gradient in upstream],
            unconnected_gradients="zero",
        )

    tensors = [flat[position] for position in tensor_positions]
    return tf.vectorized_map(gradients_of, (tensors, output_gradients))
