"""Runs a model layer by layer and records what the closed-form gradients need."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from r2ad2.gradients.mapped import mapped_layer_gradients
from r2ad2.gradients.rules import GradientRule, find_rule
from r2ad2.support.keras_internals import has_graph, run_graph


def is_graph_of_layers(model: keras.Model) -> bool:
    """Return whether a model is functional or sequential, so that its layers can be followed."""
    return isinstance(model, keras.Sequential) or has_graph(model)


def layers_without_rule(model: keras.Model, wanted: set[int]) -> list[keras.layers.Layer]:
    """List the layers, including nested ones, that hold wanted weights but have no rule.

    Args:
        model: a graph of layers.
        wanted: ids of the weights to differentiate with respect to.
    """
    found = []
    for layer in model.layers:
        if not wanted & {id(weight) for weight in layer.weights}:
            continue
        if isinstance(layer, keras.Model) and is_graph_of_layers(layer):
            found += layers_without_rule(layer, wanted)
        elif find_rule(layer) is None:
            found.append(layer)
    return found


def in_inference_mode(operation: Callable) -> Callable:
    """Wrap a layer, or any other operation, to run in inference mode: without dropout."""
    has_training = isinstance(operation, keras.layers.Layer) and (
        "training" in inspect.signature(operation.call).parameters
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        return operation(*args, **(kwargs | {"training": False} if has_training else kwargs))

    return call


def run_layers(
    model: keras.Model, inputs: Any, operation_fn: Callable[[Callable], Callable]
) -> Any:
    """Compute the output of a graph of layers.

    Args:
        model: a functional or sequential model.
        inputs: samples (batch, ...).
        operation_fn: takes a layer or operation and returns what is called in its place.
    """
    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = operation_fn(layer)(inputs)
        return inputs
    outputs = run_graph(model, inputs, operation_fn)
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


class LayerCall(abc.ABC):
    """One call of a layer with weights, as recorded in the forward pass.

    Attributes:
        weights: the layer's weights, in the order of `gradients`.
        watched: tensors whose gradients of the summed loss are the deltas.
    """

    weights: Sequence[keras.Variable]
    watched: list[tf.Tensor]

    @abc.abstractmethod
    def gradients(self, deltas: list[tf.Tensor]) -> list[tf.Tensor]:
        """Compute per-sample gradients (batch, *weight.shape) from the watched tensors' deltas."""

    def factors(self, deltas: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Return the gradients of all weights as one outer product, if they are one."""
        return None


@dataclass
class _RuledCall(LayerCall):
    """A call of a layer with a rule."""

    layer: keras.layers.Layer
    rule: GradientRule
    inputs: tf.Tensor
    watched: list[tf.Tensor]

    def __post_init__(self) -> None:
        self.weights = self.rule.weights(self.layer)

    def gradients(self, deltas: list[tf.Tensor]) -> list[tf.Tensor]:
        return self.rule.gradients(self.layer, self.inputs, deltas[0])

    def factors(self, deltas: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor] | None:
        return self.rule.factors(self.layer, self.inputs, deltas[0])


@dataclass
class _MappedCall(LayerCall):
    """A call of a layer without a rule: its gradients are mapped over the samples."""

    call: Callable
    weights: Sequence[keras.Variable]
    arguments: tuple[tuple, dict]
    watched: list[tf.Tensor]

    def gradients(self, deltas: list[tf.Tensor]) -> list[tf.Tensor]:
        return mapped_layer_gradients(self.call, self.weights, self.arguments, deltas)


class ForwardPass:
    """Runs a model in inference mode; afterwards `calls` lists the layers with wanted weights.

    Args:
        tape: watches the outputs of these layers.
        wanted: ids of the weights to differentiate with respect to.
    """

    def __init__(self, tape: tf.GradientTape, wanted: set[int]):
        self.tape = tape
        self.wanted = wanted
        self.calls: list[LayerCall] = []

    def run(self, model: keras.Model, inputs: Any) -> Any:
        """Compute the model's output."""
        return run_layers(model, inputs, self._operation)

    def _operation(self, operation: Callable) -> Callable:
        weights = [w for w in getattr(operation, "weights", []) if id(w) in self.wanted]
        if not weights:
            return in_inference_mode(operation)
        if isinstance(operation, keras.Model) and is_graph_of_layers(operation):
            return lambda inputs, **_: self.run(operation, inputs)
        rule = find_rule(operation)
        if rule is None:
            return lambda *args, **kwargs: self._by_reference(operation, weights, args, kwargs)
        return lambda inputs, **_: self._by_rule(operation, rule, inputs)

    def _by_rule(self, layer: keras.layers.Layer, rule: GradientRule, inputs: Any) -> tf.Tensor:
        inputs = tf.cast(inputs, layer.compute_dtype)
        pre_activation = rule.pre_activation(layer, inputs)
        self.tape.watch(pre_activation)
        self.calls.append(_RuledCall(layer, rule, inputs, [pre_activation]))
        return getattr(layer, "activation", keras.activations.linear)(pre_activation)

    def _by_reference(
        self, layer: keras.layers.Layer, weights: list, args: tuple, kwargs: dict
    ) -> Any:
        call = in_inference_mode(layer)
        outputs = call(*args, **kwargs)
        watched = tf.nest.flatten(outputs)
        for tensor in watched:
            self.tape.watch(tensor)
        self.calls.append(_MappedCall(call, weights, (args, kwargs), watched))
        return outputs
