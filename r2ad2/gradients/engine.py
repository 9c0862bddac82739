"""Per-sample gradients of a Keras model's reconstruction loss."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from r2ad2.gradients.losses import LossLike, per_sample_loss
from r2ad2.gradients.mapped import mapped_layer_gradients, mapped_model_gradients
from r2ad2.gradients.rules import GradientRule, find_rule

logger = logging.getLogger(__name__)


def gradient_weights_of(model: keras.Model) -> list[keras.Variable]:
    """Weights whose gradients describe a sample: the trainable ones.

    Of a model that is frozen as a whole, such as a snapshot, the gradient by all weights that it
    was trained with is meant.
    """
    if model.trainable:
        return list(model.trainable_weights)
    model.trainable = True
    try:
        return list(model.trainable_weights)
    finally:
        model.trainable = False


def _is_graph_of_layers(model: keras.Model) -> bool:
    return isinstance(model, keras.Sequential) or hasattr(model, "_run_through_graph")


def _in_inference_mode(operation: Callable) -> Callable:
    has_training = isinstance(operation, keras.layers.Layer) and (
        "training" in inspect.signature(operation.call).parameters
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        return operation(*args, **(kwargs | {"training": False} if has_training else kwargs))

    return call


@dataclass
class _LayerCall:
    """One call of a layer with weights, as the forward pass saw it."""

    weights: Sequence[keras.Variable]
    watched: list[tf.Tensor]
    gradients: Callable[[list[tf.Tensor]], list[tf.Tensor]]


class _ForwardPass:
    """Runs a model layer by layer and notes what the per-sample gradients need."""

    def __init__(self, tape: tf.GradientTape, wanted: set[int]):
        self.tape = tape
        self.wanted = wanted
        self.calls: list[_LayerCall] = []

    def run(self, model: keras.Model, inputs: Any) -> Any:
        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                inputs = self.operation(layer)(inputs)
            return inputs
        outputs = model._run_through_graph(inputs, operation_fn=self.operation)
        return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs

    def operation(self, operation: Callable) -> Callable:
        weights = [w for w in getattr(operation, "weights", []) if id(w) in self.wanted]
        if not weights:
            return _in_inference_mode(operation)
        if isinstance(operation, keras.Model) and _is_graph_of_layers(operation):
            return lambda inputs, **_: self.run(operation, inputs)
        rule = find_rule(operation)
        if rule is None:
            return lambda *args, **kwargs: self._by_reference(operation, weights, args, kwargs)
        return lambda inputs, **_: self._by_rule(operation, rule, inputs)

    def _by_rule(self, layer: keras.layers.Layer, rule: GradientRule, inputs: Any) -> tf.Tensor:
        pre_activation = rule.pre_activation(layer, inputs)
        self.tape.watch(pre_activation)
        self.calls.append(
            _LayerCall(
                rule.weights(layer),
                [pre_activation],
                lambda deltas: rule.gradients(layer, inputs, deltas[0]),
            )
        )
        return layer.activation(pre_activation)

    def _by_reference(
        self, layer: keras.layers.Layer, weights: list, args: tuple, kwargs: dict
    ) -> Any:
        call = _in_inference_mode(layer)
        outputs = call(*args, **kwargs)
        watched = tf.nest.flatten(outputs)
        for tensor in watched:
            self.tape.watch(tensor)
        self.calls.append(
            _LayerCall(
                weights,
                watched,
                lambda deltas: mapped_layer_gradients(call, weights, (args, kwargs), deltas),
            )
        )
        return outputs


class PerSampleGradients:
    """Gradients of each sample's reconstruction loss by all trainable weights, flattened.

    Calling the object with samples (batch, ...) gives a tensor (batch, G): the gradient of
    ``loss(x, model(x))`` (mean over a sample's outputs, inference mode) by the model's trainable
    weights, each flattened in C order and concatenated in the order of ``model.trainable_weights``.
    Of a model that is frozen as a whole, all weights that it was trained with are used.

    Args:
        model: Keras model with one input and one output of the same shape.
        loss: Keras loss name, loss object, or function of (target, prediction).
        method: "closed_form" makes one batched forward and backward pass and applies the rules of
            `r2ad2.gradients.rules`, layers without a rule being mapped one by one;
            "vectorized_map" is the reference, one tape per sample; "auto" takes the closed form
            where the model is a graph of layers (functional or sequential).
        weights: the variables to differentiate by; by default as described above.

    Attributes:
        names: dict from weight path to its slice of G, in order.
        size: G, the number of gradient components.
        method: the method in use.

    Raises:
        ValueError: for an unknown method, a model that does not reconstruct its input, one
            without trainable weights, or "closed_form" for a model that is not a graph of layers.

    Source: METHOD of R2-AD2 (ECML-PKDD 2022), section "raw gradients"; the closed form of
    dense layers is known from Goodfellow, "Efficient Per-Example Gradient Computations" (2015).
    """

    def __init__(
        self,
        model: keras.Model,
        loss: LossLike = "binary_crossentropy",
        method: str = "auto",
        weights: Sequence[keras.Variable] | None = None,
    ):
        methods = {
            "auto": self._closed_form if _is_graph_of_layers(model) else self._vectorized_map,
            "closed_form": self._closed_form,
            "vectorized_map": self._vectorized_map,
        }
        if method not in methods:
            raise ValueError(f"unknown gradient method {method!r}: choose one of {list(methods)}")
        if method == "closed_form" and not _is_graph_of_layers(model):
            raise ValueError(
                f"model {model.name!r} is neither functional nor sequential, so its layers "
                'cannot be followed one by one: use method="vectorized_map"'
            )
        self.model = model
        self.weights = list(weights) if weights is not None else gradient_weights_of(model)
        if not self.weights:
            raise ValueError(f"model {model.name!r} has no trainable weights, so no gradient")
        if model.input_shape != model.output_shape:
            raise ValueError(
                f"model {model.name!r} maps {model.input_shape} to {model.output_shape}: "
                "an autoencoder's output has the shape of its input"
            )
        self._loss = per_sample_loss(loss)
        self._sizes = [math.prod(weight.shape) for weight in self.weights]
        self.size = sum(self._sizes)
        compute = methods[method]
        self.method = "closed_form" if compute == self._closed_form else "vectorized_map"
        if self.method == "closed_form":
            self._log_layers_without_rule(model)
        self._function = tf.function(
            compute,
            input_signature=[tf.TensorSpec(model.input_shape, model.inputs[0].dtype)],
            autograph=False,
        )

    @property
    def names(self) -> dict[str, slice]:
        """Slice of G that belongs to each weight, by the weight's path, in order."""
        slices, start = {}, 0
        for weight, size in zip(self.weights, self._sizes, strict=True):
            slices[weight.path] = slice(start, start + size)
            start += size
        return slices

    def __call__(self, inputs: Any) -> tf.Tensor:
        """Compute the gradients (batch, G) of samples (batch, ...).

        Raises:
            ValueError: if the samples do not have the model's input shape.
        """
        inputs = tf.cast(tf.convert_to_tensor(inputs), self.model.inputs[0].dtype)
        expected = self.model.input_shape
        if not inputs.shape.is_compatible_with(expected):
            raise ValueError(f"expected samples of shape {expected}, got {tuple(inputs.shape)}")
        if inputs.shape[0] == 0:  # TensorFlow's pooling kernels fail on empty batches
            return tf.zeros((0, self.size), inputs.dtype)
        return self._function(inputs)

    def _log_layers_without_rule(self, graph: keras.Model) -> None:
        wanted = {id(weight) for weight in self.weights}
        for layer in graph.layers:
            if not wanted & {id(weight) for weight in layer.weights}:
                continue
            if isinstance(layer, keras.Model) and _is_graph_of_layers(layer):
                self._log_layers_without_rule(layer)
            elif find_rule(layer) is None:
                logger.warning(
                    "layer %r (%s) has no closed-form gradient rule: its per-sample gradients are "
                    "computed by tf.vectorized_map, which is slower",
                    layer.name,
                    type(layer).__name__,
                )

    def _flat(self, per_weight: Sequence[tf.Tensor], batch_size: tf.Tensor) -> tf.Tensor:
        flat = [
            tf.reshape(gradient, (batch_size, size))
            for gradient, size in zip(per_weight, self._sizes, strict=True)
        ]
        return tf.concat(flat, axis=1)

    def _vectorized_map(self, inputs: tf.Tensor) -> tf.Tensor:
        gradients = mapped_model_gradients(self.model, self._loss, self.weights, inputs)
        return self._flat(gradients, tf.shape(inputs)[0])

    def _closed_form(self, inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            forward = _ForwardPass(tape, {id(weight) for weight in self.weights})
            outputs = forward.run(self.model, inputs)
            # Samples do not interact in inference mode, so the gradient of the sum holds the
            # gradients of all samples side by side.
            total = tf.reduce_sum(self._loss(inputs, outputs))
        deltas = tape.gradient(
            total, [call.watched for call in forward.calls], unconnected_gradients="zero"
        )
        collected: dict[int, tf.Tensor] = {}
        for call, delta in zip(forward.calls, deltas, strict=True):
            for weight, gradient in zip(call.weights, call.gradients(delta), strict=True):
                # A layer that is called several times adds up its gradients.
                earlier = collected.get(id(weight))
                collected[id(weight)] = gradient if earlier is None else earlier + gradient
        batch_size = tf.shape(inputs)[0]
        return self._flat(
            [
                collected[id(weight)]
                if id(weight) in collected
                else tf.zeros((batch_size, size), inputs.dtype)
                for weight, size in zip(self.weights, self._sizes, strict=True)
            ],
            batch_size,
        )
