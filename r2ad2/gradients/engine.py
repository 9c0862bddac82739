"""Per-sample gradients of a Keras model's reconstruction loss."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from r2ad2.gradients.blocks import (
    Block,
    BlockGradient,
    FormedGradient,
    OuterProduct,
    SummedGradient,
    blocks_of,
)
from r2ad2.gradients.forward import ForwardPass, is_graph_of_layers, layers_without_rule
from r2ad2.gradients.losses import LossLike, per_sample_loss
from r2ad2.gradients.mapped import mapped_model_gradients
from r2ad2.support.keras_internals import output_tensors

logger = logging.getLogger(__name__)


def gradient_weights_of(model: keras.Model) -> list[keras.Variable]:
    """List the weights whose gradients describe a sample: the trainable ones.

    For a model that is frozen as a whole, such as a snapshot, these are the weights that it was
    trained with.
    """
    if model.trainable:
        return list(model.trainable_weights)
    model.trainable = True
    try:
        return list(model.trainable_weights)
    finally:
        model.trainable = False


def _flattened(gradient: tf.Tensor, weight: keras.Variable) -> tf.Tensor:
    return tf.reshape(gradient, (tf.shape(gradient)[0], math.prod(weight.shape)))


class PerSampleGradients:
    """Gradients of each sample's reconstruction loss, with respect to all trainable weights.

    Calling the object with samples (batch, ...) returns a tensor (batch, G): the gradient of
    ``loss(x, model(x))`` (mean over a sample's outputs, inference mode) with respect to the
    model's trainable weights, each flattened in C order and concatenated in the order of
    ``model.trainable_weights``. For a model that is frozen as a whole, these are all weights that
    it was trained with.

    Args:
        model: Keras model with one input and one output of the same shape.
        loss: Keras loss name, loss object, or function of (target, prediction).
        method: "closed_form" makes one batched forward and backward pass and applies the rules of
            `r2ad2.gradients.rules`; it maps each layer without a rule on its own.
            "vectorized_map" is the reference, one tape per sample. "auto" uses the closed form if
            the model is a graph of layers (functional or sequential) with a fixed input shape.
        weights: the variables to differentiate with respect to; by default as described above.

    Attributes:
        names: dict from weight path to its slice of G, in order.
        blocks: the flat gradient's blocks, in order: a kernel together with its bias.
        size: G, the number of gradient components.
        dtype: type of the gradients, which is that of the weights.
        method: the method in use.
        loss: function of target and prediction that returns the loss of each sample (batch,).

    Raises:
        ValueError: for an unknown method, a model that is neither functional nor sequential, does
            not reconstruct its input or has no trainable weights, or "closed_form" for a model
            that cannot be followed layer by layer.

    Example:
        >>> import numpy as np
        >>> from r2ad2 import Autoencoder
        >>> gradients = PerSampleGradients(Autoencoder("2", input_shape=(3,)))
        >>> gradients(np.zeros((5, 3))).shape
        TensorShape([5, 17])
        >>> gradients.names
        {'code/kernel': slice(0, 6, None), 'code/bias': slice(6, 8, None), ...}

    Source: R2-AD2 (ECML-PKDD 2022); the closed form of
    dense layers is known from Goodfellow, "Efficient Per-Example Gradient Computations" (2015).
    """

    def __init__(
        self,
        model: keras.Model,
        loss: LossLike = "binary_crossentropy",
        method: str = "auto",
        weights: Sequence[keras.Variable] | None = None,
    ):
        if not hasattr(model, "input_shape"):
            raise ValueError(
                f"model {model.name!r} is neither functional nor sequential, so its input shape is "
                "unknown: build it as keras.Model(inputs, outputs)"
            )
        can_follow = is_graph_of_layers(model) and None not in model.input_shape[1:]
        methods = {
            "auto": "closed_form" if can_follow else "vectorized_map",
            "closed_form": "closed_form",
            "vectorized_map": "vectorized_map",
        }
        if method not in methods:
            raise ValueError(f"unknown gradient method {method!r}: choose one of {list(methods)}")
        if method == "closed_form" and not can_follow:
            raise ValueError(
                f"the input shape {model.input_shape} of model {model.name!r} is not fixed, so its "
                'layers cannot be followed one by one: use method="vectorized_map"'
            )
        self.model = model
        self.weights = list(weights) if weights is not None else gradient_weights_of(model)
        if not self.weights:
            raise ValueError(f"model {model.name!r} has no trainable weights and thus no gradient")
        if model.input_shape != model.output_shape:
            raise ValueError(
                f"model {model.name!r} maps {model.input_shape} to {model.output_shape}: "
                "an autoencoder's output must have the shape of its input"
            )
        self.method = methods[method]
        self.blocks = blocks_of(self.weights)
        self.size = sum(block.size for block in self.blocks)
        self.dtype = self.weights[0].dtype
        self.loss = per_sample_loss(loss)
        compute: dict[str, Callable[[tf.Tensor], tuple[list[BlockGradient], tf.Tensor]]] = {
            "closed_form": self._closed_form,
            "vectorized_map": self._vectorized_map,
        }
        self._compute = compute[self.method]
        if self.method == "closed_form":
            for layer in layers_without_rule(model, {id(weight) for weight in self.weights}):
                logger.warning(
                    "layer %r (%s) has no closed-form gradient rule: its per-sample gradients are "
                    "computed by tf.vectorized_map, which is slower",
                    layer.name,
                    type(layer).__name__,
                )
        self._function = tf.function(
            lambda inputs: tf.concat(
                [tf.cast(g.flat(), self.dtype) for g in self.block_gradients(inputs)], axis=1
            ),
            input_signature=[tf.TensorSpec(model.input_shape, model.inputs[0].dtype)],
            autograph=False,
        )

    @property
    def names(self) -> dict[str, slice]:
        """The slice of G that belongs to each weight, by the weight's path, in order."""
        slices, start = {}, 0
        for weight in self.weights:
            size = math.prod(weight.shape)
            slices[weight.path] = slice(start, start + size)
            start += size
        return slices

    @property
    def n_activations(self) -> int:
        """Number of values in the outputs of all layers for one sample."""
        return sum(
            math.prod(size or 1 for size in tensor.shape[1:])
            for layer in self.model.layers
            for tensor in output_tensors(layer)
        )

    def check(self, inputs: Any) -> tf.Tensor:
        """Convert samples (batch, ...) to a tensor of the model's type.

        Raises:
            ValueError: if the samples do not have the model's input shape.
        """
        inputs = tf.cast(tf.convert_to_tensor(inputs), self.model.inputs[0].dtype)
        expected = self.model.input_shape
        if not inputs.shape.is_compatible_with(expected):
            raise ValueError(f"expected samples of shape {expected}, got {tuple(inputs.shape)}")
        return inputs

    def __call__(self, inputs: Any) -> tf.Tensor:
        """Compute the gradients (batch, G) of samples (batch, ...).

        Raises:
            ValueError: if the samples do not have the model's input shape.
        """
        inputs = self.check(inputs)
        if inputs.shape[0] == 0:  # TensorFlow's pooling kernels fail on empty batches
            return tf.zeros((0, self.size), self.dtype)
        return self._function(inputs)

    def block_gradients(self, inputs: tf.Tensor) -> list[BlockGradient]:
        """Compute the gradients of each of `blocks`, for the caller to form or project.

        Args:
            inputs: checked samples (batch, ...), at least one.
        """
        return self._compute(inputs)[0]

    def block_gradients_and_outputs(
        self, inputs: tf.Tensor
    ) -> tuple[list[BlockGradient], tf.Tensor]:
        """Compute the gradients as `block_gradients` does, and the model's outputs (batch, ...)."""
        return self._compute(inputs)

    def _vectorized_map(self, inputs: tf.Tensor) -> tuple[list[BlockGradient], tf.Tensor]:
        gradients = mapped_model_gradients(self.model, self.loss, self.weights, inputs)
        found = {id(w): _flattened(g, w) for w, g in zip(self.weights, gradients, strict=True)}
        return [
            FormedGradient(tf.concat([found[id(w)] for w in block.weights], axis=1))
            for block in self.blocks
        ], self.model(inputs, training=False)

    def _closed_form(self, inputs: tf.Tensor) -> tuple[list[BlockGradient], tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            forward = ForwardPass(tape, {id(weight) for weight in self.weights})
            outputs = forward.run(self.model, inputs)
            # Samples do not interact in inference mode, so the gradient of the sum holds the
            # gradients of all samples side by side.
            total = tf.reduce_sum(self.loss(inputs, outputs))
        deltas = tape.gradient(
            total, [call.watched for call in forward.calls], unconnected_gradients="zero"
        )
        keys = {block.key for block in self.blocks}
        products: dict[tuple[int, ...], list[BlockGradient]] = {}
        formed: dict[int, list[tf.Tensor]] = {}
        for call, delta in zip(forward.calls, deltas, strict=True):
            key = tuple(id(weight) for weight in call.weights)
            factors = call.factors(delta) if key in keys else None
            if factors is not None:
                products.setdefault(key, []).append(OuterProduct(*factors))
                continue
            for weight, gradient in zip(call.weights, call.gradients(delta), strict=True):
                formed.setdefault(id(weight), []).append(_flattened(gradient, weight))
        batch_size = tf.shape(inputs)[0]
        return [
            self._sum_of(block, products.get(block.key, []), formed, batch_size, self.dtype)
            for block in self.blocks
        ], outputs

    @staticmethod
    def _sum_of(
        block: Block,
        products: list[BlockGradient],
        formed: dict[int, list[tf.Tensor]],
        batch_size: tf.Tensor,
        dtype: str,
    ) -> BlockGradient:
        """Add up what all calls of a layer contribute to a block."""
        terms = list(products)
        if not terms or any(id(weight) in formed for weight in block.weights):
            parts = [
                # The gradient of a weight that no layer call uses is zero.
                tf.cast(tf.add_n(formed[id(weight)]), dtype)
                if id(weight) in formed
                else tf.zeros((batch_size, math.prod(weight.shape)), dtype)
                for weight in block.weights
            ]
            terms.append(FormedGradient(parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)))
        return terms[0] if len(terms) == 1 else SummedGradient(tuple(terms))
